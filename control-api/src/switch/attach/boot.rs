//! What is put right before the API is served: attachments of another boot go, directories are as they must be, and
//! the deletions that wait are made.

use std::path::Path;

use super::key::{self, Key};
use super::queue::Work;
use super::{Switch, holder, plan, tombstones};
use crate::store::{Change, Store};

/// Names another file to read the boot id from, for tests.
const BOOT_ID_FILE: &str = "PODSWITCH_BOOT_ID_FILE";

/// The running kernel's boot id; empty if it cannot be read.
#[must_use]
pub fn boot_id() -> String {
    let path = std::env::var_os(BOOT_ID_FILE).unwrap_or_else(|| "/proc/sys/kernel/random/boot_id".into());
    match std::fs::read_to_string(Path::new(&path)) {
        Ok(text) => text.trim().into(),
        Err(e) => {
            tracing::warn!("the boot id cannot be read, attachments of another boot stay: {e}");
            String::new()
        }
    }
}

/// Takes the attachments of another boot out of the store, with their ports: their pods are gone, and so are their
/// directories. Where the store cannot be written they stay, and give way to whoever asks for what they hold.
pub(in crate::switch) fn drop_other_boots(store: &mut Store, boot_id: &str) {
    let Ok(objects) = store.contents().objects() else { return };
    let gone: Vec<_> = objects.attachments.iter().filter(|a| holder::of_another_boot(a, boot_id)).collect();
    if gone.is_empty() {
        return;
    }
    let changes: Vec<Change> = gone.iter().flat_map(|attachment| plan::deletions(attachment)).collect();
    match store.commit(&changes) {
        Ok(()) => tracing::info!(attachments = gone.len(), "those of another boot were dropped"),
        Err(e) => tracing::error!(attachments = gone.len(), "those of another boot cannot be dropped: {e}"),
    }
}

impl Switch {
    /// Once at start, before the API is served.
    pub(in crate::switch) fn prepare_attachments(&self, store_recovered: bool) {
        if let Err(e) = tombstones::make(&self.options.attachments.tombstones) {
            tracing::debug!(directory = %self.options.attachments.tombstones.display(), "not made: {e}");
        }
        let attachments = self.attachments("");
        for attachment in &attachments {
            let made = attachment.spec.as_ref().is_some_and(|spec| spec.device_id.is_empty());
            let place = self.places().repair(&attachment.directory, made);
            if let Err(e) = place.and_then(|()| self.places().write_port_file(attachment)) {
                tracing::warn!(key = %Key::of(attachment), "its port file cannot be written: {e}");
            }
        }
        // What a crash left of deletions. Not where the store is an older one: what it lacks may live.
        if !store_recovered {
            for directory in self.places().present() {
                let used = attachments.iter().any(|attachment| attachment.directory == directory);
                if !used && (key::is_made(&directory) || proto::paths::is_device_id(&directory)) {
                    self.places().clean(&directory);
                }
            }
        }
        self.replay_tombstones();
    }

    /// Those that could not be dropped at start because the store could not be written, tried again in each round.
    pub(in crate::switch) fn detach_other_boots(&self) {
        let gone: Vec<Key> = {
            let state = self.read();
            let gone = state.attachments.iter().filter(|(_, a)| holder::of_another_boot(a, self.boot_id()));
            gone.map(|(key, _)| key.clone()).collect()
        };
        if !gone.is_empty() {
            let answers = self.submit_all(gone.into_iter().map(Work::Detach).collect());
            let dropped = answers.iter().filter(|answer| answer.is_ok()).count();
            tracing::debug!(attachments = answers.len(), dropped, "those of another boot");
        }
    }
}
