//! The directories of an attachment: whether they are there, how they are emptied between owners, and `port.json`.
//!
//! The pod writes to one of them, the socket's, and is hostile: what it leaves there may be links, deep trees, or as
//! many files as fit. The directory is opened without following a link, and all else happens relative to that, with
//! two descriptors and no recursion. Everything above it is root's.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proto::paths::{self, DeviceDirectories};
use proto::port_file::{PortFile, PortFileAddress, PortFileRoute};
use proto::v1;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::key;
use super::refusal::Refusal;

/// Most names that are removed from one directory: beyond that something refills it as fast as it is emptied.
const MOST_NAMES: usize = 1 << 20;

/// Below the root, where attachments have their directories.
#[derive(Clone, Debug)]
pub(in crate::switch) struct Places {
    pub(in crate::switch) root: PathBuf,
    pub(in crate::switch) socket_gid: u32,
}

impl Places {
    pub(super) fn of(&self, directory: &str) -> DeviceDirectories {
        DeviceDirectories::new(&self.root, directory)
    }

    /// Before an attachment is stored: what the device plugin makes must be there, what we make is made; both end up
    /// without anything of an earlier owner.
    pub(super) fn prepare(&self, directory: &str, made: bool) -> Result<(), Refusal> {
        let place = self.of(directory);
        if made {
            self.make(&place).map_err(|e| no_directory(&place.device, &e))?;
        }
        for path in [&place.port, &place.socket] {
            match fs::symlink_metadata(path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    let why = "it is not a directory".into();
                    return Err(Refusal::NoDirectory { path: path.clone(), why });
                }
                Err(e) => return Err(no_directory(path, &e)),
            }
        }
        empty(&place.socket).map_err(|e| no_directory(&place.socket, &e))
    }

    /// Directories that we make are there again, if the root was emptied under us; what they hold stays.
    pub(super) fn repair(&self, directory: &str, made: bool) -> io::Result<()> {
        if made { self.make(&self.of(directory)) } else { Ok(()) }
    }

    fn make(&self, place: &DeviceDirectories) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&place.port)?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&place.socket)?;
        for path in [&place.device, &place.port] {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        let socket = open(&place.socket)?;
        rustix::fs::fchown(&socket, None, Some(rustix::fs::Gid::from_raw(self.socket_gid)))?;
        Ok(rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o2770))?)
    }

    /// After a port is gone: nothing of its owner stays. Trouble is logged, never passed on: a deletion must not fail
    /// because of what a pod left behind, and the next owner's [`Places::prepare`] looks again.
    pub(super) fn clean(&self, directory: &str) {
        let place = self.of(directory);
        if fs::symlink_metadata(&place.device).is_err() {
            return;
        }
        let mut done = gone_is_fine(fs::remove_file(place.port_file()));
        done = done.and(gone_is_fine(empty(&place.socket)));
        if key::is_made(directory) {
            for path in [&place.socket, &place.port, &place.device] {
                done = done.and(gone_is_fine(fs::remove_dir(path)));
            }
        }
        if let Err(e) = done {
            tracing::warn!(directory = %place.device.display(), "not all of it could be removed: {e}");
        }
    }

    /// Writes `port.json` unless it is there as it must be.
    pub(super) fn write_port_file(&self, attachment: &v1::Attachment) -> io::Result<()> {
        let place = self.of(&attachment.directory);
        let mut text = serde_json::to_vec_pretty(&port_file(attachment)).map_err(io::Error::other)?;
        text.push(b'\n');
        let path = place.port_file();
        if fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let passing = place.port.join(".port.json.new");
        gone_is_fine(fs::remove_file(&passing))?;
        fs::write(&passing, text)?;
        fs::set_permissions(&passing, Permissions::from_mode(0o644))?;
        fs::rename(&passing, &path)
    }

    /// Names of the directories there are.
    pub(super) fn present(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join("devices")) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

fn no_directory(path: &Path, error: &io::Error) -> Refusal {
    Refusal::NoDirectory { path: path.into(), why: error.to_string() }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the application is told.
fn port_file(attachment: &v1::Attachment) -> PortFile {
    let spec = attachment.spec.clone().unwrap_or_default();
    let key = spec.key.clone().unwrap_or_default();
    let owner = spec.owner.clone().unwrap_or_default();
    let mode = if spec.mode() == v1::SocketMode::Client { "client" } else { "server" };
    PortFile {
        version: 1,
        ifname: key.ifname,
        network: key.network,
        namespace: owner.namespace,
        pod: owner.pod,
        mode: mode.into(),
        path: attachment.pod_path.clone(),
        mac: spec.mac,
        mtu: spec.mtu,
        queues: spec.queues,
        ips: spec
            .ips
            .into_iter()
            .map(|ip| PortFileAddress { address: ip.address, gateway: ip.gateway })
            .collect(),
        routes: spec.routes.into_iter().map(|r| PortFileRoute { dst: r.dst, gw: r.gw }).collect(),
        features_off: spec.features_off,
        device_id: spec.device_id,
        port: attachment.port.clone(),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Removes all that a directory holds. A tree is flattened rather than walked: what a subdirectory holds moves up under
/// a new name, so that neither its depth nor its paths matter.
///
/// # Errors
/// The first thing that cannot be removed; the rest is removed all the same.
pub(super) fn empty(directory: &Path) -> io::Result<()> {
    let top = open(directory)?;
    let mut wrong = None;
    let mut left = MOST_NAMES;
    let mut moved = 0_u64;
    loop {
        let mut progress = false;
        for name in names(&top)? {
            left =
                left.checked_sub(1).ok_or_else(|| io::Error::other("it fills as fast as it is emptied"))?;
            match remove(&top, &name, &mut moved) {
                Ok(()) | Err(Errno::NOENT) => progress = true,
                Err(e) => wrong = Some(io::Error::from(e)),
            }
        }
        if !progress {
            return names(&top)?
                .is_empty()
                .then_some(())
                .ok_or_else(|| wrong.unwrap_or_else(|| io::Error::from(io::ErrorKind::DirectoryNotEmpty)));
        }
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes one name. A directory that holds something gives it up to `top`, and goes at the next look.
fn remove(top: &OwnedFd, name: &std::ffi::CStr, moved: &mut u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(top, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    match rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(top, name, flags, Mode::empty())?;
    for child in names(&inner).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))? {
        *moved += 1;
        let new = format!(".podswitch-moved-{moved}");
        match rustix::fs::unlinkat(inner.as_fd(), &child, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => rustix::fs::renameat(inner.as_fd(), &child, top, new)?,
            other => other?,
        }
    }
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

/// The socket as its pod sees it.
pub(super) fn pod_path(directory: &str) -> String {
    paths::pod_socket(directory)
}
