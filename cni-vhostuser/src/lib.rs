//! What stands between Kubernetes and the switch on a node.
//!
//! Three programs: `cni-vhostuser`, the CNI plugin, which a container runtime runs for every interface; the device
//! plugin `podswitch-device-plugin`, which offers the kubelet the directories that pods share with the switch; and
//! `podswitch-port`, which an application in a pod asks for its port. None holds state: the daemon does.

pub mod cni;
pub mod device_plugin;
pub mod port_info;
