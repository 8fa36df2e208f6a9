//! What the control plane asks for.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use vhost::features::Features;

use crate::ids::{CoreId, MacAddr, NetworkId};

/// How the dataplane starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// One worker is started on each.
    pub workers: Vec<CoreId>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Copy every frame into private memory before it is delivered, as switches do that copy twice. For comparison.
    pub two_copies: bool,
    /// Use hugepages if there are any; `false`: never.
    pub hugepages: bool,
    /// Megabytes given to DPDK.
    pub dpdk_memory: u32,
    /// A learned MAC address that was silent for so long is forgotten.
    pub mac_ageing: Duration,
    /// MAC addresses a network can hold.
    pub mac_table_size: u32,
    /// MAC addresses one trusted port may have learned.
    pub mac_quota: u32,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls without a pause.
    Busy,
    /// Polls while there is work, then pauses, then sleeps for at most this long between polls.
    Adaptive(Duration),
}

/// Who creates the socket, said from the container's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketMode {
    /// The application creates it and the switch connects.
    Server,
    /// The switch creates it and the application connects.
    Client,
}

/// What a port is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A vhost-user socket.
    VhostUser {
        /// Absolute path, at most 107 bytes.
        path: PathBuf,
        /// Who creates it.
        mode: SocketMode,
        /// virtio features that are not offered.
        features_off: Features,
    },
    /// A device that DPDK drives, in DPDK's own words.
    Dpdk {
        /// PCI address or vdev name, with arguments.
        devargs: String,
    },
}

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Name, for logs and thread-safe lookups by people; unique.
    pub name: String,
    /// The network it belongs to.
    pub network: NetworkId,
    /// What it is plugged into.
    pub device: DeviceSpec,
    /// Queue pairs, 1 to 16.
    pub queues: u16,
    /// What can be changed in place.
    pub settings: PortSettings,
}

/// The part of a port that changes in place: nothing reconnects and nobody else loses a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The MAC address the port owns.
    pub mac: Option<MacAddr>,
    /// Addresses it may send from; with [`PortSettings::allow_source`] empty too, any.
    pub ips: Vec<IpAddr>,
    /// Prefixes it may send from beside its own addresses.
    pub allow_source: Vec<IpNet>,
    /// May send from any MAC and any address; its MAC addresses are learned.
    pub trusted: bool,
    /// Largest layer-3 packet, bytes; `None`: no limit of ours.
    pub mtu: Option<u16>,
    /// Passes frames.
    pub admin_up: bool,
    /// CPUs whose workers may poll its queues; empty: any.
    pub workers: Vec<CoreId>,
    /// Most bytes of memory its guest may share (vhost-user ports).
    pub mem_limit: u64,
}

impl Default for PortSettings {
    fn default() -> Self {
        Self {
            mac: None,
            ips: Vec::new(),
            allow_source: Vec::new(),
            trusted: false,
            mtu: None,
            admin_up: true,
            workers: Vec::new(),
            mem_limit: 16 << 30,
        }
    }
}
