//! The dataplane as the control plane sees it.
//!
//! One lock orders all changes; workers never take it. A change builds a new snapshot, publishes it, and returns
//! when every worker has passed a quiet point, so that what a caller was told is what workers do.

mod error;
mod housekeeping;
mod ports;
mod reports;
mod state;

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use vhost::control::{Control, ControlConfig};
use vhost::guest::CopyLevel;

pub use error::{NetworkError, PortError, StartError};

use crate::clock;
use crate::counters::WorkerTally;
use crate::eal::{Eal, EalConfig, HugePages, MemoryKind};
use crate::ids::{NetworkId, PortId};
use crate::quiesce::Quiescence;
use crate::report::{FdbEntry, MemoryReport, PortCounters, PortReport, WorkerReport};
use crate::snapshot::Published;
use crate::spec::{Config, PortSettings, PortSpec};
use crate::worker::{Ground, Mailbox, Worker};
use state::State;

/// How long a change waits for workers before it says which one is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running dataplane. All methods may be called from any thread that may block; none is for workers.
pub struct Dataplane {
    inner: Arc<Inner>,
    housekeeper: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataplane").field("workers", &self.inner.workers).finish_non_exhaustive()
    }
}

struct Inner {
    config: Config,
    ground: Arc<Ground>,
    workers: Vec<Worker>,
    mailboxes: Arc<[Mailbox]>,
    control: Control,
    eal: Eal,
    state: Mutex<State>,
    stop: AtomicBool,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was locked has left it as it was: changes are made on it last.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every worker has passed a quiet point.
    fn settle(&self) -> Result<(), PortError> {
        let grace = self.ground.quiescence.begin();
        let start = Instant::now();
        while let Some(laggard) = self.ground.quiescence.laggard(grace) {
            if start.elapsed() > PATIENCE {
                return Err(PortError::WorkerStuck(self.workers[laggard].core));
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    }

    /// Puts what `state` says in force, and frees what was in force before when no worker looks at it any more.
    fn publish(&self, state: &State) -> Result<(), PortError> {
        let retired = self.ground.published.publish(state.snapshot());
        let outcome = self.settle();
        if outcome.is_err() {
            // A worker may look at it for ever: better a leak than a dangling reference.
            std::mem::forget(retired);
        }
        outcome
    }
}

impl Dataplane {
    /// Starts DPDK, the workers, the control thread and the notifier.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        if config.workers.is_empty() {
            return Err(StartError::NoWorkers);
        }
        let eal = Eal::start(&EalConfig {
            hugepages: if config.hugepages { HugePages::Auto } else { HugePages::No },
            memory_mb: config.dpdk_memory,
            ..EalConfig::default()
        })
        .map_err(|e| StartError::Dpdk(e.to_string()))?;
        let count = config.workers.len();
        let ground = Arc::new(Ground {
            published: Published::new(),
            quiescence: Quiescence::new(count),
            tallies: (0..count).map(|_| CachePadded::new(WorkerTally::default())).collect(),
            now: CachePadded::new(AtomicU32::new(1)),
            level: CopyLevel::detect(),
            idle: config.idle,
            two_copies: config.two_copies,
            tsc_hz: clock::measure_hz(),
        });
        let mut workers = Vec::with_capacity(count);
        for (number, &core) in config.workers.iter().enumerate() {
            workers.push(
                Worker::start(number, core, &ground, &eal)
                    .map_err(|source| StartError::Worker { core, source })?,
            );
        }
        // After EAL: the guard for guest memory chains to EAL's own handler.
        let control = Control::spawn(ControlConfig::default()).map_err(StartError::Control)?;
        let mailboxes = workers.iter().map(|w| w.mailbox.clone()).collect();
        let inner = Arc::new(Inner {
            config,
            ground,
            workers,
            mailboxes,
            control,
            eal,
            state: Mutex::new(State::default()),
            stop: AtomicBool::new(false),
        });
        let housekeeper = housekeeping::start(&inner).map_err(StartError::Control)?;
        Ok(Self { inner, housekeeper: Some(housekeeper) })
    }

