//! The vhost-user virtio-net device, and the driver side of the same rings.
//!
//! Everything a tenant can write is hostile here: messages, descriptors handed over, rings, packets, and the
//! memory file itself. The crate knows nothing of DPDK, of networks or of gRPC.

pub mod address;
pub mod channel;
pub mod control;
pub mod driver;
pub mod fault;
pub mod features;
pub mod guest;
pub mod memory;
pub mod message;
pub mod notify;
pub mod owner;
pub mod ring;
pub mod session;
pub mod socket;
pub mod tenant_fd;
