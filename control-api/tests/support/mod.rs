//! A laboratory for the end-to-end tests and the demo: the daemon, its command line, DPDK pods, frames and captures.
//!
//! Everything goes through what a user has: the two binaries, `dpdk-testpmd`, `ip`. All of it ends with the value
//! that stands for it, also when a test fails, and what runs longest dies with the test's own thread.

#![allow(clippy::unwrap_used, reason = "test support: a broken laboratory is a failed test")]
#![allow(dead_code, reason = "the tests use one part of it, the demo another")]
#![allow(missing_docs, unreachable_pub, reason = "not a public interface")]

pub mod capture;
pub mod cli;
pub mod console;
pub mod frame;
pub mod lab;
pub mod netns;
pub mod node;
pub mod pod;
pub mod rpc;
pub mod sandbox;
pub mod switch;
pub mod tally;
pub mod wait;
pub mod watch;
