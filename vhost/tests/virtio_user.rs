//! DPDK's own virtio-user against our device: `dpdk-testpmd` sends its first frames, we echo them, testpmd sends
//! them on, and so on for a while; no frame may be lost or refused. Needs root, hugepages and `dpdk-testpmd`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::eventually;
use support::worker::Echo;
use vhost::control::{Control, ControlConfig, Mode, PortKey, State, VhostPortConfig};
use vhost::features::Features;

/// What testpmd is started with.
#[derive(Clone, Copy, Debug)]
struct Pod {
    mode: Mode,
    queues: u16,
    mergeable: bool,
    in_order: bool,
}

impl Pod {
    fn spawn(self, path: &Path) -> Running {
        let flag = |on: bool| i32::from(on);
        let device = format!(
            "--vdev=net_virtio_user0,path={},queues={},queue_size=256,server={},mrg_rxbuf={},in_order={}",
            path.display(),
            self.queues,
            flag(self.mode == Mode::Server),
            flag(self.mergeable),
            flag(self.in_order),
        );
        let mut command = Command::new("dpdk-testpmd");
        command.args([
            "--no-pci",
            "--in-memory",
            "--single-file-segments",
            "-m",
            "64",
            "-l",
            "0,1",
            &device,
            "--",
        ]);
        command.args(["--total-num-mbufs=4096", "-i"]);
        command.args([format!("--rxq={}", self.queues), format!("--txq={}", self.queues)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number behind a word of testpmd's statistics.
fn figure(text: &str, name: &str) -> u64 {
    let rest = text.rsplit_once(name).unwrap_or_else(|| panic!("{name} is not in: {text}")).1;
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

fn ping_pong(pod: Pod, frames: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let config = VhostPortConfig {
        name: "p".into(),
        path: path.clone(),
        mode: pod.mode,
        pairs: pod.queues,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 256 << 20,
    };
    let control = Control::spawn(ControlConfig::default()).unwrap();
    let echo = Echo::spawn();
    let view = control.add_port(PortKey(1), config, echo.owner()).unwrap();
    if pod.mode == Mode::Client {
        eventually("the switch listens", || path.exists());
    }
    let mut testpmd = pod.spawn(&path);
    eventually("the port runs", || view.snapshot().state == State::Running);
    let mut input = testpmd.0.stdin.take().unwrap();
    input.write_all(b"start tx_first 4\n").unwrap();
    eventually("frames go round", || echo.frames() >= frames);
    let features = view.snapshot().features;
    assert_eq!(features.contains(Features::MRG_RXBUF), pod.mergeable);
    assert_eq!(features.contains(Features::IN_ORDER), pod.in_order);
    input.write_all(b"stop\nshow port stats 0\nquit\n").unwrap();
    let mut text = String::new();
    testpmd.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(figure(&text, "RX-packets:") >= frames, "{text}");
    assert_eq!(figure(&text, "RX-errors:"), 0);
    assert_eq!(figure(&text, "RX-missed:"), 0);
    assert_eq!(figure(&text, "RX-dropped:"), 0);
    assert_eq!(figure(&text, "TX-dropped:"), 0);
    let port = view.snapshot();
    assert_eq!((port.faults, port.refusals), (0, 0), "{pod:?}: {}", port.reason);
}

#[test]
fn frames_go_round_with_testpmd() {
    if Command::new("dpdk-testpmd")
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("NOT RUN: dpdk-testpmd is not installed");
        return;
    }
    if support::huge(40 * support::HUGE).is_none() {
        return;
    }
    for mode in [Mode::Server, Mode::Client] {
        for cell in 0..8u16 {
            let queues = 1 + (cell & 1);
            ping_pong(Pod { mode, queues, mergeable: cell & 2 != 0, in_order: cell & 4 != 0 }, 200_000);
        }
    }
}
