//! Open vSwitch with its DPDK data path, as Debian builds it.
//!
//! It gets its own database, its own directories and its own network namespace, so that nothing that may run on this
//! machine is touched and nothing stays behind. It is tuned as its documents advise for one poll-mode core: the core
//! alone, one receive queue a port, hugepages given at start; caches as they come (EMC on, SMC off). Each network is
//! a bridge with the default flow, whose action is `NORMAL`: MAC learning, no rules.

use std::path::{Path, PathBuf};

use super::process::{Process, Start, find};
use super::{Cpus, Layout, PATIENCE, Peer, PeerError, PortPlan, Switch, Work};
use crate::pod::Mode;

mod parse;

/// Where Debian puts it.
const DEBIAN: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const REMEDY: &str = "apt-get install openvswitch-switch-dpdk";

/// How OVS is started.
#[derive(Clone, Debug)]
pub struct OvsDpdk {
    /// `dpdk-socket-mem`, megabytes of hugepages.
    pub memory: u32,
}

impl Default for OvsDpdk {
    fn default() -> Self {
        Self { memory: 512 }
    }
}

impl Peer for OvsDpdk {
    fn name(&self) -> &str {
        "ovs"
    }

    /// The other mode is deprecated, and its sockets' place is not ours to choose.
    fn layout(&self, wish: &Layout) -> Result<Layout, PeerError> {
        let mut layout = wish.clone();
        layout.ports.iter_mut().for_each(|port| port.mode = Mode::Server);
        Ok(layout)
    }

    fn start(&self, layout: &Layout, cpus: &Cpus) -> Result<Box<dyn Switch>, PeerError> {
        let tools = Tools::find()?;
        super::enough_hugepages(self.memory)?;
        let directory = tempfile::Builder::new()
            .prefix("podswitch-perf-ovs.")
            .tempdir()
            .map_err(|source| PeerError::File { path: std::env::temp_dir(), source })?;
        let home = Home { path: directory.path().into(), tools };
        let database = home.path.join("conf.db");
        home.tool("ovsdb-tool", ["create".into(), text(&database), SCHEMA.into()]).run()?;
        let remote = format!("punix:{}", text(&home.path.join("db.sock")));
        let unixctl = format!("--unixctl={}", text(&home.path.join("ovsdb.ctl")));
        let server = home
            .tool("ovsdb-server", [text(&database), format!("--remote={remote}"), unixctl, quiet()])
            .spawn(&cpus.all, &home.path.join("ovsdb-server.log"))?;
        let mut switch =
            Running { ports: layout.ports.len(), commands: vec![], vswitchd: None, server, home, directory };
        let socket = switch.home.path.join("db.sock");
        switch.server.wait(PATIENCE, "ovsdb-server", |_| socket.exists().then_some(()))?;
        switch.configure(&self.settings(cpus))?;
        for (place, port) in layout.ports.iter().enumerate() {
            switch.configure(&add_port(place, port, layout.longest_frame))?;
        }
        switch.begin(cpus)?;
        Ok(Box::new(switch))
    }
}

impl OvsDpdk {
    fn settings(&self, cpus: &Cpus) -> Vec<String> {
        let mask = |cpu: u32| format!("{:#x}", 1_u128 << cpu);
        let other = |key: &str, value: &str| format!("other_config:{key}={value}");
        vec![
            "set".into(),
            "Open_vSwitch".into(),
            ".".into(),
            other("dpdk-init", "true"),
            other("dpdk-socket-mem", &self.memory.to_string()),
            other("pmd-cpu-mask", &mask(cpus.switch)),
            other("dpdk-lcore-mask", &mask(cpus.control)),
            other("dpdk-extra", "--no-pci --in-memory --file-prefix=podswitch-perf-ovs"),
        ]
    }
}

/// One bridge a network; the bridge's MTU bounds its ports', so each port asks for its own.
fn add_port(place: usize, port: &PortPlan, longest_frame: u16) -> Vec<String> {
    let (bridge, name) = (format!("perf{}", port.network), PortPlan::name(place));
    let mut words: Vec<String> =
        ["--may-exist", "add-br", &bridge, "--", "set", "bridge", &bridge, "datapath_type=netdev"]
            .map(String::from)
            .into();
    words.extend(["--", "add-port", &bridge, &name, "--", "set", "Interface", &name].map(String::from));
    // OVS says it from its own side: its client connects to the socket that the container's side has created.
    words.push("type=dpdkvhostuserclient".into());
    words.push(format!("options:vhost-server-path={}", text(&port.socket)));
    words.push("options:n_rxq=1".into());
    let mtu = longest_frame.saturating_sub(14);
    if mtu > 1500 {
        words.push(format!("mtu_request={mtu}"));
    }
    words
}

/// The programs.
#[derive(Clone, Debug)]
struct Tools {
    vswitchd: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, PeerError> {
        let missing = |what: &str| PeerError::Missing { what: what.into(), remedy: REMEDY };
        for tool in ["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-appctl"] {
            find(tool).ok_or_else(|| missing(tool))?;
        }
        let vswitchd = Some(PathBuf::from(DEBIAN)).filter(|file| file.is_file());
        let vswitchd = vswitchd.or_else(|| find("ovs-vswitchd").filter(|file| has_dpdk(file)));
        Ok(Self { vswitchd: vswitchd.ok_or_else(|| missing("ovs-vswitchd with DPDK"))? })
    }
}

fn has_dpdk(file: &Path) -> bool {
    Start::new(file).with(["--version"]).run().is_ok_and(|text| text.contains("DPDK"))
}

/// Its directory, and how its tools are told to stay there.
#[derive(Clone, Debug)]
struct Home {
    path: PathBuf,
    tools: Tools,
}

