//! A gRPC client of the daemon's API, for what the command line does not do and for what must be quick.

use std::future::Future;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use proto::v1::port_service_client::PortServiceClient;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};

/// A connection, with the runtime that it lives on.
#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    channel: Channel,
}

impl Rpc {
    /// Connects to the API socket.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path: PathBuf = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://podswitch");
        let channel = runtime.block_on(endpoint.connect_with_connector(connector)).unwrap();
        Self { runtime, channel }
    }

    /// Waits for an answer.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    #[must_use]
    pub fn ports(&self) -> PortServiceClient<Channel> {
        PortServiceClient::new(self.channel())
    }
}
