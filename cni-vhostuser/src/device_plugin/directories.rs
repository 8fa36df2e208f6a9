//! The directories of a device: made, owned, labelled, mounted, repaired, removed.
//!
//! `devices/ID/port` is root's and readable; `devices/ID/socket` is the one that a pod writes to, so a small file
//! system of its own bounds what it can take. Only root can write above `socket`, but nothing here trusts a name
//! twice: every step opens what it found without following links, and works on that. Called on the thread of
//! [`super::host`] alone, before a pool registers, before a container starts, and for a clean-up.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proto::paths::DeviceDirectories;
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, fsetxattr, fstat,
    mkdirat, openat, statat,
};
use rustix::io::Errno;
use tracing::warn;

const SELINUX: &str = "security.selinux";
/// Name of the mounts in the list of mounts.
const SOURCE: &str = "podswitch";
const PORT_MODE: u32 = 0o755;
const SOCKET_MODE: u32 = 0o2770;
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How directories are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Directory shared with the switch; absolute.
    pub(super) root: PathBuf,
    /// Group of socket directories.
    pub(super) group: u32,
    /// Size of the file system on one; 0: none.
    pub(super) bytes: u64,
    /// Its inodes.
    pub(super) inodes: u64,
    /// SELinux label of what pods see.
    pub(super) label: Option<String>,
}

/// A directory that is not as it should be, and does not become so.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {error}{remedy}", path = path.display())]
pub struct DirectoryError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
    remedy: &'static str,
}

impl DirectoryError {
    fn of(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| {
            let remedy = match (what, errno) {
                ("mount on", Errno::PERM | Errno::ACCESS) => {
                    "; mounting takes CAP_SYS_ADMIN and an AppArmor profile that permits it, or say --socket-bytes 0"
                }
                (_, Errno::PERM | Errno::ACCESS) => {
                    "; this takes CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_DAC_OVERRIDE"
                }
                (_, Errno::NOTDIR | Errno::LOOP) => "; something that is no directory lies there: remove it",
                _ => "",
            };
            Self { what, path, error: errno.into(), remedy }
        }
    }
}

impl Layout {
    /// Makes or repairs the directories of `id`, and gives the one with the socket. What pods or the switch put into
    /// them stays.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) fn ensure(&self, id: &str) -> Result<OwnedFd, DirectoryError> {
        let paths = DeviceDirectories::new(&self.root, id);
        fs::create_dir_all(&self.root).map_err(|error| DirectoryError {
            what: "make",
            path: self.root.clone(),
            error,
            remedy: "",
        })?;
        let root = openat(rustix::fs::CWD, &self.root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(DirectoryError::of("open", &self.root))?;
        let devices = self.root.join("devices");
        let all = directory(root.as_fd(), "devices", &devices, PORT_MODE)?;
        fix(all.as_fd(), &devices, 0, PORT_MODE)?;
        let device = directory(all.as_fd(), id, &paths.device, PORT_MODE)?;
        fix(device.as_fd(), &paths.device, 0, PORT_MODE)?;
        let port = directory(device.as_fd(), "port", &paths.port, PORT_MODE)?;
        fix(port.as_fd(), &paths.port, 0, PORT_MODE)?;
        self.label(port.as_fd(), &paths.port)?;
        let mut socket = directory(device.as_fd(), "socket", &paths.socket, SOCKET_MODE)?;
        if self.bytes != 0 && !is_mounted(device.as_fd(), socket.as_fd(), &paths.socket)? {
            if is_empty(socket.as_fd(), &paths.socket)? {
                self.mount(&paths.socket)?;
                socket = directory(device.as_fd(), "socket", &paths.socket, SOCKET_MODE)?;
            } else {
                // A mount would hide what somebody uses. It comes when the directory was emptied.
                warn!(path = %paths.socket.display(), "not empty: stays without a file system of its own for now");
            }
        }
        fix(socket.as_fd(), &paths.socket, self.group, SOCKET_MODE)?;
        self.label(socket.as_fd(), &paths.socket)?;
        Ok(socket)
    }

    fn mount(&self, path: &Path) -> Result<(), DirectoryError> {
        let options = format!(
            "size={},nr_inodes={},mode={SOCKET_MODE:o},uid=0,gid={}",
            self.bytes, self.inodes, self.group
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(SOURCE), path, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|e| DirectoryError::of("mount on", path)(Errno::from_raw_os_error(e as i32)))
    }

