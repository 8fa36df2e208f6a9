//! Sockets that nobody answers any more.
//!
//! An application that was killed leaves its socket behind, and the next one cannot create its own. Whether somebody
//! still has it is asked with a socket of another type: the kernel refuses the connection either way, but says
//! whether there is somebody, and a listener that takes one connection only does not notice. The directory is
//! written by a pod, so every entry is opened without following links, and only sockets are touched. Called on the
//! thread of [`super::host`], before a container starts.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;

use super::directories::is_still;
use super::host::Here;

/// Entries that are looked at; a directory without a file system of its own is not bounded.
const MOST: usize = 4096;

/// Removes the sockets in a directory that nobody has, and gives their number.
///
/// # Errors
/// The directory cannot be read. Entries that change or vanish under our eyes are passed over.
pub(super) fn remove_stale(here: &Here, directory: BorrowedFd<'_>) -> io::Result<usize> {
    let mut names = Vec::<CString>::new();
    for entry in Dir::read_from(directory)?.take(MOST) {
        let entry = entry?;
        if matches!(entry.file_type(), FileType::Socket | FileType::Unknown) {
            names.push(entry.file_name().to_owned());
        }
    }
    let mut removed = 0;
    for name in names {
        removed += usize::from(remove_if_stale(here, directory, &name)?);
    }
    Ok(removed)
}

fn remove_if_stale(here: &Here, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else { return Ok(false) };
    let seen = fstat(&file)?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::Socket || !is_refused(here, file.as_fd())? {
        return Ok(false);
    }
    // Nothing that a pod puts there in between harms anybody but itself.
    Ok(is_still(directory, name, &seen) && unlinkat(directory, name, AtFlags::empty()).is_ok())
}

/// Whether no socket is bound to the file.
fn is_refused(here: &Here, file: BorrowedFd<'_>) -> io::Result<bool> {
    here.among_descriptors()?;
    let probe = UnixDatagram::unbound()?;
    let answer = probe.connect(file.as_raw_fd().to_string());
    Ok(answer.is_err_and(|e| e.raw_os_error() == Some(Errno::CONNREFUSED.raw_os_error())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::device_plugin::host::{Host, MountNamespace};

    async fn stale_in(directory: &std::path::Path) -> usize {
        let directory = fs::File::open(directory).unwrap();
        let host = Host::enter(&MountNamespace::None).unwrap();
        host.run(move |here| remove_stale(here, directory.as_fd())).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn only_sockets_that_nobody_has_go() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir(&inside).unwrap();
        drop(UnixListener::bind(inside.join("dead.sock")).unwrap());
        drop(UnixDatagram::bind(inside.join("dead-datagram.sock")).unwrap());
        drop(UnixListener::bind(&outside).unwrap());
        let alive = UnixListener::bind(inside.join("alive.sock")).unwrap();
        let datagram = UnixDatagram::bind(inside.join("datagram.sock")).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        fs::write(inside.join("file"), "").unwrap();
        fs::create_dir(inside.join("directory")).unwrap();

        assert_eq!(stale_in(&inside).await, 2);
        let mut left: Vec<_> =
            fs::read_dir(&inside).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort_unstable();
        assert_eq!(left, ["alive.sock", "datagram.sock", "directory", "file", "link"]);
        assert!(fs::symlink_metadata(&outside).is_ok(), "what a link names stays");
        drop(datagram);

        // The listener was not disturbed: what it gets next is the first connection.
        alive.set_nonblocking(true).unwrap();
        assert_eq!(alive.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = UnixStream::connect(inside.join("alive.sock")).unwrap();
        alive.accept().unwrap();
    }
}
