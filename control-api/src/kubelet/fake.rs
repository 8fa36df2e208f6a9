//! A kubelet with a real socket, for tests.

use std::path::Path;
use std::sync::{Arc, Mutex};

use proto::kubelet::pod_resources::pod_resources_lister_server::{
    PodResourcesLister, PodResourcesListerServer,
};
use proto::kubelet::pod_resources::{
    ContainerDevices, ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// One pod with these devices of our resource, beside devices of others.
    Devices(Vec<String>),
    Error,
    Nothing,
}

#[derive(Clone, Debug)]
struct Lister(Arc<Mutex<Says>>);

/// Serves until it is dropped; its socket file stays then, as that of a kubelet that died does.
#[derive(Debug)]
pub(crate) struct Kubelet {
    says: Arc<Mutex<Says>>,
    _runtime: Runtime,
}

impl Kubelet {
    pub(crate) fn start(socket: &Path, says: Says) -> Self {
        let says = Arc::new(Mutex::new(says));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(socket);
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        let service = PodResourcesListerServer::new(Lister(Arc::clone(&says)));
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { says, _runtime: runtime }
    }

    pub(crate) fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let says = self.0.lock().unwrap().clone();
        let ids = match says {
            Says::Devices(ids) => ids,
            Says::Error => return Err(Status::unavailable("the device manager\nis not ready")),
            Says::Nothing => std::future::pending().await,
        };
        let devices = |resource: &str, ids: Vec<String>| ContainerDevices {
            resource_name: resource.into(),
            device_ids: ids,
        };
        let container = |devices| ContainerResources { name: "c".into(), devices };
        let pod =
            |name: &str, containers| PodResources { name: name.into(), namespace: "ns".into(), containers };
        let others = devices("nvidia.com/gpu", vec!["GPU-8a4f/0".into(), "0000:03:00.0".into()]);
        let ours = devices(proto::paths::RESOURCE, ids);
        let pods =
            vec![pod("none", vec![]), pod("app", vec![container(vec![]), container(vec![others, ours])])];
        Ok(Response::new(ListPodResourcesResponse { pod_resources: pods }))
    }
}
