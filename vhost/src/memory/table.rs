//! The table that workers translate with: a few regions, found in a few cycles.
//!
//! Translation runs twice a frame. Up to eight regions lie inline, the largest first (an application's buffers
//! are nearly always in its largest region), and are tried in turn; above eight the table is bisected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mapping::Mapping;
use crate::address::{FrontendVirt, GuestPhys, HostAddr};

/// One mapped region.
#[derive(Clone, Debug)]
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

/// Regions that are tried in turn; more are bisected.
const INLINE: usize = 8;

/// What translation needs of a region, and nothing else. A span of length 0 matches no address.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    guest: u64,
    len: u64,
    host: usize,
}

impl Span {
    /// Offset of `at` in the span; `None` if it is outside.
    #[inline(always)]
    fn offset(&self, at: u64) -> Option<u64> {
        let offset = at.wrapping_sub(self.guest);
        (offset < self.len).then_some(offset)
    }
}

/// The memory that one frontend shares, as translated by workers and by the session.
#[derive(Debug)]
pub struct GuestMemory {
    inline: [Span; INLINE],
    count: usize,
    /// Sorted by guest-physical address; empty when all fit `inline`.
    sorted: Box<[Span]>,
    poisoned: Arc<AtomicBool>,
    regions: Box<[Region]>,
    /// Parallel to `regions`; kept alive by every table that has the region.
    mappings: Box<[Arc<Mapping>]>,
}

impl GuestMemory {
    /// A table of regions that were checked against each other. All mappings were guarded with `poisoned`.
    pub(super) fn new(mut entries: Vec<(Region, Arc<Mapping>)>, poisoned: Arc<AtomicBool>) -> Self {
        entries.sort_unstable_by_key(|(region, _)| region.guest);
        let mut spans: Vec<Span> =
            entries.iter().map(|(r, _)| Span { guest: r.guest.0, len: r.len, host: r.host.0 }).collect();
        let mut inline = [Span::default(); INLINE];
        let mut count = 0;
        if spans.len() <= INLINE {
            count = spans.len();
            spans.sort_by_key(|span| std::cmp::Reverse(span.len));
            inline[..count].copy_from_slice(&spans);
            spans.clear();
        }
        let (regions, mappings): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        Self {
            inline,
            count,
            sorted: spans.into(),
            poisoned,
            regions: regions.into(),
            mappings: mappings.into(),
        }
    }

    #[inline(always)]
    fn find(&self, at: u64) -> Option<(&Span, u64)> {
        if let Some(offset) = self.inline[0].offset(at) {
            return Some((&self.inline[0], offset));
        }
        self.find_further(at)
    }

    fn find_further(&self, at: u64) -> Option<(&Span, u64)> {
        if self.sorted.is_empty() {
            return self.inline[..self.count].iter().find_map(|s| s.offset(at).map(|o| (s, o)));
        }
        let after = self.sorted.partition_point(|s| s.guest <= at);
        let span = self.sorted.get(after.checked_sub(1)?)?;
        span.offset(at).map(|offset| (span, offset))
    }

    /// Translates a guest-physical range that lies within one region; `None` if it does not.
    #[inline(always)]
    #[must_use]
    pub fn translate(&self, at: GuestPhys, len: u64) -> Option<HostAddr> {
        let (span, offset) = self.find(at.0)?;
        (len <= span.len - offset).then(|| HostAddr(span.host).add(offset as usize))
    }

    /// Translates the beginning of a guest-physical range: where it lies, and how many bytes of it (at most
    /// `len`) lie in that region. `None` if not even its first byte is shared.
    #[inline]
    #[must_use]
    pub fn translate_prefix(&self, at: GuestPhys, len: u64) -> Option<(HostAddr, u64)> {
        let (span, offset) = self.find(at.0)?;
        Some((HostAddr(span.host).add(offset as usize), len.min(span.len - offset)))
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

    /// Regions and their mappings, to build the next table from.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Region, Arc<Mapping>)> + '_ {
        self.regions.iter().cloned().zip(self.mappings.iter().cloned())
    }

    /// The mark that all its mappings are guarded with; tables made from this one share it.
    pub(super) fn poison(&self) -> &Arc<AtomicBool> {
        &self.poisoned
    }
}
