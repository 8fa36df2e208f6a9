//! A descriptor that a tenant handed over, or that leads to a tenant.
//!
//! Closing such a descriptor can block for seconds (a TCP socket with linger, a FUSE file, a UNIX socket whose
//! unread messages carry such descriptors), so dropping a [`TenantFd`] gives it to the closing threads instead
//! of closing it here. Nothing is ever read from it, and nothing but its name is asked of the kernel.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::memory;

/// What the kernel calls an eventfd.
const EVENTFD: &[u8] = b"anon_inode:[eventfd]";

/// A descriptor whose end is left to threads that may block.
#[derive(Debug)]
pub struct TenantFd(Option<OwnedFd>);

impl TenantFd {
    /// True if it is an eventfd. Reads the descriptor's name from procfs, which asks nothing of the file behind
    /// it: a tenant cannot make this block, and no file of a tenant's can have that name (paths begin with `/`).
    #[must_use]
    pub fn is_eventfd(&self) -> bool {
        let Some(fd) = &self.0 else { return false };
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::readlinkat(rustix::fs::CWD, link, Vec::new()).is_ok_and(|name| name.as_bytes() == EVENTFD)
    }

    /// Gives up the protection: whoever takes it must close it through [`memory::dispose`].
    #[must_use]
    pub fn into_owned(mut self) -> OwnedFd {
        self.0.take().expect("it is taken only here and on drop")
    }
}

impl From<OwnedFd> for TenantFd {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for TenantFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("it is taken only by value and on drop").as_fd()
    }
}

impl Drop for TenantFd {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            memory::dispose(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn only_an_eventfd_is_one() {
        assert!(TenantFd::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap()).is_eventfd());
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("anon_inode:[eventfd]")).unwrap();
        let file = std::fs::File::open(dir.path().join("anon_inode:[eventfd]")).unwrap();
        assert!(!TenantFd::from(OwnedFd::from(file)).is_eventfd());
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(!TenantFd::from(OwnedFd::from(pipe)).is_eventfd());
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
        assert!(!TenantFd::from(epoll).is_eventfd());
    }
}
