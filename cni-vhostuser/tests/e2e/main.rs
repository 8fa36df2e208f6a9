//! Pods plugged in by the plugin, as on a node: the daemon with the capabilities of its manifest, containers in
//! namespaces of their own, DPDK applications as users without any privilege.
//!
//! The tests use `podswitchd` and `podswitch` where `$PODSWITCHD` says, or beside the directory of this program, where
//! `cargo build` has put them. Each starts a daemon and pods on two shared CPUs, so only one runs at a time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../control-api/tests/support/mod.rs"]
mod support;

mod bed;
mod churn;
mod frames;
mod hostile;
mod lifecycle;
mod reboot;
mod stub;
mod tenancy;
mod two_interfaces;
