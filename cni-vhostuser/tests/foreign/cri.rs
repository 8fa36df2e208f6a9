//! A client of the Kubernetes container runtime interface, as little of it as the tests ask for: what a kubelet says to
//! containerd. Messages of runtime.v1 (k8s.io/cri-api), with the fields that are used.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Linux {
    #[prost(string, tag = "1")]
    pub(super) cgroup_parent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Config {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(super) hostname: String,
    #[prost(message, optional, tag = "8")]
    pub(super) linux: Option<Linux>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<Config>,
}

/// The id of a sandbox: of every request and answer the first field.
#[derive(Clone, PartialEq, prost::Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<NetworkStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
}

/// A connection to a runtime.
pub(super) struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    /// To the runtime that listens there; connects with the first call.
    #[must_use]
    pub(super) fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = socket.to_path_buf();
        let connect = move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        };
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from_static("http://containerd").connect_with_connector_lazy(tower::service_fn(connect))
        };
        Self { runtime, channel }
    }

    /// Runs a pod's sandbox; its id.
    pub(super) fn run(&self, config: Config) -> Result<String, Status> {
        self.call::<_, Id>("RunPodSandbox", RunRequest { config: Some(config) }).map(|answer| answer.id)
    }

    /// Stops it: its network goes.
    pub(super) fn stop(&self, id: &str) -> Result<(), Status> {
        self.call::<_, Empty>("StopPodSandbox", Id { id: id.into() }).map(drop)
    }

    /// Removes a stopped one.
    pub(super) fn remove(&self, id: &str) -> Result<(), Status> {
        self.call::<_, Empty>("RemovePodSandbox", Id { id: id.into() }).map(drop)
    }

    /// The address that the runtime knows the pod by.
    pub(super) fn address(&self, id: &str) -> Result<String, Status> {
        let answer: StatusResponse = self.call("PodSandboxStatus", Id { id: id.into() })?;
        Ok(answer.status.unwrap_or_default().network.unwrap_or_default().ip)
    }

    fn call<Q, A>(&self, name: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{name}");
        let path = PathAndQuery::try_from(path).unwrap();
        self.runtime.block_on(async {
            let mut client = Grpc::new(self.channel.clone());
            client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
            let answer = client.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?;
            Ok(answer.into_inner())
        })
    }
}
