//! Connecting to a socket that an application has made.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::identity::{Identity, Seen};
use super::{MAX_PATH, SocketError};
use crate::tenant_fd::TenantFd;

/// A connection and the file that led to it.
#[derive(Debug)]
pub struct Connected {
    /// The connected non-blocking stream.
    pub socket: TenantFd,
    /// The socket file.
    pub identity: Identity,
}

/// Connects to the socket at `path` without blocking.
///
/// The file is opened by name once, without following a link, looked at, and then connected through its descriptor:
/// what was looked at is what is connected, whatever the tenant does to the name in between.
///
/// # Errors
/// See [`SocketError`]; all of them may pass with time.
pub fn connect(path: &Path) -> Result<Connected, SocketError> {
    let open = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, open, Mode::empty()).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => SocketError::Missing(path.into()),
        other => SocketError::kernel(path, "open", other),
    })?;
    let seen = Seen::open(&file).map_err(|error| SocketError::kernel(path, "statx", error))?;
    if !seen.is_socket {
        return Err(SocketError::NotSocket(path.into()));
    }
    let identity = seen.identity;
    let socket = stream(path)?;
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    let address =
        SocketAddrUnix::new(through).map_err(|error| SocketError::kernel(path, "connect", error))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Connected { socket: TenantFd::from(socket), identity }),
        Err(Errno::CONNREFUSED) => Err(SocketError::Refused { path: path.into(), identity }),
        // A full backlog: a non-blocking connect does not wait for it.
        Err(Errno::AGAIN) => Err(SocketError::Busy(path.into())),
        Err(Errno::NOENT) => Err(SocketError::Missing(path.into())),
        Err(error) => Err(SocketError::kernel(path, "connect", error)),
    }
}

/// Removes the socket file at `path` if it still is the file `identity`. True if it was removed.
///
/// Called when we were connected to that very file and nobody listens on it any more: a crashed application left
/// it behind, and its restart could not bind the name again.
pub fn remove_stale(path: &Path, identity: Identity) -> bool {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::openat(CWD, dir, open, Mode::empty()) else { return false };
    let is_it = Seen::named(&dir, name).is_ok_and(|seen| seen.is_socket && seen.identity == identity);
    is_it && rustix::fs::unlinkat(&dir, name, AtFlags::empty()).is_ok()
}

/// A non-blocking UNIX stream socket.
pub(super) fn stream(path: &Path) -> Result<OwnedFd, SocketError> {
    debug_assert!(path.as_os_str().len() <= MAX_PATH);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| SocketError::kernel(path, "socket", error))
}
