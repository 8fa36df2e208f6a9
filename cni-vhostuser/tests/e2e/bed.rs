//! What the tests have in common: a node with the programs under test, and pods that run on what they were told.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::frame::{Mac, Stream};
use crate::support::lab::Lab;
use crate::support::node::{Node, PLUGINS, Programs};
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::sandbox::{Container, Sandbox};
use crate::support::switch::Setup;
use crate::support::wait;

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::new(());

/// One test's place. What is dropped first stands first.
pub(crate) struct Bed {
    pub(crate) node: Node,
    pub(crate) lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl Bed {
    /// Opens it, or says why this machine cannot have it.
    #[must_use]
    pub(crate) fn open() -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::open()?;
        let port = PathBuf::from(env!("CARGO_BIN_EXE_podswitch-port"));
        let programs = Programs { plugin: plugin(), port };
        let node = Node::start(&lab, &programs, Setup::new(&lab, 1));
        Some(Self { node, lab, _alone: alone })
    }

    /// Adds a network in which pods of the namespaces `shop` and `bank` may join, with these further words.
    #[track_caller]
    pub(crate) fn network(&self, name: &str, more: &[&str]) {
        let words = ["network", "add", name, "--namespace", "shop", "--namespace", "bank"];
        self.node.switch.cli().ok(&[&words[..], more].concat());
    }

    /// A configuration for a device.
    #[must_use]
    pub(crate) fn config(&self, network: &str, device: &str) -> Value {
        let mut config = self.node.config(network);
        config["deviceID"] = device.into();
        config
    }

    /// `host-local` with a store of this test.
    #[must_use]
    pub(crate) fn host_local(&self, subnet: &str) -> Value {
        json!({ "type": "host-local", "dataDir": self.addresses(), "ranges": [[{ "subnet": subnet }]] })
    }

    fn addresses(&self) -> PathBuf {
        self.lab.path("addresses")
    }

    /// Addresses that `host-local` still keeps for somebody in a network.
    #[must_use]
    pub(crate) fn reserved(&self, network: &str) -> Vec<String> {
        let directory = std::fs::read_dir(self.addresses().join(network));
        let names =
            directory.into_iter().flatten().flatten().map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
    }

    /// A testpmd in a container with exactly what `podswitch-port` prints there for `ifname`.
    #[track_caller]
    pub(crate) fn pod(&self, container: &Container, name: &str, ifname: &str, behind: Behind) -> PodSpec {
        let mut spec = PodSpec::new(&self.lab, name, 0, behind);
        let told = container.ok(&["/run/podswitch/bin/podswitch-port", ifname, "--format", "testpmd"]);
        spec.told = told.split_whitespace().map(str::to_owned).collect();
        spec.within = container.words();
        spec.directory = self.node.scratch(name);
        // What virtio-user has if nobody says.
        spec.ring = 256;
        spec
    }

    /// Whether nothing of any pod is left: ports, sockets, port files, attachments.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(self.node.ports(), [""; 0]);
        assert_eq!(self.node.left_behind(), Vec::<PathBuf>::new());
        assert_eq!(self.node.attachments().len(), 0);
    }
}

fn plugin() -> PathBuf {
    std::env::var_os("CNI_PLUGIN").map_or_else(|| env!("CARGO_BIN_EXE_cni-vhostuser").into(), PathBuf::from)
}

/// Whether Debian's plugins are installed; if not, that is said, and in CI it is a failure.
#[must_use]
pub(crate) fn has_plugins() -> bool {
    use std::io::Write as _;
    let there = std::path::Path::new(PLUGINS).join("host-local").exists();
    if !there {
        let line = "NOT TESTED, end to end: containernetworking-plugins is not installed; `make setup` as root provides it";
        assert!(std::env::var_os("CI").is_none(), "{line}");
        let _ = writeln!(std::io::stderr(), "\n{line}");
    }
    there
}

/// What an ADD answered for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) mac: String,
    pub(crate) ip: Ipv4Addr,
}

impl Told {
    /// Reads a result with one interface that is the container's.
    #[track_caller]
    pub(crate) fn of(result: &Value, sandbox: &Sandbox, ifname: &str) -> Self {
        let interface = &result["interfaces"][0];
        assert_eq!(interface["name"], ifname, "{result}");
        assert_eq!(interface["sandbox"], sandbox.netns().display().to_string(), "{result}");
        let address = result["ips"][0]["address"].as_str().unwrap_or("0.0.0.0/0");
        Self {
            mac: interface["mac"].as_str().unwrap().to_owned(),
            ip: address.split_once('/').unwrap().0.parse().unwrap(),
        }
    }

    fn bytes(&self) -> Mac {
        let bytes: Vec<u8> = self.mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    /// Frames to another.
    #[must_use]
    pub(crate) fn to(&self, other: &Self, tenant: u32) -> Stream {
        Stream {
            destination: other.bytes(),
            source: self.bytes(),
            source_ip: self.ip,
            destination_ip: other.ip,
            tenant,
        }
    }
}

/// Sends frames and waits until exactly these have arrived, whatever had arrived before.
#[track_caller]
pub(crate) fn passes(from: &mut Pod, to: &mut Pod, stream: &Stream) {
    let before = to.received().len();
    let sent = stream.frames(100, 300);
    from.send(&sent);
    let received = wait::until("the frames to arrive", || {
        let mut all = to.received();
        (all.len() >= before + sent.len()).then(|| all.split_off(before))
    });
    assert_eq!(received, sent);
}
