//! The kubelet as a device plugin sees it: it takes registrations, and then calls the plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use hyper_util::rt::TokioIo;
use proto::kubelet::device_plugin::device_plugin_client::DevicePluginClient;
use proto::kubelet::device_plugin::registration_server::{Registration, RegistrationServer};
use proto::kubelet::device_plugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse, Empty, ListAndWatchResponse,
    PreStartContainerRequest, RegisterRequest,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::node::{DEADLINE, Node};

/// Serves on a thread and a runtime of its own: dropped, every connection is gone at once, as with a process.
pub(crate) struct Background {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn serve(path: &Path, router: tonic::transport::server::Router) -> Self {
        let _ = std::fs::remove_file(path);
        let (end, ended) = oneshot::channel::<()>();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
                tokio::select! {
                    served = router.serve_with_incoming(incoming) => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A registration, and how many directories of devices were there when it came.
pub(crate) struct Registered {
    pub(crate) request: RegisterRequest,
    pub(crate) directories: usize,
}

struct Registrations {
    to: mpsc::UnboundedSender<Registered>,
    devices: PathBuf,
}

#[tonic::async_trait]
impl Registration for Registrations {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let directories = std::fs::read_dir(&self.devices).map_or(0, Iterator::count);
        let _ = self.to.send(Registered { request: request.into_inner(), directories });
        Ok(Response::new(Empty {}))
    }
}

pub(crate) struct Kubelet {
    directory: PathBuf,
    registrations: mpsc::UnboundedReceiver<Registered>,
    _server: Background,
}

impl Kubelet {
    pub(crate) fn start(node: &Node) -> Self {
        let directory = node.path("kubelet");
        let (to, registrations) = mpsc::unbounded_channel();
        let service = RegistrationServer::new(Registrations { to, devices: node.seen("run/devices") });
        let server =
            Background::serve(&directory.join("kubelet.sock"), Server::builder().add_service(service));
        Self { directory, registrations, _server: server }
    }

    /// As at a real kubelet's start: every socket of a plugin goes.
    pub(crate) fn restart(self, node: &Node) -> Self {
        drop(self);
        for entry in std::fs::read_dir(node.path("kubelet")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        Self::start(node)
    }

    /// The next registration.
    pub(crate) async fn registered(&mut self) -> Registered {
        let next = tokio::time::timeout(DEADLINE, self.registrations.recv());
        next.await.expect("no plugin registers").unwrap()
    }

    /// No registration has come that was not taken.
    pub(crate) fn has_no_more(&mut self) -> bool {
        self.registrations.try_recv().is_err()
    }

    /// Calls the plugin that has registered.
    pub(crate) async fn call(&self, registered: &Registered) -> Caller {
        let socket = self.directory.join(&registered.request.endpoint);
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The kubelet's authority.
        let endpoint = Endpoint::from_static("http://localhost");
        Caller(DevicePluginClient::new(endpoint.connect_with_connector(connector).await.unwrap()))
    }

    /// Takes a registration, calls, and gives the first list of devices.
    pub(crate) async fn meets(&mut self) -> (Caller, List) {
        let registered = self.registered().await;
        let mut caller = self.call(&registered).await;
        let list = caller.list().await;
        (caller, list)
    }
}

/// The kubelet's side of a plugin's connection.
pub(crate) struct Caller(pub(crate) DevicePluginClient<Channel>);

impl Caller {
    pub(crate) async fn list(&mut self) -> List {
        let stream = self.0.list_and_watch(Empty {}).await.unwrap().into_inner();
        let mut list = List { stream, now: BTreeMap::new() };
        list.changed().await;
        list
    }

    pub(crate) async fn allocate(&mut self, ids: &[&str]) -> Result<ContainerAllocateResponse, Status> {
        let container = ContainerAllocateRequest { devices_ids: owned(ids) };
        let answer = self.0.allocate(AllocateRequest { container_requests: vec![container] }).await?;
        let mut containers = answer.into_inner().container_responses;
        assert_eq!(containers.len(), 1);
        Ok(containers.remove(0))
    }

    pub(crate) async fn pre_start(&mut self, ids: &[&str]) -> Result<(), Status> {
        self.0.pre_start_container(PreStartContainerRequest { devices_ids: owned(ids) }).await.map(|_| ())
    }
}

pub(crate) fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

/// What a plugin tells of its devices.
pub(crate) struct List {
    stream: Streaming<ListAndWatchResponse>,
    /// Health and NUMA node by id, as last told.
    pub(crate) now: BTreeMap<String, (String, i64)>,
}

impl List {
    /// Waits for the next list.
    pub(crate) async fn changed(&mut self) {
        let next = tokio::time::timeout(DEADLINE, self.stream.message()).await.expect("no list comes");
        let devices = next.unwrap().expect("the stream has ended").devices;
        self.now = devices.into_iter().map(|d| (d.id, (d.health, d.topology.unwrap().nodes[0].id))).collect();
    }

    /// Waits until exactly these are of this health.
    pub(crate) async fn becomes(&mut self, health: &str, ids: &[&str]) {
        while self.of(health) != ids {
            self.changed().await;
        }
    }

    /// Whether nothing came since the last list.
    pub(crate) async fn is_unchanged(&mut self) -> bool {
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, self.stream.message()).await.is_err()
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.now.keys().map(String::as_str).collect()
    }

    /// Ids of this health.
    pub(crate) fn of(&self, health: &str) -> Vec<&str> {
        self.now.iter().filter(|(_, (h, _))| h == health).map(|(id, _)| id.as_str()).collect()
    }
}
