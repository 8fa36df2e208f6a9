//! Holes in a tenant's memory raise SIGBUS instead of being filled by us.
//!
//! Touching a hole in shared memory allocates a page, charged to whoever touches it, and takes hundreds of
//! microseconds for a huge page. A range registered with userfaultfd's SIGBUS feature raises the signal instead
//! (see `sigbus`), also for holes that are punched later. Called from expendable threads while mapping.
#![expect(unsafe_code, reason = "the userfaultfd system call and its ioctls have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

// From linux/userfaultfd.h; the kernel never changes them.
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_MISSING_HUGETLBFS: u64 = 1 << 4;
const UFFD_FEATURE_MISSING_SHMEM: u64 = 1 << 5;
const UFFD_FEATURE_SIGBUS: u64 = 1 << 7;
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// Asks that missing pages of a range of ours raise SIGBUS. True if the kernel agreed.
///
/// Where it does not (no permission, no such feature), holes are filled as by any other process, and the log
/// says so once.
pub(super) fn raise_on_holes(start: usize, len: usize) -> bool {
    // One descriptor serves all mappings: the kernel keeps the registration with the mapping itself.
    static UFFD: OnceLock<Option<OwnedFd>> = OnceLock::new();
    static SAID: AtomicBool = AtomicBool::new(false);
    let registered = match UFFD.get_or_init(|| open().ok()) {
        Some(uffd) => register(uffd, start, len),
        None => Err(io::Error::from_raw_os_error(libc::EPERM)),
    };
    if let Err(error) = &registered
        && !SAID.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(%error, "holes in guests' memory cannot be turned into faults of their ports");
    }
    registered.is_ok()
}

/// Whether the kernel turns holes in guests' memory into faults for this process, as mapping asks of it.
///
/// # Errors
/// What the kernel says.
pub fn holes_are_faults() -> io::Result<()> {
    open().map(drop)
}

fn open() -> io::Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
    // SAFETY: the call takes one integer and returns a new descriptor that nobody else owns.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, flags);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS;
    let mut api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
    // SAFETY: UFFDIO_API reads and writes one `uffdio_api`, which `api` is.
    if unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

fn register(uffd: &OwnedFd, start: usize, len: usize) -> io::Result<()> {
    let (start, len) = (start as u64, len as u64);
    let mut register = UffdioRegister { start, len, mode: UFFDIO_REGISTER_MODE_MISSING, ioctls: 0 };
    // SAFETY: UFFDIO_REGISTER reads and writes one `uffdio_register`; the range is a mapping of the caller's, and
    // registering it changes only how its missing pages are reported.
    if unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_REGISTER, &raw mut register) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
