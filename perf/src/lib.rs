//! The benchmark of vhost-user switches: a load generator, methods of measurement, and peers side by side.
//!
//! A [`pod`] is a vhost-user port as an application drives it, with poll-mode rings; [`traffic`] says what is sent
//! and [`load`] sends and counts it, on one thread that the caller has pinned. Nothing here knows how a switch works
//! inside: whatever speaks vhost-user can be measured.

pub mod bench;
pub mod clock;
pub mod distance;
pub mod hiccup;
pub mod load;
pub mod machine;
pub mod methods;
pub mod null;
pub mod peers;
pub mod pod;
pub mod report;
pub mod traffic;
