//! The control plane of podswitch: desired state, its store, reconciliation with the dataplane, the gRPC services,
//! metrics, and the two programs `podswitchd` (the daemon) and `podswitch` (the command line).
//!
//! Everything here runs on control threads, never on a worker. gRPC handlers are async and only hand over to
//! [`switch::Switch`], whose methods may block and are called through `spawn_blocking`.

pub mod address;
pub mod cli;
pub mod config;
pub mod cpus;
pub mod daemon;
pub mod error;
pub mod kubelet;
pub mod metrics;
pub mod services;
pub mod size;
pub mod store;
pub mod switch;
pub mod system;
pub mod validate;
