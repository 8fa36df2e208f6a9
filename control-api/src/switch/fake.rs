//! A dataplane that remembers what it was told and refuses on demand.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use dataplane::drops::DropReason;
use dataplane::ids::{CoreId, NetworkId, PortId};
use dataplane::report::{
    FdbEntry, MacKind, MacSource, MemoryReport, PortCounters, PortReport, PortState, QueueCounters,
    QueueReport, StageCycles, Traffic, WorkStage, WorkerReport,
};
use dataplane::spec::{PortSettings, PortSpec};
use dataplane::{NetworkError, PortError};
use vhost::features::Features;

use super::{AttachOptions, Datapath, Options, ReconcileOptions, lock};

#[derive(Debug, Default)]
pub(crate) struct Fake {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u32,
    networks: BTreeMap<NetworkId, String>,
    ports: BTreeMap<PortId, PortSpec>,
    states: BTreeMap<String, PortState>,
    refuse: bool,
    hang: bool,
    guest_memory: u64,
    calls: Vec<String>,
}

impl Fake {
    /// From now on ports are refused, as DPDK refuses a device that is not there.
    pub(crate) fn refuse(&self, refuse: bool) {
        lock(&self.inner).refuse = refuse;
    }

    /// From now on a worker does not let go of ports.
    pub(crate) fn hang(&self, hang: bool) {
        lock(&self.inner).hang = hang;
    }

    pub(crate) fn set_state(&self, port: &str, state: PortState) {
        lock(&self.inner).states.insert(port.into(), state);
    }

    pub(crate) fn set_guest_memory(&self, bytes: u64) {
        lock(&self.inner).guest_memory = bytes;
    }

    /// What it was told since the last look.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.inner).calls)
    }

    pub(crate) fn ports(&self) -> Vec<PortSpec> {
        lock(&self.inner).ports.values().cloned().collect()
    }
}

/// Settings of a daemon with one worker, on CPU 1.
pub(crate) fn options() -> Options {
    Options {
        port_memory: 1 << 30,
        workers: vec![CoreId(1)],
        own_sockets: vec!["/run/podswitch/api.sock".into()],
        hugepages: true,
        started: Instant::now(),
        notes: Vec::new(),
        attachments: AttachOptions::default(),
        reconcile: ReconcileOptions::default(),
    }
}

fn refusal() -> PortError {
    PortError::Device { devargs: "net_x".into(), reason: "no such device".into() }
}

impl Datapath for Fake {
    fn add_network(&self, name: &str) -> NetworkId {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let id = NetworkId(inner.next);
        inner.networks.insert(id, name.into());
        inner.calls.push(format!("add network {name}"));
        id
    }

    fn remove_network(&self, id: NetworkId) -> Result<(), NetworkError> {
        let mut inner = lock(&self.inner);
        let name = inner.networks.remove(&id).ok_or(NetworkError::Unknown)?;
        inner.calls.push(format!("remove network {name}"));
        Ok(())
    }

    fn add_port(&self, spec: PortSpec) -> Result<PortId, PortError> {
        let mut inner = lock(&self.inner);
        inner.calls.push(format!("add port {}", spec.name));
        if inner.refuse {
            return Err(refusal());
        }
        if !inner.networks.contains_key(&spec.network) {
            return Err(PortError::UnknownNetwork);
        }
        inner.next += 1;
        let id = PortId(inner.next);
        inner.ports.insert(id, spec);
        Ok(id)
    }

    fn set_port(&self, id: PortId, settings: PortSettings) -> Result<(), PortError> {
        let mut inner = lock(&self.inner);
        let refuse = inner.refuse;
        let port = inner.ports.get_mut(&id).ok_or(PortError::UnknownPort)?;
        if refuse {
            return Err(refusal());
        }
        port.settings = settings;
        let call = format!("set port {}", port.name);
        inner.calls.push(call);
        Ok(())
    }

    fn remove_port(&self, id: PortId) -> Result<(), PortError> {
        let mut inner = lock(&self.inner);
        if inner.hang {
            return Err(PortError::WorkerStuck(CoreId(1)));
        }
        let port = inner.ports.remove(&id).ok_or(PortError::UnknownPort)?;
        inner.calls.push(format!("remove port {}", port.name));
        Ok(())
    }

    fn port(&self, id: PortId) -> Option<PortReport> {
        let inner = lock(&self.inner);
        let port = inner.ports.get(&id)?;
        let queue =
            QueueReport { worker: CoreId(1), rx_running: true, tx_running: true, rx_size: 256, tx_size: 256 };
        Some(PortReport {
            state: inner.states.get(&port.name).copied().unwrap_or(PortState::Running),
            reason: String::new(),
            mac: port.settings.mac.map_or(MacSource::None, MacSource::Declared),
            features: Features::VERSION_1 | Features::MRG_RXBUF,
            guest_memory: inner.guest_memory,
            switch_memory: 4096,
            queues: vec![queue; port.queues.into()],
            connections: 1,
            faults: 0,
            numa_node: Some(0),
            driver: String::new(),
            hint: String::new(),
        })
    }

    fn counters(&self, id: PortId) -> Option<PortCounters> {
        let inner = lock(&self.inner);
        inner.ports.get(&id)?;
        let one =
            QueueCounters { rx: Traffic { frames: 10, bytes: 640 }, tx: Traffic { frames: 7, bytes: 448 } };
        Some(PortCounters { queues: vec![one, one], drops: vec![(DropReason::MacSpoofed, 3)] })
    }

    fn workers(&self) -> Vec<WorkerReport> {
        let queues = lock(&self.inner).ports.keys().map(|id| (*id, 0)).collect();
        vec![WorkerReport {
            core: CoreId(1),
            numa_node: None,
            busy_cycles: 100,
            idle_cycles: 300,
            turns: 40,
            frames: 20,
            longest_turn: 3_000,
            stages: vec![StageCycles { stage: WorkStage::Emit, cycles: 60, frames: 20 }],
            queues,
            tid: 0,
            stuck: false,
        }]
    }

    fn tsc_hz(&self) -> u64 {
        3_000_000_000
    }

    fn fdb(&self, id: NetworkId) -> Option<Vec<FdbEntry>> {
        let inner = lock(&self.inner);
        inner.networks.get(&id)?;
        let of = inner.ports.iter().filter(|(_, port)| port.network == id);
        let entry = |(port, spec): (&PortId, &PortSpec)| {
            let mac = spec.settings.mac?;
            Some(FdbEntry { mac, port: *port, kind: MacKind::Declared, age: 0 })
        };
        Some(of.filter_map(entry).collect())
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport { hugepages: 1, tenants: 2, dpdk: 3, dpdk_used: 4 }
    }

    fn copy_level(&self) -> &'static str {
        "portable"
    }

    fn dpdk(&self) -> (String, bool) {
        ("DPDK 22.11".into(), true)
    }
}
