//! Which keys there may be.
//!
//! Three lists: what CNI and its runtimes put there, what is ours, and what one might expect of a switch but this one
//! does not have yet. The last is told apart from a slip of the pen, and both are code 2 with key and value.

use serde_json::{Map, Value};

use super::super::environment::shown;
use super::super::failure::{Code, Failure};

/// Keys of the specification, of libcni and of Multus.
const STANDARD: [&str; 16] = [
    "args",
    "capabilities",
    "cniVersion",
    "cniVersions",
    "deviceID",
    "disableCheck",
    "disableGC",
    "dns",
    "ipam",
    "loadOnlyInlinedPlugins",
    "name",
    "pciBusID",
    "plugins",
    "prevResult",
    "runtimeConfig",
    "type",
];

/// Ours that the configuration alone may have.
const OWN: [&str; 4] = ["deviceResource", "network", "socket", "timeoutMs"];

/// Ours that a pod may have too, in `args.cni`.
const POD: [&str; 11] = [
    "allowedAddresses",
    "ips",
    "mac",
    "memLimit",
    "mode",
    "mtu",
    "offloads",
    "queues",
    "routes",
    "spoofCheck",
    "stub",
];

/// Known, and not offered.
const NOT_OFFERED: [&str; 9] =
    ["bandwidth", "numa", "queueSize", "rate", "selinuxLabel", "socketGroup", "trunk", "vlan", "waitLink"];

/// Reverse domain of keys that libcni adds.
const CNI_DOMAIN: &str = "cni.dev/";

/// The top level of the configuration.
pub(super) fn check_own(own: &Map<String, Value>) -> Result<(), Failure> {
    check(own, "", |key| STANDARD.contains(&key) || OWN.contains(&key) || POD.contains(&key))
}

/// `args.cni`.
pub(super) fn check_pod(pod: &Map<String, Value>) -> Result<(), Failure> {
    check(pod, "args.cni.", |key| POD.contains(&key))
}

/// `runtimeConfig`: what we do not know is for others in the chain; what we know and lack must not be lost in silence.
pub(super) fn check_runtime(runtime: &Map<String, Value>) -> Result<(), Failure> {
    match runtime.get("bandwidth").filter(|value| !value.is_null()) {
        Some(value) => Err(not_offered("runtimeConfig.bandwidth", value)),
        None => Ok(()),
    }
}

fn check(object: &Map<String, Value>, prefix: &str, known: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for (key, value) in object {
        if known(key) || key.starts_with(CNI_DOMAIN) {
            continue;
        }
        let name = format!("{prefix}{}", shown(key));
        if NOT_OFFERED.contains(&key.as_str()) {
            return Err(not_offered(&name, value));
        }
        return Err(unknown(&name, value));
    }
    Ok(())
}

/// A key that nobody knows.
pub(super) fn unknown(name: &str, value: &Value) -> Failure {
    Failure::new(Code::UnsupportedField, format!("unknown key {name} = {}", shown(&value.to_string())))
}

/// A key that this switch lacks.
pub(super) fn not_offered(name: &str, value: &Value) -> Failure {
    let msg = format!("{name} = {} is not offered by this switch", shown(&value.to_string()));
    Failure::new(Code::UnsupportedField, msg)
}
