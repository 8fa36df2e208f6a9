//! A conformance suite for CNI plugins: cases in files, run against any program that claims to be one.
//!
//! A case is a list of calls (verb, environment, stdin) and shell commands with what each must answer; it knows nothing
//! of the plugin. What a plugin needs to work at all (its configuration, the directory of its IPAM plugins) stands in a
//! [`case::Profile`]. Where a plugin is known to answer otherwise, the case says so beside the expectation, with the
//! reason. The test `conformance` and the example `cni-conformance` are its users; docs/conformance.md says how to write
//! and run them.
//!
//! Beyond what a case expects, every call must keep the invariants of [`invariant`]: they are what every runtime relies
//! on, so no case has to repeat them.

pub mod call;
pub mod case;
pub mod expect;
pub mod fill;
pub mod invariant;
pub mod namespace;
pub mod report;
pub mod run;
