//! A frontend that leaves at any point of any recorded handshake leaves nothing behind: no descriptor, no mapping,
//! no thread. One test, since it counts what the whole process has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::eventually;
use support::recording::{Step, descriptors, read};
use support::worker::Echo;
use vhost::control::{Control, ControlConfig, Mode, PortKey, PortView, State, VhostPortConfig};
use vhost::driver::wire;
use vhost::features::Features;

/// What this process holds. Idle threads of pools end by themselves and are not counted.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    mappings: usize,
    threads: usize,
}

impl Held {
    fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_ours = |name: &str| !matches!(name, "vhost-map" | "vhost-close" | "vhost-unmap");
        let names = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
            let comm = task.unwrap().path().join("comm");
            std::fs::read_to_string(comm).unwrap_or_default().trim().to_string()
        });
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            mappings: maps.lines().filter(|line| line.contains("memfd:")).count(),
            threads: names.filter(|name| is_ours(name)).count(),
        }
    }
}

/// A port of its own, since a port whose connections are brief makes them wait.
struct Port {
    path: PathBuf,
    view: PortView,
    _echo: Echo,
}

impl Port {
    fn new(control: &Control, number: u32, directory: &Path) -> Self {
        let (path, echo) = (directory.join(number.to_string()), Echo::spawn());
        let config = VhostPortConfig {
            name: number.to_string(),
            path: path.clone(),
            mode: Mode::Client,
            pairs: 2,
            features: Features::OFFERED,
            mtu: None,
            mem_limit: 1 << 30,
        };
        let view = control.add_port(PortKey(number), config, echo.owner()).unwrap();
        eventually("the switch listens", || path.exists());
        Self { path, view, _echo: echo }
    }

    /// Goes through `steps`, sends some bytes of `next` with its descriptors, and leaves.
    fn leave_after(&self, steps: &[Step], next: Option<(&Step, usize)>) {
        let connections = self.view.snapshot().connections;
        let stream = UnixStream::connect(&self.path).unwrap();
        eventually("it is accepted", || self.view.snapshot().connections > connections);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for step in steps {
            match step {
                Step::Send { bytes, kinds } => send(&stream, bytes, kinds),
                Step::Expect(bytes) => {
                    assert!(wire::receive(&stream, &mut vec![0; bytes.len()], &mut Vec::new()).unwrap());
                }
                Step::Close => {}
            }
        }
        if let Some((Step::Send { bytes, kinds }, cut)) = next {
            send(&stream, &bytes[..cut.min(bytes.len() - 1)], kinds);
        }
        drop(stream);
        eventually("the port waits", || {
            let port = self.view.snapshot();
            port.state != State::Running && port.peer.is_none()
        });
    }
}

fn send(stream: &UnixStream, bytes: &[u8], kinds: &[String]) {
    let files = descriptors(kinds);
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    wire::send(stream, bytes, &borrowed).unwrap();
}

#[test]
fn leaving_at_any_point_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let control = Control::spawn(ControlConfig::default()).unwrap();
    let ports: Vec<Port> = (0..8).map(|number| Port::new(&control, number, directory.path())).collect();
    let recordings =
        ["virtio-user-client-2.txt", "virtio-user-server-1-again.txt", "qemu-client-2.txt"].map(read);
    // Everything that is made once has been made after a whole one.
    ports[0].leave_after(&recordings[0], None);
    let mut before = Held::now();
    eventually("the first one is gone", || {
        let now = Held::now();
        std::mem::replace(&mut before, now) == before
            && vhost::memory::leaks().closing == 0
            && before.mappings == 0
    });
    let points: Vec<(&[Step], usize)> =
        recordings.iter().flat_map(|steps| (0..=steps.len()).map(move |count| (&steps[..], count))).collect();
    std::thread::scope(|scope| {
        for (number, port) in ports.iter().enumerate() {
            let points = points.iter().enumerate().skip(number).step_by(ports.len());
            scope.spawn(move || {
                for (n, &(steps, count)) in points {
                    // In turn: between two messages, in a header, after it, and in a payload.
                    let cut = [None, Some(4), Some(12), Some(15)][(n / 8) % 4];
                    port.leave_after(&steps[..count], steps.get(count).zip(cut));
                }
            });
        }
    });
    let mut now = Held::now();
    let end = Instant::now() + Duration::from_secs(10);
    while now != before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        now = Held::now();
    }
    assert_eq!(now, before);
}
