//! The device-info file (device-info-spec 1.1.0): where Multus and applications read who creates the socket, and where
//! it lies in the pod.
//!
//! Multus names the file, copies there what the device plugin wrote, and reads it again after ADD: so ours replaces
//! what is there, in one step, and whatever mode that had. Called by the CNI plugin at the end of ADD, and at DEL.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;

/// Version of the specification that the file follows.
const VERSION: &str = "1.1.0";

#[derive(Serialize)]
struct DeviceInfo<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
    #[serde(rename = "vhost-user")]
    vhost_user: VhostUser<'a>,
}

#[derive(Serialize)]
struct VhostUser<'a> {
    mode: &'a str,
    path: &'a str,
}

/// Writes the file at `path`, readable by all: `mode` (`server` or `client`) and `pod_path` (the socket) are as the
/// container sees them. Missing directories are made with mode 0755.
///
/// # Errors
/// Those of the file system, and `InvalidInput` for a path that is relative or names no file.
pub fn write(path: &Path, mode: &str, pod_path: &str) -> io::Result<()> {
    let (Some(directory), Some(_), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the absolute path of a file"));
    };
    let info =
        DeviceInfo { kind: "vhost-user", version: VERSION, vhost_user: VhostUser { mode, path: pod_path } };
    let text = serde_json::to_vec(&info)?;
    make_directories(directory)?;
    // Two calls for one file never run at once (CNI), so the process makes the name unique. It is short: the final
    // name may be as long as the file system allows.
    let temporary = directory.join(OsString::from(format!(".podswitch-{}", std::process::id())));
    let written = replace(&temporary, path, &text);
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes the file; one that is not there is success.
///
/// # Errors
/// Those of the file system.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        other => other,
    }
}

fn replace(temporary: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    // Left by a process of the same id that was killed.
    remove(temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(temporary)?;
    // The runtime's umask is not ours to choose.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text)?;
    drop(file);
    fs::rename(temporary, path)
}

fn make_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make_directories(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_of_the_specification_in_directories_that_all_can_enter() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("devinfo/cni/ns-net-abc_net1");
        write(&file, "server", "/run/podswitch/sockets/n0-0001/vhost.sock").unwrap();
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let expected = serde_json::json!({
            "type": "vhost-user",
            "version": "1.1.0",
            "vhost-user": {"mode": "server", "path": "/run/podswitch/sockets/n0-0001/vhost.sock"},
        });
        assert_eq!(value, expected);
        assert_eq!(mode(&file), 0o644);
        assert_eq!(mode(&root.path().join("devinfo")), 0o755);
        assert_eq!(mode(&root.path().join("devinfo/cni")), 0o755);
    }

    #[test]
    fn what_is_there_is_replaced_and_no_other_file_stays() {
        let root = tempfile::tempdir().unwrap();
        // As long a name as there can be.
        let file = root.path().join("x".repeat(255));
        fs::write(&file, "of the device plugin").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
        write(&file, "client", "/run/podswitch/sockets/a/vhost.sock").unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("\"client\""));
        assert_eq!(mode(&file), 0o644);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        remove(&file).unwrap();
        remove(&file).unwrap();
        remove(&root.path().join("nowhere/file")).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(write(Path::new("relative/file"), "server", "/a").is_err());
        assert!(write(Path::new("/"), "server", "/a").is_err());
        // The target is a directory: the rename fails, after the file was written.
        let directory = root.path().join("directory");
        fs::create_dir_all(directory.join("inner")).unwrap();
        assert!(write(&directory, "server", "/a").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