impl Home {
    fn tool(
        &self,
        program: impl Into<PathBuf> + AsRef<std::ffi::OsStr>,
        words: impl IntoIterator<Item = String>,
    ) -> Start {
        let program: PathBuf = find(&program).unwrap_or_else(|| program.into());
        let directories = ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"];
        let start = Start::new(program).with(words);
        directories.iter().fold(start, |start, name| start.env(name, text(&self.path)))
    }

    fn ask(&self, words: &[&str]) -> Result<String, PeerError> {
        let target = text(&self.path.join("vswitchd.ctl"));
        let all = ["--timeout=5", "-t", &target].into_iter().chain(words.iter().copied());
        self.tool("ovs-appctl", all.map(String::from)).run()
    }
}

struct Running {
    ports: usize,
    commands: Vec<String>,
    /// Before its database: values are dropped in order.
    vswitchd: Option<Process>,
    server: Process,
    home: Home,
    #[expect(dead_code, reason = "it is removed when this goes")]
    directory: tempfile::TempDir,
}

impl Running {
    /// Writes into the database; ovs-vswitchd is not asked whether it likes that.
    fn configure(&mut self, words: &[String]) -> Result<(), PeerError> {
        let database = format!("--db=unix:{}", text(&self.home.path.join("db.sock")));
        let all = [database, "--no-wait".into(), "--timeout=10".into()].into_iter().chain(words.to_vec());
        self.home.tool("ovs-vsctl", all).run()?;
        self.commands.push(format!("ovs-vsctl {}", words.join(" ")));
        Ok(())
    }

    fn begin(&mut self, cpus: &Cpus) -> Result<(), PeerError> {
        let database = format!("unix:{}", text(&self.home.path.join("db.sock")));
        let unixctl = format!("--unixctl={}", text(&self.home.path.join("vswitchd.ctl")));
        let log = format!("--log-file={}", text(&self.home.path.join("vswitchd.log")));
        let start = self.home.tool(&self.home.tools.vswitchd, [database, unixctl, log, quiet()]).apart();
        self.commands.push(start.text());
        let mut vswitchd = start.spawn(&cpus.all, &self.home.path.join("vswitchd.out"))?;
        let ended = vswitchd.wait(PATIENCE, "ovs-vswitchd to poll its ports", |_| {
            let queues = self.home.ask(&["dpif-netdev/pmd-rxq-show"]).ok()?;
            (parse::polled_queues(&queues) >= self.ports).then_some(())
        });
        self.vswitchd = Some(vswitchd);
        ended.map_err(|error| self.with_log(error))
    }

    /// What it logged explains it better.
    fn with_log(&self, error: PeerError) -> PeerError {
        let log = std::fs::read_to_string(self.home.path.join("vswitchd.log")).unwrap_or_default();
        let serious = |line: &&str| line.contains("|ERR|") || line.contains("|EMER|");
        match log.lines().rfind(serious) {
            Some(line) => PeerError::Command {
                command: "ovs-vswitchd-dpdk".into(),
                output: line.rsplit('|').next().unwrap_or(line).to_owned(),
            },
            None => error,
        }
    }
}

impl Switch for Running {
    fn name(&self) -> &str {
        "ovs"
    }

    fn instruction_set(&self) -> String {
        super::testpmd::dpdk_instruction_set()
    }

    fn version(&self) -> String {
        let said = Start::new(&self.home.tools.vswitchd).with(["--version"]).run().unwrap_or_default();
        said.lines().collect::<Vec<_>>().join(", ")
    }

    fn pid(&self) -> Option<u32> {
        self.vswitchd.as_ref().map(Process::pid)
    }

    fn commands(&self) -> Vec<String> {
        self.commands.clone()
    }

    fn ready(&mut self) -> Result<(), PeerError> {
        let (home, ports) = (self.home.clone(), self.ports);
        let Some(vswitchd) = &mut self.vswitchd else { return Ok(()) };
        vswitchd.wait(PATIENCE, "every queue of OVS to be enabled", |_| {
            let queues = home.ask(&["dpif-netdev/pmd-rxq-show"]).ok()?;
            (parse::enabled_queues(&queues) >= ports).then_some(())
        })
    }

    fn work(&mut self) -> Option<Work> {
        parse::work(&self.home.ask(&["dpif-netdev/pmd-stats-show"]).ok()?)
    }

    fn stop(mut self: Box<Self>) {
        if let Some(vswitchd) = &mut self.vswitchd {
            vswitchd.terminate();
        }
    }
}

/// The log goes to its file alone.
fn quiet() -> String {
    "-vconsole:off".into()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_asks_for_what_its_frames_need() {
        let port = PortPlan {
            socket: "/run/a.sock".into(),
            mode: Mode::Server,
            network: 2,
            mac: None,
            trusted: false,
        };
        let words = add_port(5, &port, 1518).join(" ");
        assert!(words.contains("add-port perf2 p5"), "{words}");
        assert!(words.contains("type=dpdkvhostuserclient options:vhost-server-path=/run/a.sock"), "{words}");
        assert!(add_port(5, &port, 9000).contains(&"mtu_request=8986".to_owned()));
    }

    #[test]
    fn the_worker_has_the_switch_cpu_and_nobody_else() {
        let cpus = Cpus { load: 0, switch: 1, control: 0, all: "0-1".into() };
        let words = OvsDpdk::default().settings(&cpus);
        assert!(words.contains(&"other_config:pmd-cpu-mask=0x2".to_owned()), "{words:?}");
        assert!(words.contains(&"other_config:dpdk-lcore-mask=0x1".to_owned()), "{words:?}");
    }
}
