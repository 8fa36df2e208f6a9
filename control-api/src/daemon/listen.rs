//! The sockets that the daemon listens on. Called while the locks are held: a socket file that is there was left by
//! a daemon that died.

use std::fs::{self, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::address::MetricsAddress;

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something else is there.
    #[error("{key}: {} exists and is not a socket; remove it, or use another path", path.display())]
    NotASocket {
        /// Flag or configuration key.
        key: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{key}: {address}: {source}; use another address, or make this one free")]
    Bind {
        /// Flag or configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on a UNIX socket that only its owner may open.
pub(super) fn unix(key: &'static str, path: &Path) -> Result<UnixListener, ListenError> {
    let wrong = |source| ListenError::Bind { key, address: path.display().to_string(), source };
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ListenError::NotASocket { key, path: path.into() });
        }
        Ok(_) => fs::remove_file(path).map_err(wrong)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(listener)
}

/// Where metrics will be read, not yet known to the runtime.
#[derive(Debug)]
pub(super) enum Metrics {
    Off,
    Unix(UnixListener),
    Tcp(TcpListener),
}

pub(super) fn metrics(address: &MetricsAddress) -> Result<Metrics, ListenError> {
    let key = "metrics.listen";
    match address {
        MetricsAddress::Off => Ok(Metrics::Off),
        MetricsAddress::Unix(path) => unix(key, path).map(Metrics::Unix),
        MetricsAddress::Tcp(tcp) => {
            let wrong = |source| ListenError::Bind { key, address: tcp.to_string(), source };
            let listener = TcpListener::bind(tcp).map_err(wrong)?;
            listener.set_nonblocking(true).map_err(wrong)?;
            Ok(Metrics::Tcp(listener))
        }
    }
}

/// Removes a socket file at the end; one that is gone is no matter.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("api.sock");
        drop(unix("--api", &path).unwrap());
        assert!(path.exists(), "a dead daemon leaves its socket");
        let _listener = unix("--api", &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let file = root.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(unix("--api", &file), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
