//! The desired state, and the making of the dataplane match it.
//!
//! One change at a time: the lock of changes is held from the check to the answer, and it owns the store. The lock
//! of the state is held only to look or to write down, never while the disk or the dataplane is waited for, so that
//! lists, statistics and metrics answer while a slow disk holds up a change. Order: changes before state.
//! All methods may block and are called by the gRPC services through `spawn_blocking`, and by the daemon's
//! own threads.

mod arguments;
mod attach;
mod change;
mod datapath;
mod difference;
mod hint;
mod maintain;
mod network;
mod node;
mod reconcile;
mod stats;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use dataplane::ids::{CoreId, NetworkId, PortId};
use dataplane::spec::PortSpec;
use proto::v1;

use crate::store::Store;
use crate::validate;

pub use attach::{AttachOptions, FEATURES, Refusal, Thing, boot_id};
pub use datapath::Datapath;
use network::NetworkEntry;
pub use reconcile::ReconcileOptions;

/// What the switch must know of the daemon's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes a guest may share where its port names no limit.
    pub port_memory: u64,
    /// CPUs of the workers.
    pub workers: Vec<CoreId>,
    /// Sockets of the daemon itself, which no port may have.
    pub own_sockets: Vec<PathBuf>,
    /// Whether hugepages were wanted.
    pub hugepages: bool,
    /// Start of the process.
    pub started: Instant,
    /// What was odd at start, for the node's status.
    pub notes: Vec<String>,
    /// Where and under which kernel a container runtime's ports are attached.
    pub attachments: AttachOptions,
    /// How those are found whose pods are gone without a word.
    pub reconcile: ReconcileOptions,
}

/// The switch as its operators see it.
#[derive(Debug)]
pub struct Switch {
    datapath: Arc<dyn Datapath>,
    options: Options,
    changes: Mutex<Store>,
    state: RwLock<State>,
    /// The store's status after the last change, readable while a change waits for the disk.
    store_view: Mutex<StoreView>,
    samples: Mutex<node::Samples>,
    /// Which attachments have no namespace any more.
    looks: Mutex<reconcile::Looks>,
    /// Attachments and deletions that wait for whoever leads.
    queue: attach::Queue,
    /// Held while deletions from when the daemon was down are made.
    replaying: Mutex<()>,
    /// Seconds from start until the API answered.
    start_seconds: OnceLock<f64>,
}

#[derive(Debug, Default)]
struct StoreView {
    status: v1::StoreStatus,
    warnings: Vec<String>,
    /// Why changes are refused, if they are.
    refuses: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    networks: BTreeMap<String, NetworkEntry>,
    ports: BTreeMap<String, Entry>,
    /// Whose ports are a container runtime's; each has its port.
    attachments: BTreeMap<attach::Key, v1::Attachment>,
    /// Deleted ports that a worker has not let go of yet: their removal is tried again.
    lingering: Vec<(String, PortId)>,
}

/// A port that is wanted, and what became of it.
#[derive(Clone, Debug)]
struct Entry {
    port: validate::Port,
    applied: Applied,
}

#[derive(Clone, Debug, PartialEq)]
enum Applied {
    /// The dataplane has it.
    As(PortId),
    /// The dataplane could not take it, for this reason; it is tried again.
    Waiting(String),
}

impl Entry {
    fn id(&self) -> Option<PortId> {
        match self.applied {
            Applied::As(id) => Some(id),
            Applied::Waiting(_) => None,
        }
    }

    fn name(&self) -> &str {
        &self.port.spec.name
    }

    fn network(&self) -> &str {
        &self.port.spec.network
    }
}

impl State {
    fn port_name(&self, id: PortId) -> Option<&str> {
        self.ports.values().find(|entry| entry.id() == Some(id)).map(Entry::name)
    }
}

impl Switch {
    /// Takes over a store and applies what is in it. What cannot be applied waits, with its reason.
    #[must_use]
    pub fn new(datapath: Arc<dyn Datapath>, options: Options, mut store: Store) -> Self {
        attach::drop_other_boots(&mut store, &options.attachments.boot_id);
        let objects = store.contents().objects().expect("checked when it was read");
        let mut state = State::default();
        for network in objects.networks {
            let id = datapath.add_network(&network.name);
            state.networks.insert(network.name.clone(), NetworkEntry { id, spec: network });
        }
        for spec in objects.ports {
            let port = validate::port(Some(spec), options.port_memory).expect("checked when it was read");
            let network = state.networks[&port.spec.network].id;
            let applied = match datapath.add_port(asked(&port, network)) {
                Ok(id) => Applied::As(id),
                Err(e) => {
                    tracing::warn!(port = port.spec.name, "cannot be applied now, it is tried again: {e}");
                    Applied::Waiting(e.to_string())
                }
            };
            state.ports.insert(port.spec.name.clone(), Entry { port, applied });
        }
        let keyed =
            objects.attachments.into_iter().map(|attachment| (attach::Key::of(&attachment), attachment));
        state.attachments = keyed.collect();
        let recovered = store.status().recovered;
        let switch = Self {
            datapath,
            options,
            state: RwLock::new(state),
            store_view: Mutex::default(),
            samples: Mutex::default(),
            looks: Mutex::default(),
            queue: attach::Queue::default(),
            replaying: Mutex::default(),
            start_seconds: OnceLock::new(),
            changes: Mutex::new(store),
        };
        switch.show_store(&lock(&switch.changes));
        switch.prepare_attachments(recovered);
        switch
    }

    /// Notes that the API answers now.
    pub fn serving(&self) {
        let _ = self.start_seconds.set(self.options.started.elapsed().as_secs_f64());
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_store(&self, store: &Store) {
        *lock(&self.store_view) =
            StoreView { status: store.status(), warnings: store.warnings(), refuses: store.refuses() };
    }
}

/// A panic elsewhere must not take the control plane down with it: what the locks guard is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port in the dataplane's words.
fn asked(port: &validate::Port, network: NetworkId) -> PortSpec {
    PortSpec {
        name: port.spec.name.clone(),
        network,
        device: port.device.clone(),
        queues: port.queues,
        settings: port.settings.clone(),
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
