//! The section `[attachments]`: where the directories of attached pods lie, whose they are, and how those are found
//! whose pods are gone.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::unistd::Group;
use proto::paths::{DeviceDirectories, LONGEST_DEVICE_ID, ROOT};
use serde::{Deserialize, Serialize};

use super::{ConfigError, value, within};
use crate::address::LONGEST_SOCKET_PATH;

/// The ports that a container runtime asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attachments {
    /// Root of the directory `devices`.
    pub directory: PathBuf,
    /// Whose the socket directories are.
    pub socket_group: SocketGroup,
    /// Seconds between two looks for namespaces that are gone.
    pub reconcile_seconds: u64,
    /// The kubelet's PodResources socket; empty: the kubelet is never asked.
    pub kubelet: PathBuf,
}

/// A group as an administrator writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the number or name of a group")]
pub enum SocketGroup {
    /// Its number.
    Id(u32),
    /// Its name, looked up at start.
    Name(String),
}

impl Default for Attachments {
    fn default() -> Self {
        Self {
            directory: ROOT.into(),
            socket_group: SocketGroup::Id(0),
            reconcile_seconds: 60,
            kubelet: "/var/lib/kubelet/pod-resources/kubelet.sock".into(),
        }
    }
}

/// [`Attachments`], checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentSettings {
    /// Root of the directory `devices`; absolute, and short enough for every socket below it.
    pub directory: PathBuf,
    /// Group of the socket directories.
    pub socket_gid: u32,
    /// Time between two looks for namespaces that are gone.
    pub reconcile: Duration,
    /// The kubelet's PodResources socket.
    pub kubelet: Option<PathBuf>,
}

impl Attachments {
    pub(super) fn resolve(self) -> Result<AttachmentSettings, ConfigError> {
        absolute("attachments.directory", &self.directory)?;
        let longest = DeviceDirectories::new(&self.directory, &"x".repeat(LONGEST_DEVICE_ID)).socket_file();
        let excess = longest.as_os_str().len().saturating_sub(LONGEST_SOCKET_PATH);
        if excess > 0 {
            let text = format!(
                "a UNIX socket below it would have a path of more than {LONGEST_SOCKET_PATH} bytes; use one that is {excess} bytes shorter"
            );
            return Err(value("attachments.directory", &text));
        }
        within("attachments.reconcile_seconds", self.reconcile_seconds, 1, 86_400)?;
        let kubelet = Some(self.kubelet).filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &kubelet {
            absolute("attachments.kubelet", path)?;
        }
        Ok(AttachmentSettings {
            directory: self.directory,
            socket_gid: self.socket_group.gid()?,
            reconcile: Duration::from_secs(self.reconcile_seconds),
            kubelet,
        })
    }
}

impl SocketGroup {
    fn gid(&self) -> Result<u32, ConfigError> {
        let name = match self {
            Self::Id(gid) => return Ok(*gid),
            Self::Name(name) => name,
        };
        if let Ok(gid) = name.parse() {
            return Ok(gid);
        }
        let wrong =
            |why: &str| value("attachments.socket_group", &format!("{why}; use a group's number, or add it"));
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err(wrong(&format!("there is no group \"{name}\""))),
            Err(e) => Err(wrong(&format!("the group \"{name}\" cannot be looked up ({e})"))),
        }
    }
}

fn absolute(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain {
        return Ok(());
    }
    Err(value(key, &format!("\"{}\" is not absolute; begin it with / and leave \"..\" out", path.display())))
}

impl Default for AttachmentSettings {
    /// What a daemon without configuration has.
    fn default() -> Self {
        Attachments::default().resolve().expect("the defaults are good, a test says so")
    }
}
