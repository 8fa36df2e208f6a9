//! Tombstones: deletions that were asked for while the daemon could not be reached.
//!
//! DEL must not fail for that, or a node without its switch could never be drained. So the key is written beside the
//! daemon's socket, and the daemon deletes what the tombstones name before it serves the first ADD. The name of a
//! tombstone is a hash of its key, so that no container id is too long and none leads elsewhere; the content is the
//! key. This is the only state that the plugin keeps.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proto::v1::AttachmentKey;

/// The tombstone of one key, written or not.
#[derive(Clone, Debug)]
pub struct Tombstone {
    root: PathBuf,
    name: String,
    content: String,
}

impl Tombstone {
    /// That of `key` for the daemon with this socket.
    #[must_use]
    pub fn of(socket: &Path, key: &AttachmentKey) -> Self {
        let content = serde_json::json!({
            "network": key.network, "containerId": key.container_id, "ifname": key.ifname,
        });
        Self {
            root: socket.parent().unwrap_or(Path::new("/")).to_owned(),
            name: format!("{:032x}", hash(key)),
            content: content.to_string(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.root.join(proto::paths::TOMBSTONES)
    }

    fn file(&self) -> PathBuf {
        self.directory().join(format!("{}.json", self.name))
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.file().symlink_metadata().is_ok()
    }

    /// Writes it, whole or not at all. `false`: not even the directory above the daemon's exists, so that no daemon
    /// can have anything to delete.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self) -> io::Result<bool> {
        // The daemon's directory may be gone with a reboot; it is made again, but no path to it.
        let above = self.root.parent().unwrap_or(Path::new("/"));
        if !above.is_dir() {
            return Ok(false);
        }
        make(&self.root, 0o755)?;
        make(&self.directory(), 0o700)?;
        let temporary = self.directory().join(format!(".{}.{}", self.name, std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(self.content.as_bytes()))
            .and_then(|()| fs::rename(&temporary, self.file()));
        if written.is_err() {
            // Of no use to anyone; if this fails too, the daemon passes over names that begin with a dot.
            drop(fs::remove_file(&temporary));
        }
        written.map(|()| true)
    }

    /// Takes it away again. One that the daemon has taken already is success.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.file()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn make(directory: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        other => other,
    }
}

/// FNV-1a of 128 bits over the key's parts, each with a byte after it that none of them can hold.
fn hash(key: &AttachmentKey) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let parts = [&key.network, &key.container_id, &key.ifname];
    let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(network: &str, container_id: &str, ifname: &str) -> AttachmentKey {
        AttachmentKey { network: network.into(), container_id: container_id.into(), ifname: ifname.into() }
    }

    #[test]
    fn it_is_written_once_and_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("run/api.sock");
        let tombstone = Tombstone::of(&socket, &key("n", &"c".repeat(500), "net1"));
        assert!(!tombstone.is_written());
        assert!(tombstone.write().unwrap() && tombstone.write().unwrap());
        assert!(tombstone.is_written());
        let files: Vec<_> =
            fs::read_dir(root.path().join("run/tombstones")).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].extension().unwrap(), "json");
        let content: serde_json::Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(
            content,
            serde_json::json!({"network": "n", "containerId": "c".repeat(500), "ifname": "net1"})
        );
        tombstone.remove().unwrap();
        tombstone.remove().unwrap();
        assert!(!tombstone.is_written());
    }

    #[test]
    fn keys_do_not_run_into_each_other() {
        let names: Vec<u128> =
            [key("ab", "c", "d"), key("a", "bc", "d"), key("a", "b", "cd"), key("a", "c", "bd")]
                .iter()
                .map(hash)
                .collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn no_path_is_made_for_it() {
        let root = tempfile::tempdir().unwrap();
        let tombstone = Tombstone::of(&root.path().join("a/b/api.sock"), &key("n", "c", "i"));
        assert!(!tombstone.write().unwrap());
        assert!(!root.path().join("a").exists());
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tombstones"), "").unwrap();
        assert!(Tombstone::of(&root.path().join("api.sock"), &key("n", "c", "i")).write().is_err());
    }
}
