//! The daemon through its command line, with DPDK applications as pods.
//!
//! One file a topic. Every test starts a daemon and pods of its own on two shared CPUs, so the tests run one at a
//! time (`--test-threads=1`); `docs/testing.md` says what they need.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod cells;
mod change;
mod footprint;
mod gone;
mod handshake;
mod hot_path;
mod isolation;
mod networks;
mod observe;
mod reconnect;
mod refusals;
mod restart;
mod reuse;
mod security;
mod store;
mod veth;
