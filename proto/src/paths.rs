//! Where things lie on a node and in a pod: agreed between the daemon, the CNI plugin and the device plugin.
//!
//! On the host, below the root directory ([`ROOT`] unless configured): `devices/ID/port/port.json`, which root alone
//! writes, and `devices/ID/socket/vhost.sock`, in the one directory that the pod may write to. In the pod the first
//! directory is `/run/podswitch/ports/ID`, read-only, the second `/run/podswitch/sockets/ID`, and
//! `/run/podswitch/bin/podswitch-port` tells an application what it needs.

use std::path::{Path, PathBuf};

/// Directory of everything on the host.
pub const ROOT: &str = "/run/podswitch";
/// Resource that pods ask the kubelet for.
pub const RESOURCE: &str = "podswitch.io/vhost-user";
/// Name of a port's socket in its directory.
pub const SOCKET: &str = "vhost.sock";
/// Name of the file with the facts of a port (see [`crate::port_file`]).
pub const PORT_FILE: &str = "port.json";
/// In a pod: directories of the port files, by device id.
pub const POD_PORTS: &str = "/run/podswitch/ports";
/// In a pod: directories of the sockets, by device id.
pub const POD_SOCKETS: &str = "/run/podswitch/sockets";
/// In a pod: where the program `podswitch-port` lies.
pub const POD_PROGRAMS: &str = "/run/podswitch/bin";
/// On the host: where the program `podswitch-port` is installed.
pub const HOST_PROGRAMS: &str = "/opt/podswitch/bin";
/// Directory of tombstones, beside the API's socket: deletions that were asked for while the daemon was down.
pub const TOMBSTONES: &str = "tombstones";
/// Longest device id in bytes.
pub const LONGEST_DEVICE_ID: usize = 32;

/// Whether a text is a device id: 1 to 32 characters of `[a-z0-9-]`, the first no `-`.
#[must_use]
pub fn is_device_id(text: &str) -> bool {
    (1..=LONGEST_DEVICE_ID).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The directories of one device id below a root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDirectories {
    /// Holds both.
    pub device: PathBuf,
    /// With the port file; the pod reads it.
    pub port: PathBuf,
    /// With the socket; the pod writes to it.
    pub socket: PathBuf,
}

impl DeviceDirectories {
    /// Those of `id`, which must be one (see [`is_device_id`]).
    #[must_use]
    pub fn new(root: &Path, id: &str) -> Self {
        let device = root.join("devices").join(id);
        Self { port: device.join("port"), socket: device.join("socket"), device }
    }

    /// The socket on the host.
    #[must_use]
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(SOCKET)
    }

    /// The port file on the host.
    #[must_use]
    pub fn port_file(&self) -> PathBuf {
        self.port.join(PORT_FILE)
    }
}

/// A port's socket as its pod sees it.
#[must_use]
pub fn pod_socket(id: &str) -> String {
    format!("{POD_SOCKETS}/{id}/{SOCKET}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_plain_words() {
        for good in ["a", "n0-0001", &"a".repeat(32)] {
            assert!(is_device_id(good), "{good}");
        }
        for bad in ["", "-a", "..", "a/b", "A", "a b", "a=b", &"a".repeat(33)] {
            assert!(!is_device_id(bad), "{bad}");
        }
    }

    #[test]
    fn the_longest_path_is_a_socket_address() {
        let id = "a".repeat(LONGEST_DEVICE_ID);
        assert!(DeviceDirectories::new(Path::new(ROOT), &id).socket_file().as_os_str().len() <= 107);
        assert!(pod_socket(&id).len() <= 107);
    }
}