    /// Adds an empty network.
    pub fn add_network(&self, name: &str) -> NetworkId {
        let inner = &self.inner;
        let mut state = inner.state();
        let id = state.add_network(name, &inner.config);
        if let Err(error) = inner.publish(&state) {
            tracing::error!(network = name, %error, "a network was added while a worker does not respond");
        }
        id
    }

    /// Removes a network that has no ports.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub fn remove_network(&self, id: NetworkId) -> Result<(), NetworkError> {
        let mut state = self.inner.state();
        let network = state.remove_network(id)?;
        if let Err(error) = self.inner.publish(&state) {
            tracing::error!(%error, "a network was removed while a worker does not respond");
        }
        state.free_network_index(&network);
        Ok(())
    }

    /// Adds a port. A vhost-user port whose peer is not there yet is added and waits.
    ///
    /// # Errors
    /// See [`PortError`]; nothing has changed then.
    #[expect(clippy::needless_pass_by_value, reason = "a specification is handed over for good")]
    pub fn add_port(&self, spec: PortSpec) -> Result<PortId, PortError> {
        ports::add(&self.inner, &spec)
    }

    /// Changes a port in place.
    ///
    /// # Errors
    /// See [`PortError`]; nothing has changed then.
    #[expect(clippy::needless_pass_by_value, reason = "a specification is handed over for good")]
    pub fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), PortError> {
        ports::set(&self.inner, id, &settings)
    }

    /// Removes a port; returns when no worker can touch it any more.
    ///
    /// # Errors
    /// [`PortError::UnknownPort`], or [`PortError::WorkerStuck`].
    pub fn remove_port(&self, id: PortId) -> Result<(), PortError> {
        ports::remove(&self.inner, id)
    }

    /// The port as it is now; `None` if there is none.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<PortReport> {
        reports::port(&self.inner, id)
    }

    /// The port's counters; `None` if there is none.
    #[must_use]
    pub fn counters(&self, id: PortId) -> Option<PortCounters> {
        self.inner.state().port(id).map(|p| p.shared.tallies.sum())
    }

    /// Every worker.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerReport> {
        reports::workers(&self.inner)
    }

    /// Ticks of the time stamp counter a second, as measured at start.
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        self.inner.ground.tsc_hz
    }

    /// The MAC table of a network, sorted by address; `None` if there is no such network.
    #[must_use]
    pub fn fdb(&self, id: NetworkId) -> Option<Vec<FdbEntry>> {
        reports::fdb(&self.inner, id)
    }

    /// Memory held and mapped.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        reports::memory(&self.inner)
    }

    /// Name of the instruction set that copies use.
    #[must_use]
    pub fn copy_level(&self) -> &'static str {
        self.inner.ground.level.name()
    }

    /// Version of DPDK, and whether it runs on hugepages.
    #[must_use]
    pub fn dpdk(&self) -> (String, bool) {
        (Eal::version().to_string(), self.inner.eal.memory_kind() == MemoryKind::HugePages)
    }

    /// Stops everything: rings are handed back, sockets closed, devices stopped, workers joined.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.inner.stop.store(true, std::sync::atomic::Ordering::Release);
        if let Some(housekeeper) = self.housekeeper.take() {
            housekeeper.thread().unpark();
            let _ = housekeeper.join();
        }
        // The lock must not be held over the loop: removing takes it.
        let ids = self.inner.state().port_ids();
        for id in ids {
            if let Err(error) = ports::remove(&self.inner, id) {
                tracing::error!(%error, "a port could not be removed in order");
            }
        }
        for worker in &self.inner.workers {
            if !worker.stop(PATIENCE) {
                tracing::error!(core = %worker.core, "a worker did not end");
            }
        }
    }
}
