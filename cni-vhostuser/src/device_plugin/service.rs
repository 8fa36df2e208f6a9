//! What the kubelet asks of a pool: the devices, what a container gets with one, and a last look before it starts.
//!
//! Called on the plugin's one thread; all that touches files goes to the host's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::kubelet::device_plugin::device_plugin_server::DevicePlugin;
use proto::kubelet::device_plugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, ContainerPreferredAllocationResponse,
    DevicePluginOptions, Empty, ListAndWatchResponse, Mount, PreStartContainerRequest,
    PreStartContainerResponse, PreferredAllocationRequest, PreferredAllocationResponse,
};
use proto::paths::{self, DeviceDirectories};
use proto::port_file::PortFile;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::directories::DirectoryError;
use super::host::{Here, Host};
use super::options::Settings;
use super::pool::{self, Pool};
use super::stale::remove_stale;
use super::stock::Devices;
use crate::cni::device_info;

/// The most of a port file that is read, in bytes.
const LONGEST_PORT_FILE: u64 = 1 << 20;

/// A pool's service.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) settings: Arc<Settings>,
    /// Index of the pool in the settings.
    pub(super) pool: usize,
    pub(super) host: Host,
    pub(super) devices: watch::Receiver<Devices>,
}

/// A [`Plugin`] behind one socket, until that socket is given up.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) plugin: Plugin,
    /// Becomes true, or vanishes, when streams are to end.
    pub(super) ended: watch::Receiver<bool>,
}

/// What [`pool::preferred`] and registration promise.
pub(super) const OPTIONS: DevicePluginOptions =
    DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };

impl Plugin {
    fn pool(&self) -> &Pool {
        &self.settings.pools[self.pool]
    }

    /// Checks that all are devices of this pool.
    fn check(&self, ids: &[String]) -> Result<(), Status> {
        let devices = self.devices.borrow();
        match ids.iter().find(|id| !devices.iter().any(|device| device.id == **id)) {
            None => Ok(()),
            Some(id) => {
                let id: String = id.chars().take(64).collect();
                let resource = self.pool().resource();
                Err(Status::invalid_argument(format!("\"{id}\" is no device of {resource}")))
            }
        }
    }

    /// What a container gets with these devices.
    fn container(&self, ids: &[String], programs: bool) -> ContainerAllocateResponse {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut mounts = Vec::new();
        for id in ids {
            let directories = DeviceDirectories::new(&self.settings.layout.root, id);
            mounts.push(Mount {
                container_path: format!("{}/{id}", paths::POD_PORTS),
                host_path: text(directories.port),
                read_only: true,
            });
            mounts.push(Mount {
                container_path: format!("{}/{id}", paths::POD_SOCKETS),
                host_path: text(directories.socket),
                read_only: false,
            });
        }
        if programs {
            mounts.push(Mount {
                container_path: paths::POD_PROGRAMS.into(),
                host_path: text(self.settings.programs.clone()),
                read_only: true,
            });
        }
        let envs = BTreeMap::from([(self.pool().variable(), ids.join(","))]);
        ContainerAllocateResponse { envs, mounts, ..ContainerAllocateResponse::default() }
    }
}

