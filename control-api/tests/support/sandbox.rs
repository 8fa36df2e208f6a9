//! A pod as a node knows it: a network namespace, and containers in it with mount namespaces of their own.
//!
//! A container sees what a device plugin gives it and nothing else of the switch: the port files, read-only, the
//! sockets' directories, and the programs, each at its path in pods. `/run` is its own, and the node's root directory
//! is hidden: a path of the host leads nowhere in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use super::node::{Node, SOCKET_GROUP};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Where the pause container's network namespace is mounted.
const NAMESPACES: &str = "/run/netns";

/// What a container runtime makes before it calls any plugin.
#[derive(Debug)]
pub struct Sandbox {
    pub container_id: String,
    /// Kubernetes namespace and name of the pod.
    pub namespace: String,
    pub pod: String,
    netns: String,
}

impl Sandbox {
    /// A new one, with a container id that was never used before.
    #[must_use]
    pub fn new(namespace: &str, pod: &str) -> Self {
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let netns = format!("psw-{process}-s{number}");
        ip(&["netns", "add", &netns]);
        let sandbox = Self {
            container_id: format!("{process:032x}{number:032x}"),
            namespace: namespace.into(),
            pod: pod.into(),
            netns,
        };
        let up = sandbox.run(&["ip", "link", "set", "lo", "up"]);
        assert!(up.status.success(), "{up:?}");
        sandbox
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.netns)
    }

    /// As a runtime tells plugins of the pod.
    #[must_use]
    pub fn arguments(&self) -> String {
        format!(
            "IgnoreUnknown=true;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=",
            self.namespace, self.pod, self.container_id
        )
    }

    /// Runs a command of the host in its network namespace, to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        let netns = format!("--net={}", self.netns().display());
        Command::new("nsenter").arg(netns).args(words).output().unwrap()
    }

    /// The links in its network namespace with their addresses, as `ip` tells them.
    #[must_use]
    pub fn links(&self) -> Vec<serde_json::Value> {
        let output = self.run(&["ip", "-json", "-details", "address"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The network namespace goes, whoever still runs in it.
    pub fn destroy(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).output();
    }
}

/// Who runs in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// User 0, without a capability.
    Root,
    /// User and group 1000 with the group of the sockets beside them, without a capability.
    Tenant,
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct Container {
    netns: PathBuf,
    devices: Vec<String>,
    root: PathBuf,
    programs: PathBuf,
    pub user: User,
    /// As a shell writes it.
    pub umask: &'static str,
}

impl Container {
    /// One to which a device plugin gives these devices.
    #[must_use]
    pub fn new(node: &Node, sandbox: &Sandbox, devices: &[&str]) -> Self {
        Self {
            netns: sandbox.netns(),
            devices: devices.iter().map(|&id| id.to_owned()).collect(),
            root: node.root().to_path_buf(),
            programs: node.programs(),
            user: User::Tenant,
            umask: "022",
        }
    }

    /// Words before a command that put it into the container. Each time the container begins anew.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let netns = format!("--net={}", self.netns.display());
        let mut words: Vec<String> =
            ["nsenter", &netns, "unshare", "--mount", "sh", "-euc"].map(String::from).into();
        words.extend([self.mounts(), "container".into()]);
        words.extend(["setpriv".into(), "--groups".into()]);
        match self.user {
            User::Root => words.push("0".into()),
            User::Tenant => {
                words.push(SOCKET_GROUP.to_string());
                words.extend(["--reuid", "1000", "--regid", "1000"].map(String::from));
            }
        }
        let nothing =
            ["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--pdeathsig", "KILL"];
        words.extend(nothing.map(String::from));
        words
    }

    /// Runs a command in it, to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        let within = self.words();
        Command::new(&within[0]).args(&within[1..]).args(words).output().unwrap()
    }

    /// As [`Container::run`], of a command that must succeed; gives its standard output.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?} in a container: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn mounts(&self) -> String {
        let mut script = String::from("mount -t tmpfs -o mode=755,nosuid,nodev container /run\n");
        let mut bind = |from: &Path, to: &str, writable: bool| {
            let from = from.display();
            writeln!(script, "mkdir -p {to}; mount --bind {from} {to}").unwrap();
            if !writable {
                writeln!(script, "mount -o remount,bind,ro,nosuid,nodev {to}").unwrap();
            }
        };
        for id in &self.devices {
            let directories = proto::paths::DeviceDirectories::new(&self.root, id);
            bind(&directories.port, &format!("{}/{id}", proto::paths::POD_PORTS), false);
            bind(&directories.socket, &format!("{}/{id}", proto::paths::POD_SOCKETS), true);
        }
        bind(&self.programs, proto::paths::POD_PROGRAMS, false);
        writeln!(script, "mount -t tmpfs -o mode=000 hidden {}", self.root.display()).unwrap();
        write!(script, "umask {}; exec \"$@\"", self.umask).unwrap();
        script
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
