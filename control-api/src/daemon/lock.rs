//! One daemon a socket and one a state directory: locks that the kernel drops when their holder dies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon runs.
    #[error("{flag}: another podswitchd uses {path}; stop it, or use another {what}")]
    Taken {
        /// The flag that would change it.
        flag: &'static str,
        /// Socket or directory.
        path: PathBuf,
        /// In words.
        what: &'static str,
    },
    /// The directory of a socket is missing.
    #[error("--api: the directory {} of the socket does not exist; make it, or use another path", .0.display())]
    NoDirectory(PathBuf),
    /// The state directory cannot be had.
    #[error("--state: {path}: {source}; make it, or use another directory")]
    State {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The lock file cannot be had.
    #[error("--api: {path}: {source}; use a directory that can be written")]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A lock that is held, and the file that goes with it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    remove: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            // Removed while it is still held: who opens it anew sees that it holds another file (below).
            let _ = fs::remove_file(path);
        }
    }
}

/// The lock file of a socket.
pub(super) fn path_of(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Locks an API socket. Its directory must exist; the default one alone is made.
pub(super) fn socket(socket: &Path) -> Result<Lock, LockError> {
    let directory = socket.parent().unwrap_or(Path::new("/"));
    if directory == Path::new("/run/podswitch") && !directory.exists() {
        let source = DirBuilder::new().mode(0o755).create(directory);
        source.map_err(|source| LockError::File { path: directory.into(), source })?;
    }
    if !directory.is_dir() {
        return Err(LockError::NoDirectory(directory.into()));
    }
    let path = path_of(socket);
    let wrong = |source| LockError::File { path: path.clone(), source };
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Taken { flag: "--api", path: socket.into(), what: "socket" });
            }
            Err(TryLockError::Error(e)) => return Err(wrong(e)),
        }
        // Its last holder may have removed it between our opening and our locking.
        let ours = file.metadata().map_err(wrong)?;
        if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Lock { _file: file, remove: Some(path) });
        }
    }
}

/// Locks a state directory, which is made if only its last part is missing. The lock is on the directory itself, so
/// that it works on a disk that cannot be written.
pub(super) fn directory(path: &Path) -> Result<Lock, LockError> {
    let wrong = |source| LockError::State { path: path.into(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists && !path.is_dir() => return Err(wrong(e)),
        _ => {}
    }
    if !path.is_dir() {
        return Err(wrong(io::ErrorKind::NotADirectory.into()));
    }
    let file = File::open(path).map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file, remove: None }),
        Err(TryLockError::WouldBlock) => {
            Err(LockError::Taken { flag: "--state", path: path.into(), what: "directory" })
        }
        Err(TryLockError::Error(e)) => Err(wrong(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("api.sock");
        let first = socket(&path).unwrap();
        let refused = socket(&path).unwrap_err().to_string();
        assert!(refused.starts_with("--api: another podswitchd uses"), "{refused}");
        drop(first);
        assert!(!path_of(&path).exists());
        drop(socket(&path).unwrap());

        let state = root.path().join("state");
        let first = directory(&state).unwrap();
        let refused = directory(&state).unwrap_err().to_string();
        assert!(refused.starts_with("--state: another podswitchd uses"), "{refused}");
        drop(first);
        drop(directory(&state).unwrap());
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = socket(Path::new("/no/such/api.sock")).unwrap_err().to_string();
        assert!(refused.contains("the directory /no/such "), "{refused}");
        assert!(matches!(directory(Path::new("/no/such/state")), Err(LockError::State { .. })));
        assert!(matches!(directory(Path::new("/etc/passwd")), Err(LockError::State { .. })));
    }
}
