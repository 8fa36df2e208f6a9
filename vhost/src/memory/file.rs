//! What a descriptor that was handed over as memory really is.
//!
//! Runs in expendable threads only: `fstatfs` and `fstat` of a FUSE file wait for its server, which may be the
//! tenant. `F_GET_SEALS` comes first because it asks no file system: memfd, tmpfs and hugetlbfs answer it and
//! nothing else does, so what could block is refused before it is asked anything.
#![expect(unsafe_code, reason = "fcntl, fstat and fstatfs on a descriptor that the caller owns")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check::{BASE_PAGE, check_multiple};
use super::refusal::MapError;

const HUGETLBFS_MAGIC: libc::__fsword_t = 0x9584_58f6;
/// `st_blocks` counts in these, whatever the file system.
const BLOCK: u64 = 512;

/// What is known of a memory file that passed the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryFile {
    /// Bytes a page.
    pub(super) page: u64,
    /// True if no page of it is missing.
    pub(super) full: bool,
}

/// Checks that `fd` is shared memory, open for reading and writing, that `offset` and `len` are multiples of
/// its page size, and that it has these bytes now (it may lose them at any later time).
pub(super) fn check_file(
    region: usize,
    fd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
) -> Result<MemoryFile, MapError> {
    let answers_seals = has_seals(fd);
    let hugetlb_page = hugetlb_page(fd).map_err(|source| kernel(region, "fstatfs", source));
    if !answers_seals && !matches!(hugetlb_page, Ok(Some(_))) {
        return Err(MapError::NotMemory { region });
    }
    let page = hugetlb_page?.unwrap_or(BASE_PAGE);
    // SAFETY: F_GETFL takes no pointer; the descriptor is open while it is borrowed.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 || flags & libc::O_ACCMODE != libc::O_RDWR || flags & libc::O_PATH != 0 {
        return Err(MapError::NotWritable { region });
    }
    check_multiple(region, "offset", offset, page)?;
    check_multiple(region, "length", len, page)?;
    let stat = fstat(fd).map_err(|source| kernel(region, "fstat", source))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(MapError::NotMemory { region });
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let needed = offset.checked_add(len).ok_or(MapError::OffsetOverflow { region, offset, len })?;
    if size < needed {
        return Err(MapError::FileTooSmall { region, needed, size });
    }
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    Ok(MemoryFile { page, full: allocated >= size })
}

fn kernel(region: usize, call: &'static str, source: io::Error) -> MapError {
    MapError::Kernel { region, call, source }
}

/// True if the file can have seals, which only shared memory can.
fn has_seals(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GET_SEALS takes no pointer; the descriptor is open while it is borrowed.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) >= 0 }
}

/// The page size of a file on hugetlbfs (a memfd of huge pages is one too); `None` for any other file.
fn hugetlb_page(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the pointer is valid for one `statfs`, which the call fills when it returns 0.
    let stat = unsafe {
        if libc::fstatfs(fd.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    let page = u64::try_from(stat.f_bsize).ok().filter(|p| p.is_power_of_two());
    Ok(page.filter(|_| stat.f_type == HUGETLBFS_MAGIC))
}

fn fstat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the pointer is valid for one `stat`, which the call fills when it returns 0.
    unsafe {
        if libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat.assume_init())
    }
}
