//! DPDK's own test application between vhost ports, forwarding without a look at the frames.
//!
//! `io` forwarding takes a burst from one port and gives it to the other of the pair: no parsing, no lookup, no
//! counters a port worth the name. It is what every vhost switch is compared with, and has no address to learn and
//! nothing to refuse. The forwarding thread is on the switch's CPU; the main one sleeps in a read of its standard
//! input, on another.

use super::process::{Process, Start, find};
use super::{Cpus, Layout, PATIENCE, Peer, PeerError, Switch, Work};
use crate::pod::Mode;

/// Room of an mbuf in front of the frame.
const HEADROOM: u32 = 128;
/// What testpmd takes itself; holds an ordinary frame.
const ORDINARY: u32 = 2048;

/// How testpmd is started.
#[derive(Clone, Debug)]
pub struct TestpmdIo {
    /// Hugepages, in megabytes.
    pub memory: u32,
}

impl Default for TestpmdIo {
    fn default() -> Self {
        Self { memory: 256 }
    }
}

impl TestpmdIo {
    fn arguments(&self, layout: &Layout, cpus: &Cpus) -> Vec<String> {
        let mut words = vec![
            "--no-pci".to_owned(),
            "--in-memory".into(),
            format!("--socket-mem={}", self.memory),
            "--file-prefix=podswitch-perf-testpmd".into(),
            "--lcores".into(),
            format!("0@{},1@{}", cpus.control, cpus.switch),
            "--main-lcore=0".into(),
        ];
        for (place, port) in layout.ports.iter().enumerate() {
            let client = u8::from(port.mode == Mode::Server);
            words.push(format!(
                "--vdev=net_vhost{place},iface={},queues=1,client={client}",
                port.socket.display()
            ));
        }
        let room = HEADROOM + ORDINARY.max(u32::from(layout.longest_frame).next_multiple_of(64) + 64);
        // Four rings' worth a port; more would not stay in the cache.
        let buffers = 8192 * layout.ports.len().max(2);
        words.extend(["--", "--auto-start", "--forward-mode=io", "--port-topology=paired"].map(String::from));
        words.extend(["--nb-cores=1", "--rxq=1", "--txq=1", "--burst=32"].map(String::from));
        words.extend(
            ["--rxd=1024", "--txd=1024", "--no-lsc-interrupt", "--disable-link-check"].map(String::from),
        );
        words.extend([format!("--mbuf-size={room}"), format!("--total-num-mbufs={buffers}")]);
        words
    }
}

impl Peer for TestpmdIo {
    fn name(&self) -> &str {
        "testpmd_io"
    }

    fn start(&self, layout: &Layout, cpus: &Cpus) -> Result<Box<dyn Switch>, PeerError> {
        let program = find("dpdk-testpmd").ok_or_else(|| PeerError::Missing {
            what: "dpdk-testpmd".into(),
            remedy: "apt-get install dpdk-dev",
        })?;
        let directory = tempfile::Builder::new()
            .prefix("podswitch-perf-testpmd.")
            .tempdir()
            .map_err(|source| PeerError::File { path: std::env::temp_dir(), source })?;
        super::enough_hugepages(self.memory)?;
        // A pipe would keep its words in a buffer.
        let (stdbuf, program) =
            (find("stdbuf").unwrap_or_else(|| "stdbuf".into()), program.display().to_string());
        let start = Start::new(stdbuf).with(["-oL", "-eL", &program]).with(self.arguments(layout, cpus));
        let mut process = start.spawn(&cpus.all, &directory.path().join("testpmd.log"))?;
        process.wait(PATIENCE, "testpmd to forward", |process| {
            process.output().contains("Press enter to exit").then_some(())
        })?;
        Ok(Box::new(Running { process, directory }))
    }
}

struct Running {
    process: Process,
    #[expect(dead_code, reason = "it is removed when this goes")]
    directory: tempfile::TempDir,
}

impl Switch for Running {
    fn name(&self) -> &str {
        "testpmd_io"
    }

    fn instruction_set(&self) -> String {
        dpdk_instruction_set()
    }

    fn version(&self) -> String {
        crate::machine::package_version("dpdk-dev")
            .or_else(|| crate::machine::package_version("dpdk"))
            .map_or_else(|| "unknown".into(), |version| format!("DPDK {version}"))
    }

    fn pid(&self) -> Option<u32> {
        Some(self.process.pid())
    }

    fn commands(&self) -> Vec<String> {
        vec![self.process.text().to_owned()]
    }

    /// It polls whatever connects; the first frames that come through show that it does.
    fn ready(&mut self) -> Result<(), PeerError> {
        self.process.check()
    }

    fn work(&mut self) -> Option<Work> {
        None
    }

    fn stop(mut self: Box<Self>) {
        self.process.terminate();
    }
}

/// What the installed DPDK was compiled for. Its vhost library copies with what the compiler was allowed to use;
/// nothing there asks the CPU at run time.
#[must_use]
pub fn dpdk_instruction_set() -> String {
    let flags = Start::new("pkg-config").with(["--cflags", "libdpdk"]).run().unwrap_or_default();
    let machine = flags.split_whitespace().find_map(|flag| flag.strip_prefix("-march="));
    match machine {
        Some("corei7" | "nehalem") => "SSE4.2 (corei7)".into(),
        Some(other) => other.to_owned(),
        None => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PortPlan;

    #[test]
    fn ports_are_paired_in_their_order_and_buffers_hold_a_frame() {
        let port = |socket: &str| PortPlan {
            socket: socket.into(),
            mode: Mode::Server,
            network: 0,
            mac: None,
            trusted: false,
        };
        let mut layout = Layout { ports: vec![port("/a"), port("/b")], longest_frame: 1518 };
        let cpus = Cpus { load: 0, switch: 1, control: 0, all: "0-1".into() };
        let words = TestpmdIo::default().arguments(&layout, &cpus);
        assert!(words.contains(&"--vdev=net_vhost1,iface=/b,queues=1,client=1".to_owned()), "{words:?}");
        assert!(words.contains(&"0@0,1@1".to_owned()), "{words:?}");
        assert!(words.contains(&"--mbuf-size=2176".to_owned()), "{words:?}");
        layout.longest_frame = 9000;
        let words = TestpmdIo::default().arguments(&layout, &cpus);
        assert!(words.contains(&"--mbuf-size=9216".to_owned()), "{words:?}");
    }
}
