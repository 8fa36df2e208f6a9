//! DPDK ports: any device that DPDK drives, opened and closed by its DPDK name while the switch runs.
//!
//! The control thread opens and closes [`DpdkPort`]s; each hands out its queues once, and the worker that
//! gets a queue is the only one to touch it. Frames are [`MbufPtr`]s, in chains where they do not fit one
//! buffer. Offloads that change frames (VLAN stripping, checksums) are off: a frame is what was on the wire.

mod devargs;
mod device;
mod error;
mod interface;
mod mbuf;
mod plan;
mod pool;
mod port;
mod probe;
mod queue;
mod stats;

pub use error::DpdkError;
pub use mbuf::MbufPtr;
pub(crate) use pool::RetiredPool;
pub use port::{DpdkPort, DpdkPortConfig};
pub use queue::{MAX_BURST, QueuePair, RxQueue, TxQueue};
pub use stats::{DpdkStats, LinkState};
