//! The driver side of the same rings, and a vhost-user frontend: what an application in a pod does.
//!
//! It exists for tests and for the load generator, so it is fast and allocates nothing per frame, but it also has
//! the knobs that an honest driver lacks ([`DriverRing::raw`]). It trusts the device that it talks to. Each value
//! belongs to one thread.

mod arena;
mod config;
mod connection;
mod frontend;
pub mod poll;
mod receive;
mod split;
mod transmit;
pub mod wire;

pub use arena::{Arena, ArenaRegion, Place};
pub use config::DriverConfig;
pub use connection::{Connection, FrontendError};
pub use frontend::{Frontend, Pair};
pub use receive::{Receive, Received};
pub use split::{Buffer, DriverRing, RawRing, RingFull, Used};
pub use transmit::{Shape, Transmit};

#[cfg(test)]
mod tests;
