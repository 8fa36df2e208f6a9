//! Virtqueues, seen from the device. One file a ring format.
//!
//! A worker visits a ring once a turn and works on whole bursts: one read of the available index, one store of
//! the used index, one decision whether to notify.

mod chain;
mod deliver;
mod split;
mod take;

pub use chain::{BURST, Chain, Chains, MAX_FRAME, MAX_FRAME_SEGMENTS, Segment};
pub use deliver::{Delivered, FrameSource};
pub use split::SplitRing as DeviceRing;

use crate::address::FrontendVirt;
use crate::features::Features;

/// What the session knows about a ring when it starts it.
#[derive(Clone, Copy, Debug)]
pub struct RingSetup {
    /// Entries; a power of two, at most 32768.
    pub size: u16,
    /// The descriptor table.
    pub desc: FrontendVirt,
    /// The available (driver) ring.
    pub avail: FrontendVirt,
    /// The used (device) ring.
    pub used: FrontendVirt,
    /// `SET_VRING_BASE`: a hint; a split ring goes on from the used index in memory.
    pub base: u16,
    /// What was negotiated.
    pub features: Features,
}

/// Bytes of the virtio-net header in front of every frame (virtio 1.2 §5.1.6).
#[must_use]
pub fn header_len(features: Features) -> u32 {
    if features.intersects(Features::VERSION_1.union(Features::MRG_RXBUF)) { 12 } else { 10 }
}
