//! Raw bindings to DPDK (22.11 and newer), and a small C shim for its inline functions.
//!
//! Only what the switch uses is bound, by name (see `build.rs`). Everything here is as unsafe as DPDK is;
//! the one caller is the `dataplane` crate, which wraps ports, pools and mbufs in types that own them.
//!
//! An mbuf is opaque: its fields are reached through [`mbuf`], whose offsets the C compiler worked out from
//! the installed headers, because DPDK moves them between versions.

#![expect(unsafe_code, reason = "bindings to a C library")]

/// The generated bindings, one item for each name in `build.rs` and the types those need.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unused_qualifications,
    unnecessary_transmutes,
    clippy::all,
    clippy::cast_lossless,
    clippy::semicolon_if_nothing_returned,
    clippy::undocumented_unsafe_blocks,
    reason = "generated from DPDK's headers"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

pub mod mbuf;

#[cfg(test)]
mod tests;
