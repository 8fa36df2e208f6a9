//! Virtqueues, seen from the device. One file a ring format.

mod split;

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
