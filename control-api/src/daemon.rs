//! The life of `podswitchd`: check, lock, open, start, serve, stop.
//!
//! What can be refused is refused before anything is changed, each with one line. The calling thread is narrowed to
//! the CPUs that are not the workers' before any other thread exists, so that every thread of the control plane
//! inherits that; workers bind themselves.

mod listen;
mod lock;
mod serve;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::Dataplane;
use dataplane::StartError;
use dataplane::ids::CoreId;
use dataplane::spec::Config;
use proto::paths::TOMBSTONES;

use crate::address::{ApiAddress, MetricsAddress};
use crate::config::{ConfigError, Settings};
use crate::cpus::{self, ChoiceError, WorkerCpus};
use crate::store::Store;
use crate::switch::{self, AttachOptions, Datapath, Options, ReconcileOptions, Switch};

pub use listen::ListenError;
pub use lock::LockError;

/// Requests that are worked on at once: as many attachments can become one commit.
const MOST_BLOCKING: usize = 64;
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(3);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The workers' CPUs.
    #[error("--workers: {0}")]
    Cpus(#[from] ChoiceError),
    /// The kernel does not tell or set our CPUs.
    #[error("--workers: the CPUs of this process: {0}")]
    Affinity(io::Error),
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The state directory or API socket is another daemon's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The dataplane.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The control plane's own threads.
    #[error("the control plane could not start: {0}")]
    Runtime(io::Error),
}

/// Runs until SIGTERM or SIGINT. `started` is when the process began.
///
/// # Errors
/// See [`Error`]; nothing keeps running then.
pub fn run(settings: &Settings, started: Instant) -> Result<(), Error> {
    let allowed = cpus::allowed().map_err(Error::Affinity)?;
    let workers = settings.workers.choose(&allowed, &cpus::present(&allowed))?;
    let api_lock = lock::socket(settings.api.path())?;
    let state_lock = lock::directory(&settings.state)?;
    let api = listen::unix("--api", settings.api.path())?;
    let metrics = listen::metrics(&settings.metrics)?;

    let (others, notes) = share_out(&settings.workers, &allowed, &workers);
    cpus::bind(&others).map_err(Error::Affinity)?;
    let store = Store::open(&settings.state);
    let datapath = Arc::new(Dataplane::start(dataplane_config(settings, &workers))?);
    let options = Options {
        port_memory: settings.port_memory,
        workers,
        own_sockets: own_sockets(&settings.api, &settings.metrics),
        hugepages: settings.hugepages,
        started,
        notes,
        attachments: AttachOptions {
            directory: settings.attachments.directory.clone(),
            socket_gid: settings.attachments.socket_gid,
            tombstones: settings.api.path().with_file_name(TOMBSTONES),
            boot_id: switch::boot_id(),
        },
        reconcile: ReconcileOptions {
            every: settings.attachments.reconcile,
            kubelet: settings.attachments.kubelet.clone(),
        },
    };
    // Before the API is served: what another boot left and what was deleted meanwhile is gone when the first asks.
    let switch = Arc::new(Switch::new(Arc::clone(&datapath) as Arc<dyn Datapath>, options, store));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(MOST_BLOCKING)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let served = runtime.block_on(serve::serve(Arc::clone(&switch), api, metrics));
    runtime.shutdown_timeout(serve::PATIENCE);
    switch.settle();
    drop(switch);
    match Arc::into_inner(datapath) {
        Some(datapath) => shut_down(datapath),
        // A request still runs on a thread that the runtime gave up on; the kernel takes back what it holds.
        None => tracing::warn!("a request did not end in time"),
    }
    listen::remove(settings.api.path());
    if let MetricsAddress::Unix(path) = &settings.metrics {
        listen::remove(path);
    }
    drop((state_lock, api_lock));
    tracing::info!("stopped");
    served.map_err(Error::Runtime)
}

/// Lets the dataplane end in order, but not for ever: a worker that hangs must not keep a restart waiting.
fn shut_down(datapath: Dataplane) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("shutdown".into()).spawn(move || {
        datapath.shutdown();
        let _ = done.send(());
    });
    if thread.is_err() || ended.recv_timeout(LONGEST_SHUTDOWN).is_err() {
        tracing::error!("the dataplane did not stop in {LONGEST_SHUTDOWN:?}: it is left to the kernel");
    }
}

fn own_sockets(api: &ApiAddress, metrics: &MetricsAddress) -> Vec<PathBuf> {
    let mut paths = vec![api.path().to_owned(), lock::path_of(api.path())];
    if let MetricsAddress::Unix(path) = metrics {
        paths.push(path.clone());
    }
    paths
}

/// The CPUs that are left to everything else, and what there is to say about the choice.
fn share_out(asked: &WorkerCpus, allowed: &[CoreId], workers: &[CoreId]) -> (Vec<CoreId>, Vec<String>) {
    let others: Vec<_> = allowed.iter().copied().filter(|cpu| !workers.contains(cpu)).collect();
    let (workers, all) = (cpus::list(workers), cpus::list(allowed));
    if others.is_empty() {
        let note =
            format!("workers have every CPU that this process may use ({all}): control threads share them");
        tracing::warn!(workers, %asked, "{note}");
        return (allowed.to_vec(), vec![note]);
    }
    tracing::info!(workers, %asked, allowed = all, others = cpus::list(&others), "CPUs");
    (others, Vec::new())
}

fn dataplane_config(settings: &Settings, workers: &[CoreId]) -> Config {
    Config {
        workers: workers.to_vec(),
        idle: settings.idle,
        two_copies: settings.two_copies,
        hugepages: settings.hugepages,
        dpdk_memory: settings.dpdk_memory,
        mac_ageing: settings.mac_ageing,
        mac_table_size: settings.mac_table_size,
        mac_quota: settings.mac_quota,
    }
}
