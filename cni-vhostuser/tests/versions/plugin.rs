//! Runs the plugin as a container runtime does.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Directory of the IPAM plugin that the tests use.
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/versions");
/// An interface name that no machine has.
pub(crate) const IFNAME: &str = "podswitch-t0";

/// What came back: the exit status, and what was printed (null: nothing).
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) output: Value,
}

/// Calls the plugin in our own namespace, which it is told to accept.
pub(crate) fn call(verb: &str, socket: &Path, more: &Value, ipam_log: &Path) -> Answer {
    let mut config = json!({"cniVersion": "1.1.0", "name": "n", "type": "cni-vhostuser", "socket": socket});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_cni-vhostuser"))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "c")
        .env("CNI_NETNS", "/proc/self/ns/net")
        .env("CNI_NETNS_OVERRIDE", "1")
        .env("CNI_IFNAME", IFNAME)
        .env("CNI_PATH", PLUGINS)
        .env("CNI_ARGS", "IgnoreUnknown=true;K8S_POD_NAMESPACE=a;K8S_POD_NAME=p")
        .env("IPAM_LOG", ipam_log)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let output =
        if ended.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&ended.stdout).unwrap() };
    Answer { success: ended.status.success(), output }
}
