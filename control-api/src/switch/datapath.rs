//! The part of the dataplane that the control plane calls, as a trait: tests put a recorder in its place, one that
//! refuses on demand.

use std::fmt::Debug;

use dataplane::ids::{NetworkId, PortId};
use dataplane::report::{FdbEntry, MemoryReport, PortCounters, PortReport, WorkerReport};
use dataplane::spec::{PortSettings, PortSpec};
use dataplane::{Dataplane, NetworkError, PortError};

/// See [`Dataplane`], whose methods these are. All may block; none is called by a worker.
#[allow(missing_docs, clippy::missing_errors_doc, reason = "documented at Dataplane")]
pub trait Datapath: Debug + Send + Sync {
    fn add_network(&self, name: &str) -> NetworkId;
    fn remove_network(&self, id: NetworkId) -> Result<(), NetworkError>;
    fn add_port(&self, spec: PortSpec) -> Result<PortId, PortError>;
    fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), PortError>;
    fn remove_port(&self, id: PortId) -> Result<(), PortError>;
    fn port(&self, id: PortId) -> Option<PortReport>;
    fn counters(&self, id: PortId) -> Option<PortCounters>;
    fn workers(&self) -> Vec<WorkerReport>;
    fn tsc_hz(&self) -> u64;
    fn fdb(&self, id: NetworkId) -> Option<Vec<FdbEntry>>;
    fn memory(&self) -> MemoryReport;
    fn copy_level(&self) -> &'static str;
    fn dpdk(&self) -> (String, bool);
}

impl Datapath for Dataplane {
    fn add_network(&self, name: &str) -> NetworkId {
        Dataplane::add_network(self, name)
    }

    fn remove_network(&self, id: NetworkId) -> Result<(), NetworkError> {
        Dataplane::remove_network(self, id)
    }

    fn add_port(&self, spec: PortSpec) -> Result<PortId, PortError> {
        Dataplane::add_port(self, spec)
    }

    fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), PortError> {
        Dataplane::set_port(self, id, settings)
    }

    fn remove_port(&self, id: PortId) -> Result<(), PortError> {
        Dataplane::remove_port(self, id)
    }

    fn port(&self, id: PortId) -> Option<PortReport> {
        Dataplane::port(self, id)
    }

    fn counters(&self, id: PortId) -> Option<PortCounters> {
        Dataplane::counters(self, id)
    }

    fn workers(&self) -> Vec<WorkerReport> {
        Dataplane::workers(self)
    }

    fn tsc_hz(&self) -> u64 {
        Dataplane::tsc_hz(self)
    }

    fn fdb(&self, id: NetworkId) -> Option<Vec<FdbEntry>> {
        Dataplane::fdb(self, id)
    }

    fn memory(&self) -> MemoryReport {
        Dataplane::memory(self)
    }

    fn copy_level(&self) -> &'static str {
        Dataplane::copy_level(self)
    }

    fn dpdk(&self) -> (String, bool) {
        Dataplane::dpdk(self)
    }
}
