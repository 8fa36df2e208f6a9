//! One mapped region of a tenant's memory, guarded against vanishing.
//!
//! Made by expendable threads, shared by all tables that have the region, and unmapped on a thread of its own
//! when the last of them is gone: a munmap of gigabytes holds a lock that every page fault of the process needs.
#![expect(unsafe_code, reason = "mmap, madvise and munmap of ranges that this type owns")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::expendable;
use super::refusal::MapError;
use super::sigbus::{self, Guard};
use super::uffd;
use crate::address::HostAddr;

/// Bytes unmapped by one system call, unless a single page is larger.
const UNMAP_SLICE: usize = 64 << 20;

/// A mapping that exists as long as this value, and a little longer.
#[derive(Debug)]
pub(super) struct Mapping {
    range: MappedRange,
    /// Taken out first on drop: after that nothing points at the poison mark.
    guard: Option<Guard>,
}

/// Addresses to unmap; dropping it does nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedRange {
    start: usize,
    len: usize,
    page: usize,
}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset`, readable and writable, and guards them: a page that vanishes
    /// sets `poisoned`. With `fault_holes` a page that is missing already does so too, where the kernel can.
    ///
    /// Both are multiples of `page`, the file's page size; region numbers are for refusals only.
    pub(super) fn new(
        region: usize,
        fd: BorrowedFd<'_>,
        offset: u64,
        len: u64,
        page: u64,
        fault_holes: bool,
        poisoned: &Arc<AtomicBool>,
    ) -> Result<Self, MapError> {
        let refused = |call, source| MapError::Kernel { region, call, source };
        let overflow = |_| MapError::OffsetOverflow { region, offset, len };
        let len_usize = usize::try_from(len).map_err(overflow)?;
        let page = usize::try_from(page).map_err(overflow)?;
        let file_offset = libc::off_t::try_from(offset).map_err(overflow)?;
        // SAFETY: a new mapping at an address of the kernel's choice; NORESERVE because the tenant's file is
        // charged to the tenant and a reservation of huge pages by us would be charged to the node.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len_usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                file_offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(refused("mmap", io::Error::last_os_error()));
        }
        let mut mapping =
            Self { range: MappedRange { start: start as usize, len: len_usize, page }, guard: None };
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range was mapped above and is owned by `mapping`.
            if unsafe { libc::madvise(start, len_usize, advice) } != 0 {
                return Err(refused("madvise", io::Error::last_os_error()));
            }
        }
        mapping.guard = Some(
            sigbus::guard(mapping.range.start, len_usize, page, Arc::clone(poisoned))
                .ok_or(MapError::NoGuard { region, allowed: sigbus::SLOTS })?,
        );
        if fault_holes {
            uffd::raise_on_holes(mapping.range.start, len_usize);
        }
        Ok(mapping)
    }

    /// First address of it in our process.
    pub(super) fn host(&self) -> HostAddr {
        HostAddr(self.range.start)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        expendable::unmap(self.range);
    }
}

impl MappedRange {
    /// Unmaps the range in slices. Called once for each range, from the unmapping thread.
    pub(super) fn unmap(self) {
        let slice = UNMAP_SLICE.max(self.page);
        let end = self.start + self.len;
        let mut at = self.start;
        while at < end {
            let len = slice.min(end - at);
            // SAFETY: the range belonged to a `Mapping` whose last owner is gone, so nobody reads or writes it;
            // it is whole pages because start, length and slice are multiples of the page size.
            if unsafe { libc::munmap(at as *mut libc::c_void, len) } != 0 {
                // Only exhaustion of the kernel's own memory can do this; the addresses stay taken.
                tracing::warn!(len, error = %io::Error::last_os_error(), "cannot unmap guest memory");
            }
            at += len;
        }
    }
}
