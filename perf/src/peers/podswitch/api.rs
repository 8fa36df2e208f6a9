//! A blocking client of podswitch's gRPC API.

use std::future::Future;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use proto::v1::network_service_client::NetworkServiceClient;
use proto::v1::node_service_client::NodeServiceClient;
use proto::v1::port_service_client::PortServiceClient;
use proto::v1::stats_service_client::StatsServiceClient;
use proto::v1::{
    DropsRequest, NetworkAddRequest, NetworkDeleteRequest, NetworkSpec, NodeStatus, NodeStatusRequest, Port,
    PortAddRequest, PortDeleteRequest, PortListRequest, PortSetRequest, PortSpec, SocketMode, VhostUser,
    WorkerStatsRequest, WorkerStatsResponse, port_spec::Device,
};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};

use super::super::{PeerError, PortPlan, StageWork};
use crate::pod::Mode;

/// A connection, with the runtime that it lives on. It may move to another thread; calls wait for their answer.
#[derive(Debug)]
pub struct PodswitchApi {
    runtime: Runtime,
    channel: Channel,
}

impl PodswitchApi {
    /// The name of a layout's network.
    #[must_use]
    pub fn network(number: usize) -> String {
        format!("n{number}")
    }

    /// Connects to the API's socket.
    ///
    /// # Errors
    /// [`PeerError::Api`] if nobody answers there.
    pub fn connect(socket: &Path) -> Result<Self, PeerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
        let path: PathBuf = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://podswitch");
        let channel = runtime.block_on(endpoint.connect_with_connector(connector)).map_err(text)?;
        Ok(Self { runtime, channel })
    }

    /// Adds a network.
    ///
    /// # Errors
    /// [`PeerError::Api`], as all of these.
    pub fn add_network(&self, name: &str) -> Result<(), PeerError> {
        let spec = Some(NetworkSpec { name: name.into(), ..Default::default() });
        self.call(self.networks().add(NetworkAddRequest { spec })).map(drop)
    }

    /// Adds a network that every pod may join, without a device.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn add_open_network(&self, name: &str) -> Result<(), PeerError> {
        let namespaces = vec!["*".to_owned()];
        let spec = NetworkSpec { name: name.into(), namespaces, without_device: true, ..Default::default() };
        self.call(self.networks().add(NetworkAddRequest { spec: Some(spec) })).map(drop)
    }

    /// Deletes a network.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn delete_network(&self, name: &str) -> Result<(), PeerError> {
        self.call(self.networks().delete(NetworkDeleteRequest { name: name.into() })).map(drop)
    }

    /// Adds a port of a layout.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn add_port(&self, name: &str, plan: &PortPlan) -> Result<(), PeerError> {
        let mode = match plan.mode {
            Mode::Server => SocketMode::Server,
            Mode::Client => SocketMode::Client,
        };
        let device = Device::VhostUser(VhostUser {
            path: plan.socket.display().to_string(),
            mode: mode as i32,
            ..VhostUser::default()
        });
        let spec = PortSpec {
            name: name.into(),
            network: Self::network(plan.network),
            device: Some(device),
            mac: plan.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            trusted: plan.trusted,
            ..PortSpec::default()
        };
        self.add(spec)
    }

    /// Adds any port.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn add(&self, spec: PortSpec) -> Result<(), PeerError> {
        self.call(self.ports().add(PortAddRequest { spec: Some(spec) })).map(drop)
    }

    /// Changes a port in place.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn set_port(&self, request: PortSetRequest) -> Result<(), PeerError> {
        self.call(self.ports().set(request)).map(drop)
    }

    /// Deletes a port.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn delete_port(&self, name: &str) -> Result<(), PeerError> {
        self.call(self.ports().delete(PortDeleteRequest { name: name.into() })).map(drop)
    }

    /// Every port as it is.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn list_ports(&self) -> Result<Vec<Port>, PeerError> {
        Ok(self.call(self.ports().list(PortListRequest::default()))?.ports)
    }

    /// How many ports have every ring running.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn running_ports(&self) -> Result<usize, PeerError> {
        let runs = |port: &Port| {
            port.status.as_ref().is_some_and(|status| {
                !status.queues.is_empty() && status.queues.iter().all(|q| q.rx_running && q.tx_running)
            })
        };
        Ok(self.list_ports()?.iter().filter(|port| runs(port)).count())
    }

    /// Every drop so far, as (port, reason, frames).
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn drops(&self) -> Result<Vec<(String, String, u64)>, PeerError> {
        let mut client = StatsServiceClient::new(self.channel.clone());
        let drops = self.call(client.drops(DropsRequest::default()))?.drops;
        Ok(drops.into_iter().map(|drop| (drop.port, drop.reason, drop.frames)).collect())
    }

    /// The switch as a whole.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn status(&self) -> Result<NodeStatus, PeerError> {
        let mut client = NodeServiceClient::new(self.channel.clone());
        self.call(client.status(NodeStatusRequest {}))
    }

    /// What workers counted.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn workers(&self) -> Result<WorkerStatsResponse, PeerError> {
        let mut client = StatsServiceClient::new(self.channel.clone());
        self.call(client.workers(WorkerStatsRequest {}))
    }

    /// Cycles by stage, summed over the workers.
    ///
    /// # Errors
    /// [`PeerError::Api`].
    pub fn stages(&self) -> Result<Vec<StageWork>, PeerError> {
        let mut sums: Vec<StageWork> = Vec::new();
        for stage in self.workers()?.workers.into_iter().flat_map(|worker| worker.stages) {
            match sums.iter_mut().find(|sum| sum.name == stage.name) {
                Some(sum) => {
                    sum.cycles += stage.cycles;
                    sum.frames += stage.frames;
                }
                None => sums.push(StageWork { name: stage.name, cycles: stage.cycles, frames: stage.frames }),
            }
        }
        Ok(sums)
    }

    fn ports(&self) -> PortServiceClient<Channel> {
        PortServiceClient::new(self.channel.clone())
    }

    fn networks(&self) -> NetworkServiceClient<Channel> {
        NetworkServiceClient::new(self.channel.clone())
    }

    fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, PeerError> {
        self.runtime
            .block_on(call)
            .map(tonic::Response::into_inner)
            .map_err(|status| PeerError::Api(status.message().into()))
    }
}

fn text(error: impl std::error::Error) -> PeerError {
    // The causes say more than the outermost sentence ("transport error").
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    PeerError::Api(words)
}
