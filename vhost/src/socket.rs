//! Socket files: how a port's socket is found, connected, listened on and cleaned up.
//!
//! The directory usually belongs to the tenant, so nothing here follows a symbolic link in the last component of
//! a path, nothing blocks, and a file is removed only if it is the very one that we have used ourselves. Used by
//! the control thread only.

mod connect;
mod identity;
mod listen;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use connect::{Connected, connect, remove_stale};
pub use identity::Identity;
pub use listen::Listener;
pub use watch::{Watch, Watches};

/// Longest path that fits in a socket address, bytes.
pub const MAX_PATH: usize = 107;

/// Why a socket cannot be used now. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is no such file, or no such directory.
    #[error("{} does not exist yet", .0.display())]
    Missing(PathBuf),
    /// The last component is a symbolic link, a directory, or another file that is no socket.
    #[error("{} is not a socket (links are not followed)", .0.display())]
    NotSocket(PathBuf),
    /// Nobody listens on it. The file may be one that a dead process left behind.
    #[error("nobody listens on {}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// The file that was found there.
        identity: Identity,
    },
    /// The listener has not accepted others yet.
    #[error("the listener on {} is busy", .0.display())]
    Busy(PathBuf),
    /// Somebody else listens on the path on which we should listen.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The kernel refused.
    #[error("{call} on {} failed: {source}", path.display())]
    Kernel {
        /// The path.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl SocketError {
    fn kernel(path: &Path, call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Kernel { path: path.into(), call, source: source.into() }
    }
}
