//! Where the daemon listens: `unix:PATH` for the API, that or a loopback address for metrics.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path a UNIX socket address takes, in bytes (108 with the closing NUL).
pub const LONGEST_SOCKET_PATH: usize = 107;

/// A text that is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// TCP for the API.
    #[error("\"{0}\" is not offered: the API is root's and has no mutual TLS yet; use unix:PATH")]
    Tcp(String),
    /// No known form.
    #[error("\"{0}\" is not an address; use {1}")]
    Form(String, &'static str),
    /// Relative.
    #[error("the socket path \"{0}\" is not absolute; use one that begins with /")]
    Relative(String),
    /// Too long for the kernel.
    #[error("the socket path has {0} bytes, the kernel takes {LONGEST_SOCKET_PATH}; use a shorter one")]
    Long(usize),
    /// Reachable from outside this machine.
    #[error("{0} is not a loopback address; use 127.0.0.1:PORT, [::1]:PORT or unix:PATH")]
    NotLoopback(SocketAddr),
}

/// Where the gRPC API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress(PathBuf);

impl ApiAddress {
    /// Where it is unless told otherwise.
    pub const DEFAULT: &str = "unix:/run/podswitch/api.sock";

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}

impl FromStr for ApiAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("unix", path)) => socket_path(path).map(Self),
            Some(("tcp" | "http" | "https", _)) => Err(AddressError::Tcp(text.into())),
            _ if text.parse::<SocketAddr>().is_ok() => Err(AddressError::Tcp(text.into())),
            _ => Err(AddressError::Form(text.into(), "unix:PATH")),
        }
    }
}

/// Where metrics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    /// Nowhere.
    Off,
    /// HTTP on a UNIX socket.
    Unix(PathBuf),
    /// HTTP on a loopback address.
    Tcp(SocketAddr),
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        let form = || AddressError::Form(text.into(), "unix:PATH, 127.0.0.1:PORT or off");
        let address: SocketAddr = text.parse().map_err(|_| form())?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(AddressError::NotLoopback(address))
        }
    }
}

fn socket_path(path: &str) -> Result<PathBuf, AddressError> {
    if !path.starts_with('/') {
        Err(AddressError::Relative(path.into()))
    } else if path.len() > LONGEST_SOCKET_PATH {
        Err(AddressError::Long(path.len()))
    } else {
        Ok(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_a_unix_socket() {
        let address: ApiAddress = "unix:/run/a.sock".parse().unwrap();
        assert_eq!(address.path(), Path::new("/run/a.sock"));
        assert_eq!(address.to_string(), "unix:/run/a.sock");
        assert!(matches!("tcp:0.0.0.0:1".parse::<ApiAddress>(), Err(AddressError::Tcp(_))));
        assert!(matches!("127.0.0.1:1".parse::<ApiAddress>(), Err(AddressError::Tcp(_))));
        assert!(matches!("/run/a".parse::<ApiAddress>(), Err(AddressError::Form(..))));
        assert!(matches!("unix:a".parse::<ApiAddress>(), Err(AddressError::Relative(_))));
        let long = format!("unix:/{}", "a".repeat(LONGEST_SOCKET_PATH));
        assert_eq!(long.parse::<ApiAddress>(), Err(AddressError::Long(108)));
    }

    #[test]
    fn metrics_stay_on_this_machine() {
        assert_eq!("off".parse(), Ok(MetricsAddress::Off));
        assert_eq!("unix:/m".parse(), Ok(MetricsAddress::Unix("/m".into())));
        assert!(matches!("[::1]:9000".parse(), Ok(MetricsAddress::Tcp(_))));
        assert!(matches!("0.0.0.0:9000".parse::<MetricsAddress>(), Err(AddressError::NotLoopback(_))));
        assert!("localhost:9000".parse::<MetricsAddress>().is_err());
    }
}
