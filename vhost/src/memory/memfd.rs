//! Memory of our own that looks like a tenant's: for the load generator, the driver side and tests.
#![expect(unsafe_code, reason = "memfd_create and ftruncate have no safe wrapper in the standard library")]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use super::mapper::{HolePolicy, MapRequest, RegionRequest};
use super::table::GuestMemory;
use crate::address::{FrontendVirt, GuestPhys};

/// Which pages a memfd has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemfdKind {
    /// Ordinary pages.
    Plain,
    /// Huge pages of 2 MB, which the machine must have free.
    Huge2M,
}

/// A memfd of `len` bytes, without any page allocated yet.
///
/// # Errors
/// What the kernel says, for instance that it has no huge pages.
pub fn memfd(kind: MemfdKind, len: u64) -> io::Result<OwnedFd> {
    let huge = match kind {
        MemfdKind::Plain => 0,
        MemfdKind::Huge2M => libc::MFD_HUGETLB | libc::MFD_HUGE_2MB,
    };
    // SAFETY: the name is a C string; the call returns a new descriptor that nobody else owns.
    let fd = unsafe {
        let fd = libc::memfd_create(c"podswitch".as_ptr(), libc::MFD_CLOEXEC | huge);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let file = File::from(fd);
    file.set_len(len)?;
    Ok(file.into())
}

impl GuestMemory {
    /// What [`GuestMemory::from_memfd`] adds to a guest-physical address to make the frontend's own.
    pub const FRONTEND_OFFSET: u64 = 0x1000_0000_0000;

    /// A table on memfds that this call makes, one a region, for load generators and tests: it goes through the
    /// same checks and mapping as a tenant's. The descriptors are for whoever plays the tenant.
    ///
    /// Lengths and addresses are multiples of 4096. Pages are allocated when they are touched.
    ///
    /// # Errors
    /// If the regions do not make a valid table or the kernel has no memory.
    pub fn from_memfd(regions: &[(GuestPhys, u64)]) -> io::Result<(Arc<Self>, Vec<OwnedFd>)> {
        super::install_sigbus_guard()?;
        let files: Vec<OwnedFd> =
            regions.iter().map(|&(_, len)| memfd(MemfdKind::Plain, len)).collect::<io::Result<_>>()?;
        let request = MapRequest {
            regions: regions
                .iter()
                .zip(&files)
                .map(|(&(guest, len), file)| {
                    let frontend = FrontendVirt(guest.0.wrapping_add(Self::FRONTEND_OFFSET));
                    Ok(RegionRequest { guest, frontend, len, mmap_offset: 0, fd: file.try_clone()? })
                })
                .collect::<io::Result<_>>()?,
            limit_bytes: u64::MAX,
            holes: HolePolicy::Allow,
            ..MapRequest::default()
        };
        let table = request.table().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok((Arc::new(table), files))
    }
}
