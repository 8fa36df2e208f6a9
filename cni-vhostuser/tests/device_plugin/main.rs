//! The device plugin as the kubelet, pods and the switch meet it: the program itself, real sockets and real mounts.
//!
//! The kubelet and the switch are played here ([`kubelet`], [`switch`]); a node is a temporary directory and a mount
//! namespace of its own ([`node`]), so that no mount outlives its test.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod allocation;
mod directories;
mod health;
mod kubelet;
mod node;
mod removal;
mod restarts;
mod switch;
