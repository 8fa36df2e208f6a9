//! The connection to the daemon.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::v1::attachment_service_client::AttachmentServiceClient;
use proto::v1::network_service_client::NetworkServiceClient;
use proto::v1::node_service_client::NodeServiceClient;
use proto::v1::port_service_client::PortServiceClient;
use proto::v1::stats_service_client::StatsServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Error;
use crate::address::ApiAddress;

const LONGEST_REQUEST: Duration = Duration::from_secs(40);
const LARGEST_MESSAGE: usize = 64 << 20;

/// A connection that was made.
#[derive(Debug)]
pub(super) struct Client(Channel);

impl Client {
    pub(super) async fn connect(api: &ApiAddress) -> Result<Self, Error> {
        let unreachable = |reason: String| Error::Unreachable { address: api.to_string(), reason };
        // Tried by hand first: the transport hides the kernel's word.
        UnixStream::connect(api.path()).await.map_err(|e| unreachable(e.to_string()))?;
        let path = api.path().to_owned();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is not used: the connector knows the path.
        let endpoint = Endpoint::from_static("http://podswitchd").timeout(LONGEST_REQUEST);
        let channel = endpoint.connect_with_connector(connector).await;
        channel.map(Self).map_err(|e| unreachable(e.to_string()))
    }

    pub(super) fn networks(&self) -> NetworkServiceClient<Channel> {
        NetworkServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    pub(super) fn attachments(&self) -> AttachmentServiceClient<Channel> {
        AttachmentServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    pub(super) fn ports(&self) -> PortServiceClient<Channel> {
        PortServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    pub(super) fn node(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.0.clone())
    }

    pub(super) fn stats(&self) -> StatsServiceClient<Channel> {
        StatsServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }
}
