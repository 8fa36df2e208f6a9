//! The switch as the device plugin sees it: whether it is there, and on which NUMA nodes it has workers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::v1::attachment_service_client::AttachmentServiceClient;
use proto::v1::{AttachmentListRequest, ReadyRequest};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::pool::MOST_NODES;

/// A look that takes longer found nobody.
const LONGEST_LOOK: Duration = Duration::from_secs(3);
const LARGEST_MESSAGE: usize = 64 << 20;

/// Why the switch cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SwitchError {
    /// Nobody answers.
    #[error("podswitchd does not answer at {path}: {reason}", path = path.display())]
    Away {
        /// Its socket.
        path: PathBuf,
        /// Of gRPC, or of the kernel.
        reason: String,
    },
    /// An older one.
    #[error("podswitchd at {path} is too old: it has no attachments", path = path.display())]
    TooOld {
        /// Its socket.
        path: PathBuf,
    },
    /// It is there, and cannot attach.
    #[error("podswitchd cannot attach pods: {reason}")]
    NotReady {
        /// Its word.
        reason: String,
        /// NUMA nodes that have workers all the same.
        nodes: Vec<u32>,
    },
}

/// The connection to the switch; made again by itself.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    path: PathBuf,
    client: AttachmentServiceClient<Channel>,
}

impl Switch {
    /// The switch whose API is at `path`; nothing is connected yet.
    pub(super) fn new(path: PathBuf) -> Self {
        let socket = path.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The authority is not used: the connector knows the path.
        let channel = Endpoint::from_static("http://podswitchd").connect_with_connector_lazy(connector);
        Self {
            path,
            client: AttachmentServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE),
        }
    }

    /// The NUMA nodes that have workers, sorted; never none.
    ///
    /// # Errors
    /// It is away, too old, or says that it cannot attach.
    pub(super) async fn look(&mut self) -> Result<Vec<u32>, SwitchError> {
        let asked = tokio::time::timeout(LONGEST_LOOK, self.client.ready(ReadyRequest::default())).await;
        let answer = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let ready = answer.map_err(|status| away(&self.path, &status))?.into_inner();
        let nodes: BTreeSet<u32> = ready.numa_nodes.into_iter().filter(|&node| node < MOST_NODES).collect();
        let nodes = if nodes.is_empty() { vec![0] } else { nodes.into_iter().collect() };
        if ready.code == 0 {
            return Ok(nodes);
        }
        Err(SwitchError::NotReady { reason: ready.reason.chars().take(200).collect(), nodes })
    }

    /// Names of the directories that attachments are in.
    ///
    /// # Errors
    /// As [`Switch::look`].
    pub(super) async fn directories_in_use(&mut self) -> Result<BTreeSet<String>, SwitchError> {
        let asked =
            tokio::time::timeout(LONGEST_LOOK, self.client.list(AttachmentListRequest::default())).await;
        let answer = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let list = answer.map_err(|status| away(&self.path, &status))?.into_inner();
        Ok(list.attachments.into_iter().map(|a| a.directory).collect())
    }
}

fn away(path: &Path, status: &Status) -> SwitchError {
    if status.code() == Code::Unimplemented {
        return SwitchError::TooOld { path: path.into() };
    }
    // The transport's own text hides the kernel's word.
    let mut reason = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    SwitchError::Away { path: path.into(), reason }
}
