//! The CNI plugin: one process a call, CNI on one side, gRPC on the other.
//!
//! [`call`] reads the environment and standard input and prints; [`verbs`] do the work; everything else is a part of
//! the one or the other. One thread, no state but [`tombstone`]s.

pub mod answer;
pub mod call;
pub mod client;
pub mod config;
pub mod device_info;
pub mod environment;
pub mod failure;
pub mod ipam;
pub mod namespace;
pub mod result;
pub mod stub;
pub mod tombstone;
pub mod verbs;
pub mod version;
