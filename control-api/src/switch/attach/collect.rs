//! Garbage: attachments that the runtime no longer knows (CNI GC).

use std::collections::BTreeSet;

use proto::v1;

use super::key::Key;
use super::queue::{Outcome, Work};
use super::{Switch, holder};
use crate::error::Error;

impl Switch {
    /// Deletes the attachments of one CNI network that the runtime's list lacks. Without a list only those go whose
    /// namespace is provably gone, and never all of several.
    ///
    /// # Errors
    /// The first deletion that could not be stored; the others are made all the same.
    pub fn collect(&self, request: &v1::CollectRequest) -> Result<v1::CollectResponse, Error> {
        let attachments = self.attachments(&request.network);
        let mine = |attachment: &&v1::Attachment| Key::of(attachment).network == request.network;
        let attachments: Vec<_> = attachments.iter().filter(mine).collect();
        let going: Vec<Key> = if request.have_list {
            let valid: BTreeSet<(&str, &str)> =
                request.valid.iter().map(|key| (key.container_id.as_str(), key.ifname.as_str())).collect();
            let keys = attachments.iter().map(|attachment| Key::of(attachment));
            keys.filter(|key| !valid.contains(&(key.container.as_str(), key.ifname.as_str()))).collect()
        } else {
            let gone = attachments.iter().filter(|attachment| holder::is_gone(attachment, self.boot_id()));
            let gone: Vec<Key> = gone.map(|attachment| Key::of(attachment)).collect();
            if gone.len() > 1 && gone.len() == attachments.len() {
                tracing::warn!(
                    network = request.network,
                    attachments = gone.len(),
                    "the namespace of every one of them seems to be gone: none is deleted"
                );
                return Ok(v1::CollectResponse::default());
            }
            gone
        };
        let answers = self.submit_all(going.iter().cloned().map(Work::Detach).collect());
        let mut deleted = Vec::new();
        let mut wrong = None;
        for (key, answer) in going.iter().zip(answers) {
            match answer {
                Ok(Outcome::Detached(true)) => deleted.push(key.message()),
                Ok(_) => {}
                Err(e) => wrong = wrong.or(Some(e)),
            }
        }
        wrong.map_or(Ok(v1::CollectResponse { deleted }), Err)
    }
}
