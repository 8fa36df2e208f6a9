//! What can go wrong, with the words that a reader of the log needs.

use std::io;
use std::path::PathBuf;

use crate::device_plugin::directories::DirectoryError;
use crate::device_plugin::host::HostError;
use crate::device_plugin::options::OptionsError;

/// Why the device plugin ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Options or the configuration file.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The mount namespace of the host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A directory of a device.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    /// Devices that pods hold.
    #[error("still attached, and so left as they are: {}; delete their pods, or add --force", .0.join(", "))]
    InUse(Vec<String>),
    /// Something that was made does not go.
    #[error("cannot remove {path}: {error}", path = path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}
