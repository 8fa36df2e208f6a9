//! The table's memory: huge pages where there are, so that walking it costs no translations.
#![expect(unsafe_code, reason = "shared memory is looked at as a slice of heads")]

use std::io;
use std::ptr::NonNull;

use vhost::address::GuestPhys;
use vhost::driver::Arena;
use vhost::memory::MemfdKind;

use super::Head;

const HUGE: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// Memory for a power of two of heads.
#[derive(Debug)]
pub(super) struct Pages {
    /// Keeps the mapping that `first` points to, and shares it with nobody.
    _arena: Arena,
    first: NonNull<Head>,
    mask: usize,
}

// SAFETY: the memory belongs to this value alone, and is changed through `&mut` only.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Room for `entries` heads, a power of two, all zero.
    pub(super) fn new(entries: usize) -> io::Result<Self> {
        let bytes = (entries * size_of::<Head>()) as u64;
        let make = |kind, page| Arena::new(kind, bytes.next_multiple_of(page), GuestPhys(0));
        let huge = if bytes < HUGE {
            Err(io::ErrorKind::InvalidInput.into())
        } else {
            make(MemfdKind::Huge2M, HUGE)
        };
        let arena = huge.or_else(|_| make(MemfdKind::Plain, PAGE))?;
        let first = arena.frontend(vhost::driver::Place(0)).0 as *mut Head;
        let first = NonNull::new(first).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { _arena: arena, first, mask: entries - 1 })
    }

    /// All heads.
    pub(super) fn heads(&self) -> &[Head] {
        // SAFETY: the mapping holds `mask + 1` heads, page aligned and zeroed at least, which is a valid head.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.mask + 1) }
    }

    /// All heads, to be written.
    pub(super) fn heads_mut(&mut self) -> &mut [Head] {
        // SAFETY: as for `heads`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.mask + 1) }
    }

    /// The head in entry `i`, taken modulo their number.
    #[inline(always)]
    pub(super) fn head(&self, i: usize) -> &Head {
        // SAFETY: the index is at most `mask`, and `mask + 1` heads lie there.
        unsafe { self.first.add(i & self.mask).as_ref() }
    }
}
