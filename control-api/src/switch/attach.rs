//! Attachments: the ports that a container runtime asks for, each with its owner.
//!
//! An attachment and its port are one row each and one commit together. What a request may be is said by its network
//! ([`request`]); who must give way to whom by [`holder`]; what stands in a request's way by [`plan`]; how many requests
//! become one commit by [`queue`] and [`batch`]; where sockets and files lie by [`place`]. All methods may block, as
//! those of the other changes.

mod batch;
mod boot;
mod check;
mod collect;
pub(in crate::switch) mod holder;
mod key;
mod place;
mod plan;
mod queue;
mod refusal;
mod request;
mod tombstones;

use std::path::PathBuf;

use proto::v1;

use super::Switch;
use crate::error::Error;
pub use boot::boot_id;
pub(in crate::switch) use boot::drop_other_boots;
pub(in crate::switch) use key::Key;
use place::Places;
pub(in crate::switch) use queue::Queue;
use queue::{Outcome, Work};
pub use refusal::{Refusal, Thing};
pub use request::FEATURES;

/// What the switch must know to attach.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Root of the directory `devices`.
    pub directory: PathBuf,
    /// Group of the socket directories.
    pub socket_gid: u32,
    /// Directory of the deletions that wait.
    pub tombstones: PathBuf,
    /// Of the running kernel; empty: not known.
    pub boot_id: String,
}

impl Switch {
    pub(in crate::switch) fn boot_id(&self) -> &str {
        &self.options.attachments.boot_id
    }

    pub(in crate::switch) fn places(&self) -> Places {
        let options = &self.options.attachments;
        Places { root: options.directory.clone(), socket_gid: options.socket_gid }
    }

    /// Plugs an interface in; the same again is the same answer.
    ///
    /// # Errors
    /// See [`Refusal`]; a store that cannot be written. Nothing has changed then.
    pub fn attach(&self, request: v1::AttachRequest) -> Result<v1::Attachment, Error> {
        let mut wanted = request::parse(request)?;
        self.replay_tombstones();
        wanted.netns_seen = wanted.spec.owner.as_ref().is_some_and(holder::sees);
        match self.submit(Work::Attach(Box::new(wanted)))? {
            Outcome::Attached(attachment) => Ok(*attachment),
            Outcome::Detached(_) => Err(Refusal::Lost.into()),
        }
    }

    /// Unplugs it and empties its directories; true if there was one.
    ///
    /// # Errors
    /// A key that is none; a store that cannot be written. Nothing has changed then.
    pub fn detach(&self, key: Option<&v1::AttachmentKey>) -> Result<bool, Error> {
        self.detach_key(&Key::parse(key)?)
    }

    pub(in crate::switch) fn detach_key(&self, key: &Key) -> Result<bool, Error> {
        Ok(matches!(self.submit(Work::Detach(key.clone()))?, Outcome::Detached(true)))
    }

    /// # Errors
    /// There is none of that key.
    pub fn attachment(&self, key: Option<&v1::AttachmentKey>) -> Result<v1::Attachment, Error> {
        let key = Key::parse(key)?;
        let found = self.read().attachments.get(&key).cloned();
        found.ok_or_else(|| Refusal::NotAttached(key.to_string()).into())
    }

    /// Every attachment by key, of one CNI network if `network` is not empty.
    #[must_use]
    pub fn attachments(&self, network: &str) -> Vec<v1::Attachment> {
        let state = self.read();
        let of = state.attachments.iter().filter(|(key, _)| network.is_empty() || key.network == network);
        of.map(|(_, attachment)| attachment.clone()).collect()
    }

    pub(in crate::switch) fn attachment_count(&self) -> u32 {
        u32::try_from(self.read().attachments.len()).unwrap_or(u32::MAX)
    }

    /// Whose a port is, if a container runtime asked for it.
    pub(in crate::switch) fn owner_of(&self, port: &str) -> Option<Key> {
        let state = self.read();
        let found = state.attachments.iter().find(|(_, attachment)| attachment.port == port);
        found.map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests;
