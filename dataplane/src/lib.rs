//! Ports, workers, the packet pipeline and its tables. Knows nothing of gRPC and uses no async.

pub mod drops;
pub mod ids;
pub mod report;
pub mod spec;
mod switch;

pub use switch::{Dataplane, NetworkError, PortError, StartError};