#[tonic::async_trait]
impl DevicePlugin for Served {
    type ListAndWatchStream = ReceiverStream<Result<ListAndWatchResponse, Status>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(OPTIONS))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let (to, stream) = mpsc::channel(1);
        let (mut devices, mut ended) = (self.plugin.devices.clone(), self.ended.clone());
        tokio::spawn(async move {
            loop {
                let list = devices.borrow_and_update().as_ref().clone();
                if to.send(Ok(ListAndWatchResponse { devices: list })).await.is_err() {
                    break;
                }
                tokio::select! {
                    changed = devices.changed() => if changed.is_err() { break },
                    _ = ended.wait_for(|&ended| ended) => break,
                    () = to.closed() => break,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let answer = |request| ContainerPreferredAllocationResponse { device_i_ds: pool::preferred(request) };
        let container_responses = requests.iter().map(answer).collect();
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let mut containers: Vec<Vec<String>> =
            request.into_inner().container_requests.into_iter().map(|c| c.devices_ids).collect();
        for ids in &mut containers {
            self.plugin.check(ids)?;
            ids.sort_unstable();
            ids.dedup();
        }
        let (settings, index, ids) =
            (Arc::clone(&self.plugin.settings), self.plugin.pool, containers.concat());
        let programs = self.plugin.host.run(move |_| {
            write_device_info(&settings, &settings.pools[index], &ids);
            settings.programs.is_dir()
        });
        let programs = programs.await.map_err(|e| Status::internal(e.to_string()))?;
        if !programs {
            warn!("{} is not there: pods get no podswitch-port", self.plugin.settings.programs.display());
        }
        let answer = |ids: &Vec<String>| self.plugin.container(ids, programs);
        Ok(Response::new(AllocateResponse { container_responses: containers.iter().map(answer).collect() }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        let ids = request.into_inner().devices_ids;
        self.plugin.check(&ids)?;
        let settings = Arc::clone(&self.plugin.settings);
        let prepared =
            self.plugin.host.run(move |here| ids.iter().try_for_each(|id| prepare(here, &settings, id)));
        match prepared.await.map_err(|e| Status::internal(e.to_string()))? {
            Ok(()) => Ok(Response::new(PreStartContainerResponse {})),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

/// On the host's thread, before a container starts: repairs the directories, and clears away what the last one left.
fn prepare(here: &Here, settings: &Settings, id: &str) -> Result<(), DirectoryError> {
    let socket = settings.layout.ensure(id)?;
    let port_file = DeviceDirectories::new(&settings.layout.root, id).port_file();
    if switch_listens(&port_file) {
        return Ok(());
    }
    match remove_stale(here, socket.as_fd()) {
        Ok(0) => {}
        Ok(sockets) => info!(id, sockets, "removed sockets that nobody has"),
        // The application may do without: it says itself if it cannot.
        Err(error) => warn!(id, "sockets that nobody has may be left: {error}"),
    }
    Ok(())
}

/// Whether the switch, not the application, creates the socket: then a dead one is the switch's to replace.
fn switch_listens(port_file: &Path) -> bool {
    let read = |file: fs::File| {
        let mut text = Vec::new();
        file.take(LONGEST_PORT_FILE).read_to_end(&mut text)?;
        Ok(serde_json::from_slice::<PortFile>(&text)?)
    };
    match fs::File::open(port_file).and_then(read) {
        Ok(port) => port.mode == "client",
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            warn!("{} is not usable: {error}", port_file.display());
            false
        }
    }
}

/// On the host's thread: says for Multus and applications what a device is. Best effort, because the CNI plugin writes
/// what holds in the end.
fn write_device_info(settings: &Settings, pool: &Pool, ids: &[String]) {
    for id in ids {
        let path = device_info_file(settings, pool, id);
        if let Err(error) = device_info::write(&path, "server", &paths::pod_socket(id)) {
            warn!("{} cannot be written: {error}", path.display());
        }
    }
}

/// On the host's thread: removes the device-info files of these devices, of whichever pool.
///
/// # Errors
/// The first that stays.
pub(super) fn remove_device_info(settings: &Settings, ids: &[String]) -> io::Result<()> {
    for (pool, id) in settings.pools.iter().flat_map(|pool| ids.iter().map(move |id| (pool, id))) {
        device_info::remove(&device_info_file(settings, pool, id))?;
    }
    Ok(())
}

fn device_info_file(settings: &Settings, pool: &Pool, id: &str) -> PathBuf {
    settings.devinfo_dir.join(format!("{}-{id}-device.json", pool.resource().replace('/', "-")))
}
