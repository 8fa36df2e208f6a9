//! Memory that a driver shares with a device: a memfd, handed out from front to back.
//!
//! The driver side keeps rings and buffers in it. A place in it has an address in each of the three spaces; the
//! device sees it as one region or, cut at chosen places, as several that adjoin only in guest-physical space.
#![expect(
    unsafe_code,
    reason = "the arena maps shared memory and accesses it through raw pointers, bounds checked"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::address::{FrontendVirt, GuestPhys};
use crate::memory::{MemfdKind, memfd};

/// A place in an arena: bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl Place {
    /// The place `bytes` further on.
    #[must_use]
    #[inline(always)]
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// A part of an arena, as a memory table describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaRegion {
    /// First guest-physical address.
    pub guest: GuestPhys,
    /// First address in this process.
    pub frontend: FrontendVirt,
    /// Bytes.
    pub len: u64,
    /// Where it begins in the arena's file.
    pub mmap_offset: u64,
}

/// Shared memory of a driver. Accesses outside it panic: they are mistakes of the caller, never of a tenant.
#[derive(Debug)]
pub struct Arena {
    file: OwnedFd,
    host: usize,
    len: u64,
    guest: GuestPhys,
    used: AtomicUsize,
    cuts: Vec<u64>,
}

impl Arena {
    /// An arena of `len` bytes whose first byte has guest-physical address `guest`. Both are multiples of the
    /// page size.
    ///
    /// # Errors
    /// What the kernel says, for instance that it has too few huge pages.
    pub fn new(kind: MemfdKind, len: u64, guest: GuestPhys) -> io::Result<Self> {
        let file = memfd(kind, len)?;
        let size = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file of our own.
        let host = unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            libc::mmap(std::ptr::null_mut(), size, prot, flags, file.as_raw_fd(), 0)
        };
        if host == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, host: host as usize, len, guest, used: AtomicUsize::new(0), cuts: Vec::new() })
    }

    /// Tells the device of several regions, cut at these places (multiples of the page size, ascending).
    #[must_use]
    pub fn cut_at(mut self, cuts: &[Place]) -> Self {
        self.cuts = cuts.iter().map(|place| place.0).collect();
        self
    }

    /// The memory table.
    #[must_use]
    pub fn regions(&self) -> Vec<ArenaRegion> {
        let starts = std::iter::once(0).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain(std::iter::once(self.len));
        let region = |(start, end)| ArenaRegion {
            guest: self.guest(Place(start)),
            frontend: self.frontend(Place(start)),
            len: end - start,
            mmap_offset: start,
        };
        starts.zip(ends).map(region).collect()
    }

    /// The file behind it.
    #[must_use]
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if it has no bytes, which it never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes `len` bytes at a multiple of `align` (a power of two); `None` if there is no room. Never given back.
    #[must_use]
    pub fn allocate(&self, len: u64, align: u64) -> Option<Place> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let end = (used as u64).next_multiple_of(align).checked_add(len)?;
            (end <= self.len).then_some(end as usize)
        });
        taken.ok().map(|used| Place((used as u64).next_multiple_of(align)))
    }

    /// The guest-physical address of a place.
    #[must_use]
    #[inline(always)]
    pub fn guest(&self, at: Place) -> GuestPhys {
        GuestPhys(self.guest.0 + at.0)
    }

    /// The address of a place in this process, which is the frontend.
    #[must_use]
    #[inline(always)]
    pub fn frontend(&self, at: Place) -> FrontendVirt {
        FrontendVirt(self.host as u64 + at.0)
    }

    /// Copies `bytes` to a place.
    #[inline]
    pub fn write(&self, at: Place, bytes: &[u8]) {
        let to = self.pointer(at, bytes.len(), 1);
        // SAFETY: the range was checked to lie in the mapping; private and shared memory do not overlap; the ring
        // protocol says that the device does not touch what the driver has not published.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies from a place into `bytes`.
    #[inline]
    pub fn read(&self, at: Place, bytes: &mut [u8]) {
        let from = self.pointer(at, bytes.len(), 1);
        // SAFETY: as for `write`, for what the device has published as used.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Copies `len` bytes from a place to the end of `to`.
    #[inline]
    pub fn append_to(&self, at: Place, len: usize, to: &mut Vec<u8>) {
        let start = to.len();
        to.resize(start + len, 0);
        self.read(at, &mut to[start..]);
    }

    /// A 16-bit field that both sides use; `at` is even.
    #[inline(always)]
    pub fn word16(&self, at: Place) -> &AtomicU16 {
        // SAFETY: checked to lie in the mapping, which lives as long as `self`, and to be aligned.
        unsafe { AtomicU16::from_ptr(self.pointer(at, 2, 2).cast()) }
    }

    /// A 32-bit field that both sides use; `at` is a multiple of four.
    #[inline(always)]
    pub fn word32(&self, at: Place) -> &AtomicU32 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU32::from_ptr(self.pointer(at, 4, 4).cast()) }
    }

    /// A 64-bit field that both sides use; `at` is a multiple of eight.
    #[inline(always)]
    pub fn word64(&self, at: Place) -> &AtomicU64 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU64::from_ptr(self.pointer(at, 8, 8).cast()) }
    }

    #[inline(always)]
    fn pointer(&self, at: Place, len: usize, align: u64) -> *mut u8 {
        let end = at.0.checked_add(len as u64);
        assert!(end.is_some_and(|end| end <= self.len), "{at:?} + {len} lies outside the arena");
        assert!(at.0.is_multiple_of(align), "{at:?} is not a multiple of {align}");
        (self.host + at.0 as usize) as *mut u8
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and nothing borrowed from `self` outlives it.
        unsafe { libc::munmap(self.host as *mut libc::c_void, self.len as usize) };
    }
}
