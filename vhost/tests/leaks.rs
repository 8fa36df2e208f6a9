//! A frontend that leaves at any point of any recorded handshake leaves nothing behind: no descriptor, no mapping,
//! no thread. One test, since it counts what the whole process has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::eventually;
use support::recording::{Step, descriptors, read};
use support::worker::Echo;
use vhost::control::{Control, ControlConfig, Mode, PortKey, State, VhostPortConfig};
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

#[test]
fn leaving_at_any_point_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let control = Control::spawn(ControlConfig::default()).unwrap();
    let echo = Echo::spawn();
    let config = VhostPortConfig {
        name: "p".into(),
        path: path.clone(),
        mode: Mode::Client,
        pairs: 2,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 1 << 30,
    };
    let view = control.add_port(PortKey(1), config, echo.owner()).unwrap();
    eventually("the switch listens", || path.exists());
    let leave_after = |recording: &str, count: usize, cut: Option<usize>| {
        let connections = view.snapshot().connections;
        let stream = UnixStream::connect(&path).unwrap();
        eventually("it is accepted", || view.snapshot().connections > connections);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for step in read(recording).into_iter().take(count) {
            match step {
                Step::Send { bytes, kinds } => {
                    let files = descriptors(&kinds);
                    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
                    wire::send(&stream, &bytes, &borrowed).unwrap();
                }
                Step::Expect(bytes) => {
                    assert!(wire::receive(&stream, &mut vec![0; bytes.len()], &mut Vec::new()).unwrap());
                }
                Step::Close => {}
            }
        }
        // In the middle of the next message, with its descriptors.
        if let (Some(cut), Some(Step::Send { bytes, kinds })) = (cut, read(recording).into_iter().nth(count))
        {
            let files = descriptors(&kinds);
            let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            wire::send(&stream, &bytes[..cut.min(bytes.len() - 1)], &borrowed).unwrap();
        }
        drop(stream);
        eventually("the port waits", || {
            view.snapshot().state != State::Running && view.snapshot().peer.is_none()
        });
    };
    // Everything that is made once has been made after a whole one.
    leave_after("virtio-user-client-2.txt", usize::MAX, None);
    let mut before = Held::now();
    eventually("the first one is gone", || {
        let now = Held::now();
        std::mem::replace(&mut before, now) == before
            && vhost::memory::leaks().closing == 0
            && before.mappings == 0
    });
    for recording in ["virtio-user-client-2.txt", "virtio-user-server-1-again.txt", "qemu-client-2.txt"] {
        for count in 0..=read(recording).len() {
            for cut in [None, Some(4), Some(12), Some(15)] {
                leave_after(recording, count, cut);
            }
        }
        let mut now = Held::now();
        eventually("nothing is left", || {
            now = Held::now();
            now == before
        });
    }
    drop(control);
}
