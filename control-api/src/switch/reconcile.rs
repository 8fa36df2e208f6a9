//! Attachments whose pods are gone without a word are let go.
//!
//! A runtime that is killed at the wrong time never sends DEL, and what Kubernetes puts in front of secondary networks
//! does not pass CNI's GC on. So the daemon looks by itself, and rather keeps ten dead ports than cuts one live one. A
//! port goes only if all of this is so:
//!
//! - the daemon itself saw the pod's namespace (device and inode) when it was attached;
//! - two looks, at least [`ReconcileOptions::every`] apart and with none between that saw it, miss it;
//! - other namespaces are seen where it was, or another one at its path ([`holder::namespace_gone`]);
//! - it is not so for all of several: that is what a directory of namespaces that is not mounted looks like;
//! - the kubelet, where there is one, answers and no longer lists the port's device.
//!
//! Called in every round of maintenance, from a thread that may block; most rounds only read the clock.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::v1;

use super::attach::{Key, holder};
use super::{Switch, lock};
use crate::kubelet;

/// How long the kubelet is waited for; the round's other work waits too.
const PATIENCE: Duration = Duration::from_secs(3);

/// When and with whose help attachments are looked at.
#[derive(Clone, Debug)]
pub struct ReconcileOptions {
    /// Time between two looks.
    pub every: Duration,
    /// The kubelet's PodResources socket; none: it is never asked.
    pub kubelet: Option<PathBuf>,
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self { every: Duration::from_secs(60), kubelet: None }
    }
}

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: Option<Instant>,
    /// Attachments whose namespace is missing, and since which look.
    suspects: BTreeMap<Key, Suspect>,
    /// What an operator should look at.
    warning: Option<String>,
}

#[derive(Clone, Debug)]
struct Suspect {
    since: Instant,
    attachment: v1::Attachment,
}

impl Switch {
    /// Looks, if a look is due at `now`.
    pub(super) fn reconcile(&self, now: Instant) {
        let options = &self.options.reconcile;
        let before = {
            let mut looks = lock(&self.looks);
            if looks.last.is_some_and(|last| now.saturating_duration_since(last) < options.every) {
                return;
            }
            looks.last = Some(now);
            looks.suspects.clone()
        };
        let seen: Vec<v1::Attachment> =
            self.attachments("").into_iter().filter(|attachment| attachment.netns_seen).collect();
        let suspects = suspects(&before, &seen, now);
        let old = |suspect: &&Suspect| now.saturating_duration_since(suspect.since) >= options.every;
        let due: Vec<Suspect> = suspects.values().filter(old).cloned().collect();
        let warning = self.let_go(&due, suspects.len() == seen.len() && seen.len() > 1);

        let mut looks = lock(&self.looks);
        if let Some(text) = warning.as_ref().filter(|text| looks.warning.as_ref() != Some(text)) {
            tracing::warn!("{text}");
        }
        looks.warning = warning;
        looks.suspects = suspects;
    }

    /// For the node's status.
    pub(super) fn reconcile_warning(&self) -> Option<String> {
        lock(&self.looks).warning.clone()
    }

    /// Detaches those that are gone beyond doubt. `all`: every namespace is missing. Gives what an operator should know.
    fn let_go(&self, due: &[Suspect], all: bool) -> Option<String> {
        let example = due.first()?;
        let place = path(&example.attachment).parent().unwrap_or(Path::new("/")).display().to_string();
        if all {
            return Some(format!(
                "no namespace of any attached pod is there: is {place} mounted here? Every attachment stays until one is"
            ));
        }
        let (gone, unclear): (Vec<_>, Vec<_>) =
            due.iter().partition(|suspect| holder::namespace_gone(&suspect.attachment));
        let warning = (!unclear.is_empty()).then(|| {
            let names: Vec<&str> = unclear.iter().map(|suspect| suspect.attachment.port.as_str()).take(4).collect();
            format!(
                "{} attachments have no namespace, but no other is seen beside it (is {} mounted here?), so they stay: {}",
                unclear.len(),
                path(&unclear[0].attachment).parent().unwrap_or(Path::new("/")).display(),
                names.join(", ")
            )
        });
        if gone.is_empty() {
            return warning;
        }
        let socket = self.options.reconcile.kubelet.as_deref();
        let listed = match socket.map(|socket| kubelet::devices_in_use(socket, PATIENCE)) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(listed))) => Some(listed),
            Some(Err(e)) => {
                return Some(format!("{e}; {} attachments without a namespace stay for now", gone.len()));
            }
        };
        for Suspect { attachment, .. } in gone {
            let device = attachment.spec.as_ref().map_or("", |spec| spec.device_id.as_str());
            if listed.as_ref().is_some_and(|listed| listed.contains(device)) {
                continue;
            }
            let key = Key::of(attachment);
            // While we looked the same key may have been attached anew.
            if self.read().attachments.get(&key) != Some(attachment) {
                continue;
            }
            match self.detach_key(&key) {
                Ok(_) => {
                    tracing::warn!(%key, port = attachment.port, "its pod is gone without a word: detached");
                }
                Err(e) => tracing::warn!(%key, port = attachment.port, "its pod is gone, it stays: {e}"),
            }
        }
        warning
    }
}

/// Those of `seen` that are missing now, each since the first of the looks in a row that missed it.
fn suspects(
    before: &BTreeMap<Key, Suspect>,
    seen: &[v1::Attachment],
    now: Instant,
) -> BTreeMap<Key, Suspect> {
    let missing = seen.iter().filter(|attachment| is_missing(attachment));
    let suspect = |attachment: &v1::Attachment| {
        let key = Key::of(attachment);
        let known = before.get(&key).filter(|suspect| suspect.attachment == *attachment);
        let since = known.map_or(now, |suspect| suspect.since);
        (key, Suspect { since, attachment: attachment.clone() })
    };
    missing.map(suspect).collect()
}

fn path(attachment: &v1::Attachment) -> &Path {
    let owner = attachment.spec.as_ref().and_then(|spec| spec.owner.as_ref());
    Path::new(owner.map_or("", |owner| owner.netns.as_str()))
}

/// Whether something else or nothing is where the namespace was. What the kernel refuses to say is no.
fn is_missing(attachment: &v1::Attachment) -> bool {
    let Some(owner) = attachment.spec.as_ref().and_then(|spec| spec.owner.as_ref()) else { return false };
    match holder::identity(path(attachment)) {
        Ok(now) => now != (owner.netns_dev, owner.netns_ino),
        Err(e) => matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

#[cfg(test)]
mod tests;
