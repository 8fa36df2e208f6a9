//! What exists: networks, ports, and the numbers they go by. Guarded by the lock that orders all changes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use vhost::control::PortView;

use crate::dpdk::DpdkPort;
use crate::fdb::{Dest, Fdb, MAX_DESTS};
use crate::ids::{MacAddr, NetworkId, PortId};
use crate::port::PortShared;
use crate::rings::Places;
use crate::security::{Admission, ETHERNET};
use crate::snapshot::{MAX_SLOTS, NetworkEntry, PortEntry, PortSlot, Snapshot};
use crate::spec::{Config, PortSettings, PortSpec};
use crate::switch::NetworkError;

/// Bytes of a VLAN tag, which the MTU does not count.
const TAG: u32 = 4;

/// A network.
pub(super) struct Network {
    pub index: u16,
    pub fdb: Arc<Fdb>,
    dests: Numbers,
}

/// What is behind a port.
pub(super) enum Device {
    Vhost(PortView),
    Dpdk(DpdkPort),
}

/// A port.
pub(super) struct Port {
    pub spec: PortSpec,
    pub slot: PortSlot,
    pub dest: Dest,
    pub shared: Arc<PortShared>,
    pub places: Arc<Places>,
    pub device: Device,
}

/// Everything there is.
#[derive(Default)]
pub(super) struct State {
    networks: BTreeMap<NetworkId, Network>,
    ports: BTreeMap<PortId, Port>,
    indexes: Numbers,
    slots: Numbers,
    last_network: u32,
    last_port: u32,
}

/// Small numbers that are used again, the lowest free one first.
#[derive(Debug, Default)]
struct Numbers {
    taken: Vec<bool>,
}

impl Numbers {
    fn take(&mut self, most: usize) -> Option<u16> {
        let free = self.taken.iter().position(|t| !t).unwrap_or(self.taken.len());
        if free >= most {
            return None;
        }
        if free == self.taken.len() {
            self.taken.push(true);
        }
        self.taken[free] = true;
        u16::try_from(free).ok()
    }

    fn give_back(&mut self, number: u16) {
        self.taken[usize::from(number)] = false;
    }
}

impl State {
    pub(super) fn add_network(&mut self, name: &str, config: &Config) -> NetworkId {
        self.last_network += 1;
        let id = NetworkId(self.last_network);
        // The standard library's hash keys are the system's random numbers.
        let key = RandomState::new().hash_one(name);
        let fdb = Arc::new(Fdb::new(config.mac_table_size, config.mac_quota, key));
        let index = self.indexes.take(usize::from(u16::MAX)).expect("as many networks as there are numbers");
        self.networks.insert(id, Network { index, fdb, dests: Numbers::default() });
        id
    }

    pub(super) fn remove_network(&mut self, id: NetworkId) -> Result<Network, NetworkError> {
        let ports = self.ports.values().filter(|p| p.spec.network == id).count();
        if ports > 0 {
            return Err(NetworkError::NotEmpty(ports));
        }
        self.networks.remove(&id).ok_or(NetworkError::Unknown)
    }

    /// A removed network's index may be used again: no worker looks at it any more.
    pub(super) fn free_network_index(&mut self, network: &Network) {
        self.indexes.give_back(network.index);
    }

    pub(super) fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(&id)
    }

    pub(super) fn fdbs(&self) -> impl Iterator<Item = &Fdb> {
        self.networks.values().map(|n| &*n.fdb)
    }

    pub(super) fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(&id)
    }

    pub(super) fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(&id)
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports.iter().map(|(id, port)| (*id, port))
    }

    pub(super) fn port_ids(&self) -> Vec<PortId> {
        self.ports.keys().copied().collect()
    }

    pub(super) fn in_network(&self, id: NetworkId) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports().filter(move |(_, p)| p.spec.network == id)
    }

    /// The port of a network that declares `mac`, other than `but`.
    pub(super) fn declares(&self, network: NetworkId, mac: MacAddr, but: Option<PortId>) -> bool {
        self.in_network(network).any(|(id, p)| Some(id) != but && p.spec.settings.mac == Some(mac))
    }

    /// Numbers for a new port; `None` if all are taken.
    pub(super) fn reserve(&mut self, network: NetworkId) -> Option<(PortId, PortSlot, Dest)> {
        let dest = self.networks.get_mut(&network)?.dests.take(MAX_DESTS)?;
        let Some(slot) = self.slots.take(MAX_SLOTS) else {
            self.networks.get_mut(&network)?.dests.give_back(dest);
            return None;
        };
        self.last_port += 1;
        Some((PortId(self.last_port), PortSlot(slot), Dest(dest)))
    }

    /// Numbers of a port may be used again: no worker and no table knows them any more.
    pub(super) fn release(&mut self, network: NetworkId, slot: PortSlot, dest: Dest) {
        self.slots.give_back(slot.0);
        if let Some(network) = self.networks.get_mut(&network) {
            network.dests.give_back(dest.0);
        }
    }

    pub(super) fn insert_port(&mut self, id: PortId, port: Port) {
        self.ports.insert(id, port);
    }

    pub(super) fn take_port(&mut self, id: PortId) -> Option<Port> {
        self.ports.remove(&id)
    }

    /// Queues that each of `workers` workers has.
    pub(super) fn loads(&self, workers: usize, but: Option<PortId>) -> Vec<usize> {
        let mut loads = vec![0; workers];
        for (_, port) in self.ports().filter(|(id, _)| Some(*id) != but) {
            for worker in port.places.plan() {
                loads[worker] += 1;
            }
        }
        loads
    }

    /// What workers shall see.
    pub(super) fn snapshot(&self) -> Snapshot {
        let slots = self.ports.values().map(|p| usize::from(p.slot.0) + 1).max().unwrap_or(0);
        let indexes = self.networks.values().map(|n| usize::from(n.index) + 1).max().unwrap_or(0);
        let mut ports: Vec<Option<PortEntry>> = (0..slots).map(|_| None).collect();
        let mut networks: Vec<Option<NetworkEntry>> = (0..indexes).map(|_| None).collect();
        let mut members: BTreeMap<NetworkId, Vec<(PortSlot, Dest)>> = BTreeMap::new();
        for port in self.ports.values() {
            let Some(network) = self.networks.get(&port.spec.network) else { continue };
            members.entry(port.spec.network).or_default().push((port.slot, port.dest));
            ports[usize::from(port.slot.0)] = Some(entry(port, network));
        }
        for (id, network) in &self.networks {
            let members = members.get(id).map_or(&[][..], Vec::as_slice);
            networks[usize::from(network.index)] = Some(NetworkEntry::new(*id, network.fdb.clone(), members));
        }
        Snapshot { ports: ports.into(), networks: networks.into() }
    }
}

fn entry(port: &Port, network: &Network) -> PortEntry {
    PortEntry {
        shared: port.shared.clone(),
        network: network.index,
        dest: port.dest,
        admission: Admission::new(&port.spec.settings),
        max_frame: longest_frame(&port.spec.settings),
        admin_up: port.spec.settings.admin_up,
    }
}

/// Bytes of the longest frame that a port with these settings sends or receives.
fn longest_frame(settings: &PortSettings) -> u32 {
    settings.mtu.map_or(u32::MAX, |mtu| u32::from(mtu) + ETHERNET as u32 + TAG)
}
