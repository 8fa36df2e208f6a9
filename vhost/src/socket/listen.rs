//! Listening on a socket to which an application connects.
//!
//! The application may run as any user: the socket is open to its owner and its group, and nobody else, whatever
//! umask the process has. The group is the directory's where that has the set-group-id bit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags};

use super::SocketError;
use super::connect::{connect, remove_stale, stream};
use super::identity::{Identity, Seen};
use crate::tenant_fd::TenantFd;

/// Connections that may wait to be accepted. Only one may live.
const BACKLOG: i32 = 4;

/// Who may connect: to do so is to write to the file.
const PERMISSIONS: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP);

/// A listening socket and its file, which is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Closing it closes connections that nobody accepted, with all that was sent on them: that can block.
    socket: TenantFd,
    path: PathBuf,
    identity: Identity,
}

impl Listener {
    /// Makes the socket file and listens. A socket on which nobody listens any more is replaced.
    ///
    /// # Errors
    /// See [`SocketError`]; all of them may pass with time.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        clear(path)?;
        let socket = stream(path)?;
        let address = SocketAddrUnix::new(path).map_err(|error| SocketError::kernel(path, "bind", error))?;
        // The file takes the socket's own permissions less the umask: it never has more than these.
        rustix::fs::fchmod(&socket, PERMISSIONS)
            .map_err(|error| SocketError::kernel(path, "fchmod", error))?;
        rustix::net::bind(&socket, &address).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => SocketError::Missing(path.into()),
            Errno::ADDRINUSE => SocketError::InUse(path.into()),
            other => SocketError::kernel(path, "bind", other),
        })?;
        let identity = permit(path)?;
        let listener = Self { socket: TenantFd::from(socket), path: path.into(), identity };
        rustix::net::listen(&listener.socket, BACKLOG)
            .map_err(|error| SocketError::kernel(path, "listen", error))?;
        Ok(listener)
    }

    /// A connection that waits, if there is one.
    ///
    /// # Errors
    /// If the process is out of descriptors, for instance.
    pub fn accept(&self) -> Result<Option<TenantFd>, SocketError> {
        match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => Ok(Some(TenantFd::from(socket))),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(error) => Err(SocketError::kernel(&self.path, "accept", error)),
        }
    }

    /// False if the file was removed or replaced: nobody can connect any more.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        look(&self.path).is_ok_and(|seen| seen.identity == self.identity)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        remove_stale(&self.path, self.identity);
    }
}

/// Gives the file that was just bound the permissions that the umask took away.
///
/// The tenant may have put another file in its place: the name is opened once, without following a link, and what is
/// changed is what was opened, if it is a socket of our own. Such a one in the tenant's directory is an earlier
/// listener's, which had these permissions.
fn permit(path: &Path) -> Result<Identity, SocketError> {
    let file = open(path)?;
    let look = || Seen::open(&file).map_err(|error| SocketError::kernel(path, "statx", error));
    let seen = look()?;
    if !seen.is_socket || seen.owner != rustix::process::geteuid().as_raw() {
        return Err(SocketError::InUse(path.into()));
    }
    if seen.permissions == PERMISSIONS.bits() {
        return Ok(seen.identity);
    }
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmodat(CWD, through, PERMISSIONS, AtFlags::empty())
        .map_err(|error| SocketError::kernel(path, "chmod", error))?;
    // The time of its last change, which may be part of its identity, is another one now.
    Ok(look()?.identity)
}

fn look(path: &Path) -> Result<Seen, SocketError> {
    Seen::open(open(path)?).map_err(|error| SocketError::kernel(path, "statx", error))
}

/// The file itself, also if it is a link.
fn open(path: &Path) -> Result<OwnedFd, SocketError> {
    let open = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, open, Mode::empty())
        .map_err(|error| SocketError::kernel(path, "open", error))
}

/// Makes the name free if a dead process left a socket there.
fn clear(path: &Path) -> Result<(), SocketError> {
    match connect(path) {
        Ok(_) | Err(SocketError::Busy(_)) => Err(SocketError::InUse(path.into())),
        Err(SocketError::Missing(_)) => Ok(()),
        Err(SocketError::Refused { identity, .. }) => {
            remove_stale(path, identity);
            Ok(())
        }
        Err(other) => Err(other),
    }
}
