//! The device's protocol side over real sockets, with a frontend that can also misbehave.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod handshake;
mod hostile;
mod memory;
mod reconnect;
mod removal;
mod support;
