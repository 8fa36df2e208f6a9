//! Why something was refused.

use crate::ids::{CoreId, MacAddr};

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
    /// The network has as many ports as it can have, or its MAC table has no place for a declared address.
    #[error("the network is full")]
    NetworkFull,
    /// A worker did not let go in time; the port's memory stays mapped.
    #[error("the worker on CPU {0} did not let go of the port in time")]
    WorkerStuck(CoreId),
}
