//! The gRPC services: each call is handed to the switch on a thread that may block.

mod attachments;

use std::sync::Arc;

use proto::v1;
use proto::v1::network_service_server::NetworkService;
use proto::v1::node_service_server::NodeService;
use proto::v1::port_service_server::PortService;
use proto::v1::stats_service_server::StatsService;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::switch::Switch;

type Reply<T> = Result<Response<T>, Status>;

/// All services on one switch.
#[derive(Clone, Debug)]
pub struct Services(Arc<Switch>);

impl Services {
    /// Services of this switch.
    #[must_use]
    pub fn new(switch: Arc<Switch>) -> Self {
        Self(switch)
    }

    async fn call<T, F>(&self, work: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&Switch) -> Result<T, Error> + Send + 'static,
    {
        let switch = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&switch)).await {
            Ok(result) => Ok(Response::new(result?)),
            Err(e) if e.is_panic() => {
                tracing::error!("a request made the control plane panic: {e}");
                Err(Status::internal("podswitchd failed at this request; see its log"))
            }
            Err(_) => Err(Error::Stopping.into()),
        }
    }
}

#[tonic::async_trait]
impl NetworkService for Services {
    async fn add(&self, request: Request<v1::NetworkAddRequest>) -> Reply<v1::Network> {
        let request = request.into_inner();
        self.call(|switch| switch.add_network(request.spec)).await
    }

    async fn set(&self, request: Request<v1::NetworkSetRequest>) -> Reply<v1::Network> {
        let request = request.into_inner();
        self.call(|switch| switch.set_network(request)).await
    }

    async fn delete(&self, request: Request<v1::NetworkDeleteRequest>) -> Reply<v1::NetworkDeleteResponse> {
        let request = request.into_inner();
        self.call(move |switch| {
            switch.delete_network(&request.name)?;
            Ok(v1::NetworkDeleteResponse {})
        })
        .await
    }

    async fn list(&self, _: Request<v1::NetworkListRequest>) -> Reply<v1::NetworkListResponse> {
        self.call(|switch| Ok(v1::NetworkListResponse { networks: switch.networks() })).await
    }

    async fn get(&self, request: Request<v1::NetworkGetRequest>) -> Reply<v1::Network> {
        let request = request.into_inner();
        self.call(move |switch| switch.network(&request.name)).await
    }
}

#[tonic::async_trait]
impl PortService for Services {
    async fn add(&self, request: Request<v1::PortAddRequest>) -> Reply<v1::Port> {
        let request = request.into_inner();
        self.call(|switch| switch.add_port(request.spec)).await
    }

    async fn set(&self, request: Request<v1::PortSetRequest>) -> Reply<v1::Port> {
        let request = request.into_inner();
        self.call(move |switch| switch.set_port(&request)).await
    }

    async fn delete(&self, request: Request<v1::PortDeleteRequest>) -> Reply<v1::PortDeleteResponse> {
        let request = request.into_inner();
        self.call(move |switch| {
            switch.delete_port(&request.name)?;
            Ok(v1::PortDeleteResponse {})
        })
        .await
    }

    async fn list(&self, request: Request<v1::PortListRequest>) -> Reply<v1::PortListResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(v1::PortListResponse { ports: switch.ports(&request.network)? })).await
    }

    async fn get(&self, request: Request<v1::PortGetRequest>) -> Reply<v1::Port> {
        let request = request.into_inner();
        self.call(move |switch| switch.port(&request.name)).await
    }
}

#[tonic::async_trait]
impl NodeService for Services {
    async fn status(&self, _: Request<v1::NodeStatusRequest>) -> Reply<v1::NodeStatus> {
        self.call(|switch| Ok(switch.status())).await
    }
}

#[tonic::async_trait]
impl StatsService for Services {
    async fn ports(&self, request: Request<v1::PortStatsRequest>) -> Reply<v1::PortStatsResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(v1::PortStatsResponse { ports: switch.port_stats(&request.port)? })).await
    }

    async fn workers(&self, _: Request<v1::WorkerStatsRequest>) -> Reply<v1::WorkerStatsResponse> {
        self.call(|switch| Ok(switch.worker_stats())).await
    }

    async fn drops(&self, request: Request<v1::DropsRequest>) -> Reply<v1::DropsResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(v1::DropsResponse { drops: switch.drops(&request.port)? })).await
    }

    async fn fdb(&self, request: Request<v1::FdbRequest>) -> Reply<v1::FdbResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(v1::FdbResponse { entries: switch.fdb(&request.network)? })).await
    }
}
