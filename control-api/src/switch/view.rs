//! Networks and ports as messages: what is wanted, and what the dataplane says of it now.

use std::collections::BTreeSet;

use dataplane::report::{MacSource, PortReport, PortState, QueueReport};
use proto::v1;

use super::{Applied, Entry, NetworkEntry, Switch, arguments, hint};
use crate::error::Error;

impl Switch {
    /// # Errors
    /// There is none of that name.
    pub fn network(&self, name: &str) -> Result<v1::Network, Error> {
        let (entry, ports) = {
            let state = self.read();
            let entry = state.networks.get(name).cloned().ok_or_else(|| Error::NoNetwork(name.into()))?;
            let of = state.ports.values().filter(|entry| entry.network() == name);
            (entry, of.map(|entry| entry.name().to_owned()).collect())
        };
        Ok(self.network_view(entry, ports))
    }

    /// Every network, by name.
    #[must_use]
    pub fn networks(&self) -> Vec<v1::Network> {
        let networks: Vec<(NetworkEntry, Vec<String>)> = {
            let state = self.read();
            let ports_of = |name: &str| {
                let of = state.ports.values().filter(|entry| entry.network() == name);
                of.map(|entry| entry.name().to_owned()).collect()
            };
            state.networks.iter().map(|(name, entry)| (entry.clone(), ports_of(name))).collect()
        };
        networks.into_iter().map(|(entry, ports)| self.network_view(entry, ports)).collect()
    }

    fn network_view(&self, network: NetworkEntry, ports: Vec<String>) -> v1::Network {
        let entries = self.datapath.fdb(network.id).map_or(0, |fdb| fdb.len());
        v1::Network {
            spec: Some(network.spec),
            ports,
            fdb_entries: u32::try_from(entries).unwrap_or(u32::MAX),
        }
    }

    /// # Errors
    /// There is none of that name.
    pub fn port(&self, name: &str) -> Result<v1::Port, Error> {
        let (entry, others) = {
            let state = self.read();
            let entry = state.ports.get(name).cloned().ok_or_else(|| Error::NoPort(name.into()))?;
            let same = |other: &&Entry| other.network() == entry.network() && other.name() != name;
            let others: Vec<_> = state.ports.values().filter(same).filter_map(Entry::id).collect();
            (entry, others)
        };
        let report = entry.id().and_then(|id| self.datapath.port(id));
        let runs = |id| self.datapath.port(id).is_some_and(|other| other.state == PortState::Running);
        let peers = others.into_iter().any(runs);
        Ok(port_view(&entry, report.as_ref(), peers))
    }

    /// Every port by name, of one network if `network` is not empty.
    ///
    /// # Errors
    /// There is no such network.
    pub fn ports(&self, network: &str) -> Result<Vec<v1::Port>, Error> {
        let reported = self.reported(network)?;
        let running = |(entry, report): &(Entry, Option<PortReport>)| {
            report.as_ref().is_some_and(|r| r.state == PortState::Running).then(|| entry.network().to_owned())
        };
        let mut one = BTreeSet::new();
        let mut several = BTreeSet::new();
        for network in reported.iter().filter_map(running) {
            if !one.insert(network.clone()) {
                several.insert(network);
            }
        }
        let view = |(entry, report): &(Entry, Option<PortReport>)| {
            let runs = report.as_ref().is_some_and(|r| r.state == PortState::Running);
            let peers = if runs { &several } else { &one }.contains(entry.network());
            port_view(entry, report.as_ref(), peers)
        };
        Ok(reported.iter().map(view).collect())
    }

    /// Ports by name with what the dataplane says of them.
    fn reported(&self, network: &str) -> Result<Vec<(Entry, Option<PortReport>)>, Error> {
        let entries: Vec<Entry> = {
            let state = self.read();
            if !network.is_empty() && !state.networks.contains_key(network) {
                return Err(Error::NoNetwork(network.into()));
            }
            let wanted = |entry: &&Entry| network.is_empty() || entry.network() == network;
            state.ports.values().filter(wanted).cloned().collect()
        };
        let report = |entry: Entry| {
            let report = entry.id().and_then(|id| self.datapath.port(id));
            (entry, report)
        };
        Ok(entries.into_iter().map(report).collect())
    }
}

fn port_view(entry: &Entry, report: Option<&PortReport>, peers: bool) -> v1::Port {
    let spec = &entry.port.spec;
    let (mac, mac_source) = match report.map(|report| report.mac) {
        Some(MacSource::Declared(mac)) => (mac.to_string(), "declared"),
        Some(MacSource::Adopted(mac)) => (mac.to_string(), "adopted"),
        Some(MacSource::Any) => (String::new(), "any"),
        None if !spec.mac.is_empty() => (spec.mac.clone(), "declared"),
        None if spec.trusted => (String::new(), "any"),
        Some(MacSource::None) | None => (String::new(), "none"),
    };
    let mut status = v1::PortStatus {
        state: v1::PortState::Waiting.into(),
        mac,
        mac_source: mac_source.into(),
        numa_node: -1,
        testpmd_args: arguments::testpmd(spec),
        qemu_args: arguments::qemu(spec),
        hint: hint::hint(entry, report, peers),
        ..v1::PortStatus::default()
    };
    if let Applied::Waiting(reason) = &entry.applied {
        status.reason.clone_from(reason);
    }
    if let Some(report) = report {
        fill(&mut status, report);
    }
    v1::Port { spec: Some(spec.clone()), status: Some(status) }
}

fn fill(status: &mut v1::PortStatus, report: &PortReport) {
    status.set_state(match report.state {
        PortState::Waiting => v1::PortState::Waiting,
        PortState::Connected => v1::PortState::Connected,
        PortState::Negotiated => v1::PortState::Negotiated,
        PortState::Running => v1::PortState::Running,
        PortState::Paused => v1::PortState::Paused,
        PortState::Faulted => v1::PortState::Faulted,
        PortState::Gone => v1::PortState::Gone,
    });
    status.reason.clone_from(&report.reason);
    status.features = report.features.names();
    status.guest_memory = report.guest_memory;
    status.switch_memory = report.switch_memory;
    status.queues = report.queues.iter().zip(0..).map(|(queue, index)| queue_view(queue, index)).collect();
    status.connections = report.connections;
    status.faults = report.faults;
    status.numa_node = node(report.numa_node);
    status.driver.clone_from(&report.driver);
}

fn queue_view(queue: &QueueReport, index: u32) -> v1::QueueStatus {
    v1::QueueStatus {
        index,
        worker_cpu: queue.worker.0,
        rx_running: queue.rx_running,
        tx_running: queue.tx_running,
        rx_size: queue.rx_size,
        tx_size: queue.tx_size,
    }
}

/// -1: not known.
pub(super) fn node(numa_node: Option<u32>) -> i32 {
    numa_node.and_then(|node| i32::try_from(node).ok()).unwrap_or(-1)
}
