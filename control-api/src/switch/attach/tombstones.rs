//! Deletions that were asked for while the daemon was down: one small file each, written by the CNI plugin.
//!
//! They are replayed before the API is served, in every round of maintenance, and before each attachment, so that what
//! was deleted can never stand in the way of what comes after it. One at a time: an attachment that finds a file waits
//! until its deletion is done.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proto::v1;
use rustix::fs::OFlags;
use serde::Deserialize;

use super::key::Key;
use crate::switch::{Switch, lock};

/// Largest file that is read.
const LARGEST: u64 = 16 << 10;
/// What a file is called that cannot be one of these.
const SET_ASIDE: &str = "bad";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tombstone {
    network: String,
    container_id: String,
    ifname: String,
}

/// Makes the directory, root's alone, if what it lies in is there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The files that wait, by name.
fn waiting(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort_unstable();
    files
}

fn read(path: &Path) -> io::Result<Key> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    let stone: Tombstone = serde_json::from_slice(&text)?;
    let key =
        v1::AttachmentKey { network: stone.network, container_id: stone.container_id, ifname: stone.ifname };
    Key::parse(Some(&key)).map_err(io::Error::other)
}

impl Switch {
    /// Makes the deletions that wait. One that cannot be stored now stays for the next time.
    pub fn replay_tombstones(&self) {
        let directory = &self.options.attachments.tombstones;
        if waiting(directory).is_empty() {
            return;
        }
        let _one_at_a_time = lock(&self.replaying);
        for path in waiting(directory) {
            match read(&path) {
                Ok(key) => match self.detach_key(&key) {
                    Ok(existed) => {
                        tracing::info!(%key, existed, "a deletion from when podswitchd was down was made");
                        let _ = fs::remove_file(&path);
                    }
                    Err(e) => tracing::debug!(%key, "a deletion waits: {}", e.line()),
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let aside = path.with_extension(SET_ASIDE);
                    let outcome = fs::rename(&path, &aside);
                    tracing::warn!(file = %path.display(), set_aside = outcome.is_ok(), "no tombstone: {e}");
                }
            }
        }
    }
}
