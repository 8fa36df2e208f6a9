//! Which devices the kubelet has given to pods, as its PodResources service lists them.
//!
//! Asked by reconciliation before it lets a port go, from a thread that may block; nothing else here depends on a
//! kubelet. A listing names every device of every resource. All ids that could be ours are taken, whatever their resource
//! is called: an id too many only keeps a port.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::kubelet::pod_resources::ListPodResourcesRequest;
use proto::kubelet::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tower::service_fn;

/// A node of a thousand pods has some hundred kilobytes.
const LARGEST_MESSAGE: usize = 64 << 20;

/// Why the kubelet's list is not to be had, though there is a kubelet.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// Of this process.
    #[error("{path}: {source}")]
    Runtime {
        /// The kubelet's socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody is behind the socket.
    #[error("{path}: the kubelet cannot be reached: {reason}")]
    Unreachable {
        /// The kubelet's socket.
        path: PathBuf,
        /// The transport's word.
        reason: String,
    },
    /// It answers with a refusal.
    #[error("{path}: the kubelet does not list its devices: {reason}")]
    Refused {
        /// The kubelet's socket.
        path: PathBuf,
        /// The kubelet's word.
        reason: String,
    },
    /// It does not answer.
    #[error("{path}: the kubelet does not answer in {patience:?}")]
    Late {
        /// The kubelet's socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
}

/// Ids of devices that pods have; `None` where there is no socket, and so no kubelet that could be asked. Blocks for at
/// most `patience`; not to be called from async code.
///
/// # Errors
/// [`KubeletError`] where there is a socket and no list: then nothing is known.
pub fn devices_in_use(socket: &Path, patience: Duration) -> Result<Option<BTreeSet<String>>, KubeletError> {
    let path = socket.to_owned();
    match std::fs::symlink_metadata(socket) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(KubeletError::Runtime { path, source }),
        Ok(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| KubeletError::Runtime { path: path.clone(), source })?;
    runtime.block_on(async {
        let listed = tokio::time::timeout(patience, list(socket)).await;
        listed.unwrap_or(Err(KubeletError::Late { path, patience })).map(Some)
    })
}

async fn list(socket: &Path) -> Result<BTreeSet<String>, KubeletError> {
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The authority is not used: the connector knows the path.
    let connected = Endpoint::from_static("http://kubelet").connect_with_connector(connector).await;
    let channel = connected.map_err(|e| {
        // The transport's own word is "transport error"; the kernel's lies behind it.
        let source = std::error::Error::source(&e).map(ToString::to_string);
        KubeletError::Unreachable { path: socket.into(), reason: source.unwrap_or_else(|| e.to_string()) }
    })?;
    let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let answer = client.list(ListPodResourcesRequest {}).await.map_err(|status| KubeletError::Refused {
        path: socket.into(),
        reason: status.message().replace('\n', " "),
    })?;
    let pods = answer.into_inner().pod_resources;
    let containers = pods.into_iter().flat_map(|pod| pod.containers);
    let ids = containers.flat_map(|container| container.devices).flat_map(|device| device.device_ids);
    Ok(ids.filter(|id| proto::paths::is_device_id(id)).collect())
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
