//! What the plugin remembers: the NUMA nodes where the switch last had workers.
//!
//! With it a restart of the plugin needs no switch. The file lies beside the directories, so what it says holds as long
//! as they are there. Read and written on the thread of [`super::host`].

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::pool::MOST_NODES;

const FILE: &str = "device-plugin.json";

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Known {
    /// Every node that ever had devices, sorted.
    pub(super) numa_nodes: Vec<u32>,
}

impl Known {
    /// What the file says; a file that cannot be used is as none.
    pub(super) fn load(root: &Path) -> Self {
        let path = root.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                warn!("{} cannot be read: {error}", path.display());
                return Self::default();
            }
        };
        let mut known = serde_json::from_slice::<Self>(&text).unwrap_or_else(|error| {
            warn!("{} is not as it was written: {error}", path.display());
            Self::default()
        });
        known.numa_nodes.retain(|&node| node < MOST_NODES);
        known
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn save(&self, root: &Path) -> io::Result<()> {
        let temporary = root.join(format!(".{FILE}"));
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, root.join(FILE))
    }

    /// Removes the file; none is success.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn remove(root: &Path) -> io::Result<()> {
        match fs::remove_file(root.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_known_and_anything_else_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Known::load(root.path()), Known::default());
        let known = Known { numa_nodes: vec![0, 2] };
        known.save(root.path()).unwrap();
        assert_eq!(Known::load(root.path()), known);
        fs::write(root.path().join(FILE), "{\"numaNodes\":").unwrap();
        assert_eq!(Known::load(root.path()), Known::default());
        Known::remove(root.path()).unwrap();
        Known::remove(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
