//! `port.json`: what an application in a pod must know of its port, beside its socket.
//!
//! Written by the daemon when a pod is attached, before any container of it starts; read by the program
//! `podswitch-port`. New members may come; readers pass over what they do not know.

use serde::{Deserialize, Serialize};

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortFile {
    /// Version of this format, 1.
    pub version: u32,
    /// Name of the interface in the container, as CNI has it.
    pub ifname: String,
    /// Name of the CNI network configuration.
    pub network: String,
    /// Kubernetes namespace and name of the pod; empty where there is none.
    pub namespace: String,
    /// See `namespace`.
    pub pod: String,
    /// Who creates the socket, from the pod's view: `server` (the application) or `client` (the switch).
    pub mode: String,
    /// The socket as the pod sees it.
    pub path: String,
    /// The MAC address that the port owns.
    pub mac: String,
    /// Largest layer-3 packet in bytes; 0: no limit.
    pub mtu: u32,
    /// Queue pairs.
    pub queues: u32,
    /// Addresses, each as ADDRESS/LENGTH with a gateway where there is one.
    pub ips: Vec<PortFileAddress>,
    /// Routes: destination, and gateway where there is one.
    pub routes: Vec<PortFileRoute>,
    /// virtio features that the port does not offer, by lower-case name.
    pub features_off: Vec<String>,
    /// Device id of the device plugin; empty: none.
    pub device_id: String,
    /// Name of the port in the switch.
    pub port: String,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortFileAddress {
    /// ADDRESS/LENGTH.
    pub address: String,
    /// Empty: none.
    pub gateway: String,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortFileRoute {
    /// Destination prefix.
    pub dst: String,
    /// Empty: on the link.
    pub gw: String,
}
