//! A tenant's shared memory: immutable tables of mapped regions.
//!
//! A table never changes: a new memory table is a new [`GuestMemory`], and rings are built again on it. The
//! mappings go away when the last ring and the session have let go of the table, on a thread that may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::address::{FrontendVirt, GuestPhys, HostAddr};

/// One mapped region.
#[derive(Debug)]
pub struct Region {
    /// First guest-physical address.
    pub guest: GuestPhys,
    /// First address in the frontend's own address space.
    pub frontend: FrontendVirt,
    /// Where we see it.
    pub host: HostAddr,
    /// Bytes.
    pub len: u64,
}

/// The memory that one frontend shares, as translated by workers and by the session.
#[derive(Debug)]
pub struct GuestMemory {
    regions: Box<[Region]>,
    poisoned: Arc<AtomicBool>,
}

impl GuestMemory {
    /// Translates a guest-physical range that lies within one region; `None` if it does not.
    #[inline]
    #[must_use]
    pub fn translate(&self, at: GuestPhys, len: u64) -> Option<HostAddr> {
        self.regions.iter().find_map(|r| {
            let offset = at.0.wrapping_sub(r.guest.0);
            (offset < r.len && len <= r.len - offset).then(|| r.host.add(offset as usize))
        })
    }

    /// Translates the beginning of a guest-physical range: where it lies, and how many bytes of it (at most
    /// `len`) lie in that region. `None` if not even its first byte is shared.
    #[inline]
    #[must_use]
    pub fn translate_prefix(&self, at: GuestPhys, len: u64) -> Option<(HostAddr, u64)> {
        self.regions.iter().find_map(|r| {
            let offset = at.0.wrapping_sub(r.guest.0);
            (offset < r.len).then(|| (r.host.add(offset as usize), len.min(r.len - offset)))
        })
    }

    /// Translates a range in the frontend's own address space that lies within one region.
    #[must_use]
    pub fn translate_frontend(&self, at: FrontendVirt, len: u64) -> Option<HostAddr> {
        self.regions.iter().find_map(|r| {
            let offset = at.0.wrapping_sub(r.frontend.0);
            (offset < r.len && len <= r.len - offset).then(|| r.host.add(offset as usize))
        })
    }

    /// True once a page of it was found missing: what was read since is worth nothing.
    #[inline]
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Bytes shared in all regions together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|r| r.len).sum()
    }

    /// The regions, sorted by guest-physical address.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
}
