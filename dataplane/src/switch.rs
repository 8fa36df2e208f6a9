//! The dataplane as the control plane sees it.

use crate::ids::{CoreId, MacAddr, NetworkId, PortId};
use crate::report::{FdbEntry, MemoryReport, PortCounters, PortReport, WorkerReport};
use crate::spec::{Config, PortSettings, PortSpec};

/// Why the dataplane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No worker was asked for.
    #[error("no worker CPU was given")]
    NoWorkers,
    /// A worker's thread could not be started or pinned.
    #[error("the worker on CPU {core} could not be started: {source}")]
    Worker {
        /// The CPU.
        core: CoreId,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The control thread for vhost-user sockets could not be started.
    #[error("the vhost-user control thread could not be started: {0}")]
    Control(std::io::Error),
    /// DPDK did not start.
    #[error("DPDK did not start: {0}")]
    Dpdk(String),
}

/// Why a network was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is none of that number.
    #[error("no such network")]
    Unknown,
    /// It still has ports.
    #[error("the network still has {0} port(s)")]
    NotEmpty(usize),
}

/// Why a port was refused. The field at fault is the variant's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// There is no port of that number.
    #[error("no such port")]
    UnknownPort,
    /// There is no network of that number.
    #[error("no such network")]
    UnknownNetwork,
    /// More queue pairs than the device takes.
    #[error("{asked} queue pairs were asked for, the device takes at most {most}")]
    Queues {
        /// Asked for.
        asked: u16,
        /// Taken at most.
        most: u16,
    },
    /// The MAC address belongs to another port of the network.
    #[error("the MAC address {0} belongs to another port of the network")]
    MacInUse(MacAddr),
    /// No worker runs on any of the CPUs named.
    #[error("no worker runs on CPU {0}")]
    NoWorkerOn(CoreId),
    /// DPDK does not know the device, or it is not there.
    #[error("DPDK cannot open \"{devargs}\": {reason}")]
    Device {
        /// As given.
        devargs: String,
        /// The driver's or EAL's word.
        reason: String,
    },
    /// The device's buffers do not fit in DPDK's memory.
    #[error("the device's buffers need {needed} bytes, {free} of DPDK's memory are free: raise dpdk.memory")]
    DpdkMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// As many DPDK ports as the build allows.
    #[error("DPDK was built for at most {0} ports")]
    DpdkPorts(u32),
    /// The socket could not be prepared.
    #[error("{path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A worker did not let go in time; the port's memory stays mapped.
    #[error("the worker on CPU {0} did not let go of the port in time")]
    WorkerStuck(CoreId),
}

/// The running dataplane. All methods may be called from any thread that may block; none is for workers.
#[derive(Debug)]
pub struct Dataplane {}

impl Dataplane {
    /// Starts DPDK, the workers, the control thread and the notifier.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let _ = config;
        Ok(Self {})
    }

    /// Adds an empty network.
    pub fn add_network(&self, name: &str) -> NetworkId {
        let _ = name;
        NetworkId(0)
    }

    /// Removes a network that has no ports.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub fn remove_network(&self, id: NetworkId) -> Result<(), NetworkError> {
        let _ = id;
        Ok(())
    }

    /// Adds a port. A vhost-user port whose peer is not there yet is added and waits.
    ///
    /// # Errors
    /// See [`PortError`]; nothing has changed then.
    pub fn add_port(&self, spec: PortSpec) -> Result<PortId, PortError> {
        let _ = spec;
        Ok(PortId(0))
    }

    /// Changes a port in place.
    ///
    /// # Errors
    /// See [`PortError`]; nothing has changed then.
    pub fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), PortError> {
        let _ = (id, settings);
        Ok(())
    }

    /// Removes a port; returns when no worker can touch it any more.
    ///
    /// # Errors
    /// [`PortError::UnknownPort`], or [`PortError::WorkerStuck`].
    pub fn remove_port(&self, id: PortId) -> Result<(), PortError> {
        let _ = id;
        Ok(())
    }

    /// The port as it is now; `None` if there is none.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<PortReport> {
        let _ = id;
        None
    }

    /// The port's counters; `None` if there is none.
    #[must_use]
    pub fn counters(&self, id: PortId) -> Option<PortCounters> {
        let _ = id;
        None
    }

    /// Every worker.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerReport> {
        Vec::new()
    }

    /// Ticks of the time stamp counter a second, as measured at start.
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        0
    }

    /// The MAC table of a network, sorted by address; `None` if there is no such network.
    #[must_use]
    pub fn fdb(&self, id: NetworkId) -> Option<Vec<FdbEntry>> {
        let _ = id;
        None
    }

    /// Memory held and mapped.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        MemoryReport::default()
    }

    /// Name of the instruction set that copies use.
    #[must_use]
    pub fn copy_level(&self) -> &'static str {
        "portable"
    }

    /// Version of DPDK, and whether it runs on hugepages.
    #[must_use]
    pub fn dpdk(&self) -> (String, bool) {
        (String::new(), false)
    }

    /// Stops everything: rings are handed back, sockets closed, devices stopped, workers joined.
    pub fn shutdown(self) {}
}