    fn label(&self, fd: BorrowedFd<'_>, path: &Path) -> Result<(), DirectoryError> {
        let Some(label) = &self.label else { return Ok(()) };
        // The kernel's value may end with a NUL.
        let mut value = [0_u8; 256];
        let length = fgetxattr(fd, SELINUX, &mut value).unwrap_or(0);
        if value[..length].strip_suffix(&[0]).unwrap_or(&value[..length]) == label.as_bytes() {
            return Ok(());
        }
        fsetxattr(fd, SELINUX, label.as_bytes(), XattrFlags::empty())
            .map_err(DirectoryError::of("label", path))
    }

    /// Unmounts and removes the directories of `id`; those that are not there are removed already. With `detach` a
    /// file system that pods still use goes when they let go of it.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) fn remove(&self, id: &str, detach: bool) -> Result<(), DirectoryError> {
        let paths = DeviceDirectories::new(&self.root, id);
        loop {
            let device = match openat(rustix::fs::CWD, &paths.device, OPEN, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(()),
                other => other.map_err(DirectoryError::of("open", &paths.device))?,
            };
            let socket = match openat(&device, "socket", OPEN, Mode::empty()) {
                Err(Errno::NOENT) => break,
                other => other.map_err(DirectoryError::of("open", &paths.socket))?,
            };
            if !is_mounted(device.as_fd(), socket.as_fd(), &paths.socket)? {
                break;
            }
            drop(socket);
            let flags = if detach { MntFlags::MNT_DETACH } else { MntFlags::empty() };
            umount2(&paths.socket, flags | MntFlags::UMOUNT_NOFOLLOW).map_err(|e| {
                DirectoryError::of("unmount", &paths.socket)(Errno::from_raw_os_error(e as i32))
            })?;
        }
        // Does not follow links.
        fs::remove_dir_all(&paths.device).map_err(|error| DirectoryError {
            what: "remove",
            path: paths.device,
            error,
            remedy: "",
        })
    }

    /// Ids that have directories and the form of ours.
    ///
    /// # Errors
    /// The directory of devices cannot be read.
    pub(super) fn found(&self) -> Result<Vec<String>, DirectoryError> {
        let path = self.root.join("devices");
        let failed = |error| DirectoryError { what: "read", path: path.clone(), error, remedy: "" };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.map_err(failed)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().filter(|n| super::pool::parts(n).is_some()).map(str::to_owned));
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

/// Opens the directory `name`, and makes it first if there is none.
fn directory(parent: BorrowedFd<'_>, name: &str, path: &Path, mode: u32) -> Result<OwnedFd, DirectoryError> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(DirectoryError::of("make", path)(errno)),
    }
    openat(parent, name, OPEN, Mode::empty()).map_err(DirectoryError::of("open", path))
}

fn fix(fd: BorrowedFd<'_>, path: &Path, group: u32, mode: u32) -> Result<(), DirectoryError> {
    let seen = fstat(fd).map_err(DirectoryError::of("look at", path))?;
    let owned = seen.st_uid == 0 && seen.st_gid == group;
    if !owned {
        fchown(fd, Some(Uid::ROOT), Some(Gid::from_raw(group)))
            .map_err(DirectoryError::of("give away", path))?;
    }
    // A new owner clears the set-group-id bit.
    if !owned || seen.st_mode & 0o7777 != mode {
        fchmod(fd, Mode::from_raw_mode(mode)).map_err(DirectoryError::of("set the mode of", path))?;
    }
    Ok(())
}

fn is_mounted(device: BorrowedFd<'_>, socket: BorrowedFd<'_>, path: &Path) -> Result<bool, DirectoryError> {
    let number = |fd| fstat(fd).map(|seen: Stat| seen.st_dev).map_err(DirectoryError::of("look at", path));
    Ok(number(device)? != number(socket)?)
}

fn is_empty(fd: BorrowedFd<'_>, path: &Path) -> Result<bool, DirectoryError> {
    let read = || DirectoryError::of("read", path);
    for entry in Dir::read_from(fd).map_err(read())? {
        let entry = entry.map_err(read())?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the entry `name` is still the file that was looked at.
pub(super) fn is_still(parent: BorrowedFd<'_>, name: &std::ffi::CStr, seen: &Stat) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|now| (now.st_dev, now.st_ino) == (seen.st_dev, seen.st_ino))
}
