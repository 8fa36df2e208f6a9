//! Ports, workers, the packet pipeline and its tables. Knows nothing of gRPC and uses no async.

mod burst;
mod clock;
mod counters;
pub mod dpdk;
pub mod drops;
pub mod eal;
mod emit;
mod fdb;
pub mod ids;
mod outlet;
mod pipeline;
mod plan;
mod port;
mod quiesce;
pub mod report;
mod rings;
mod security;
mod snapshot;
pub mod spec;
mod switch;
mod sync;
mod worker;

pub use switch::{Dataplane, NetworkError, PortError, StartError};
