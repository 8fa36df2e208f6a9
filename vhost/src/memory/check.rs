//! The checks of a memory table that need no system call.
//!
//! Called from expendable threads before any descriptor is looked at, so that a table that cannot be right
//! costs nothing. Everything is arithmetic on values that a tenant wrote.

use super::refusal::{MapError, Space};
use crate::address::{FrontendVirt, GuestPhys};

/// Regions that a table may have: what QEMU knows as its own maximum of memory slots.
pub const MAX_REGIONS: usize = 509;

/// Page size of the machine; addresses of every region are multiples of it whatever its file's page size.
pub(super) const BASE_PAGE: u64 = 4096;

/// Where a region lies in the two address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) guest: GuestPhys,
    pub(super) frontend: FrontendVirt,
    pub(super) len: u64,
}

/// Checks one region by itself: not empty, aligned to machine pages, no wrap, and no offset beyond what a
/// file can have. `region` is its number in refusals.
pub(super) fn check_region(region: usize, place: Place, mmap_offset: u64) -> Result<(), MapError> {
    let Place { guest, frontend, len } = place;
    if len == 0 {
        return Err(MapError::Empty { region });
    }
    let fields = [
        ("guest-physical address", guest.0),
        ("frontend-virtual address", frontend.0),
        ("length", len),
        ("offset", mmap_offset),
    ];
    for (what, value) in fields {
        check_multiple(region, what, value, BASE_PAGE)?;
    }
    // The last byte must have an address, so a region may end at 2^64 but not beyond.
    for (space, first) in [(Space::Guest, guest.0), (Space::Frontend, frontend.0)] {
        if first.checked_add(len - 1).is_none() {
            return Err(MapError::Wraps { region, space });
        }
    }
    match mmap_offset.checked_add(len) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(MapError::OffsetOverflow { region, offset: mmap_offset, len }),
    }
}

/// Refuses `value` unless it is a multiple of `page`.
pub(super) fn check_multiple(
    region: usize,
    what: &'static str,
    value: u64,
    page: u64,
) -> Result<(), MapError> {
    if value.is_multiple_of(page) { Ok(()) } else { Err(MapError::Unaligned { region, what, value, page }) }
}

/// Checks a whole table: how many regions, how many bytes, and that no two share an address in either space.
/// Each place has passed [`check_region`].
pub(super) fn check_table(places: &[Place], limit_bytes: u64) -> Result<(), MapError> {
    if places.len() > MAX_REGIONS {
        return Err(MapError::TooManyRegions { asked: places.len(), allowed: MAX_REGIONS });
    }
    let asked = places.iter().fold(0u64, |sum, p| sum.saturating_add(p.len));
    if asked > limit_bytes {
        return Err(MapError::Limit { asked, allowed: limit_bytes });
    }
    check_overlap(Space::Guest, places.iter().map(|p| (p.guest.0, p.len)).collect())?;
    check_overlap(Space::Frontend, places.iter().map(|p| (p.frontend.0, p.len)).collect())
}

fn check_overlap(space: Space, mut spans: Vec<(u64, u64)>) -> Result<(), MapError> {
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let (first, len) = pair[0];
        if pair[1].0 - first < len {
            return Err(MapError::Overlap { space, at: pair[1].0 });
        }
    }
    Ok(())
}
