//! One tenant lies or takes its memory away, again and again; two others on the same worker exchange frames
//! meanwhile and lose none. EAL starts once in a process, so this binary is one test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dataplane::Dataplane;
use dataplane::ids::{CoreId, MacAddr, NetworkId, PortId};
use dataplane::report::PortState;
use dataplane::spec::{Config, DeviceSpec, Idle, PortSettings, PortSpec, SocketMode};
use vhost::driver::{DriverConfig, Frontend, Place, Shape};
use vhost::fault::Fault;
use vhost::features::Features;

const PLAIN: Shape<'static> = Shape { cuts: &[], indirect: false };
const PATIENCE: Duration = Duration::from_secs(30);
/// The rings lie in the first 2 MB of a guest's memory.
const RINGS: u64 = 2 << 20;

/// What it is, the fault that must be named, and how it is done.
type Harm = (&'static str, Fault, fn(&Frontend, &Attack));

/// Ways to harm.
const ATTACKS: [Harm; 5] = [
    ("memory that shrinks", Fault::MemoryVanished, |frontend, attack| {
        let far = frontend.arena().guest(Place(frontend.arena().len() - RINGS)).0;
        std::fs::File::from(frontend.arena().file().try_clone().unwrap()).set_len(RINGS).unwrap();
        attack.one_descriptor(frontend, far, 1012, 0);
    }),
    ("an index that jumps", Fault::AvailIndexJumped, |frontend, attack| {
        attack.publish(frontend, 20_000);
    }),
    ("a descriptor beyond the memory", Fault::AddressOutOfRange, |frontend, attack| {
        attack.one_descriptor(frontend, u64::MAX - 100, 1012, 0);
    }),
    ("a chain that loops", Fault::ChainTooLong, |frontend, attack| {
        attack.one_descriptor(frontend, frontend.arena().guest(Place(0)).0, 0, 1);
    }),
    ("an indirect table in an indirect table's place", Fault::IndirectInvalid, |frontend, attack| {
        attack.one_descriptor(frontend, frontend.arena().guest(Place(0)).0, 17, 4);
    }),
];

/// Where the attacker's transmit ring stands.
struct Attack {
    next: u16,
}

impl Attack {
    fn publish(&self, frontend: &Frontend, ahead: u16) {
        frontend.transmit(0).ring().raw().available_index(self.next.wrapping_add(ahead));
    }

    fn one_descriptor(&self, frontend: &Frontend, addr: u64, len: u32, flags: u16) {
        let raw = frontend.transmit(0).ring().raw();
        raw.descriptor(0, addr, len, flags, 0);
        raw.available(self.next, 0);
        self.publish(frontend, 1);
    }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn add(switch: &Dataplane, network: NetworkId, path: &Path, n: u8) -> PortId {
    let device = DeviceSpec::VhostUser {
        path: path.to_path_buf(),
        mode: SocketMode::Server,
        features_off: Features::empty(),
    };
    let settings = PortSettings { mac: Some(mac(n)), ..PortSettings::default() };
    switch.add_port(PortSpec { name: format!("port{n}"), network, device, queues: 1, settings }).unwrap()
}

/// The application's side of a port: makes the socket anew and waits until frames can flow.
fn application(path: &Path) -> Frontend {
    let _ = std::fs::remove_file(path);
    let config = DriverConfig { ring_size: 256, timeout: PATIENCE, ..DriverConfig::default() };
    let mut frontend = Frontend::listen(path, config).unwrap();
    frontend.accept().unwrap();
    frontend
}

/// Two peaceful guests and what they have exchanged.
struct Neighbours {
    ends: [Frontend; 2],
    sent: u64,
    received: u64,
    buffer: Vec<u8>,
}

impl Neighbours {
    /// Sends some frames each way, never more than there are buffers.
    fn send(&mut self) {
        for from in 0..2 {
            if self.sent - self.received > 200 {
                return;
            }
            let (to, own) = (mac(2 - from as u8).0, mac(1 + from as u8).0);
            let frame: Vec<u8> = to.into_iter().chain(own).chain([7; 200]).collect();
            let transmit = &mut self.ends[from].pairs()[0].transmit;
            self.sent += (0..16).filter(|_| transmit.send(&frame, PLAIN).is_ok()).count() as u64;
            transmit.publish();
        }
    }

    /// Takes what has come.
    fn receive(&mut self) {
        for end in &mut self.ends {
            let receive = &mut end.pairs()[0].receive;
            while receive.receive(&mut self.buffer).is_some() {
                assert_eq!(self.buffer.len(), 212);
                self.received += 1;
            }
            receive.publish();
        }
    }

    /// Waits until everything that was sent has come.
    fn settle(&mut self) {
        let start = Instant::now();
        while self.received < self.sent {
            self.receive();
            assert!(start.elapsed() < PATIENCE, "{} of {} frames came", self.received, self.sent);
        }
    }

    /// Exchanges frames until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            self.send();
            self.receive();
            assert!(start.elapsed() < PATIENCE, "{what}");
        }
    }
}

#[test]
fn a_hostile_tenant_harms_only_itself() {
    let cores: Vec<u32> =
        (0..64).filter(|c| Path::new(&format!("/sys/devices/system/cpu/cpu{c}")).exists()).collect();
    let switch = Dataplane::start(Config {
        workers: vec![CoreId(*cores.last().unwrap())],
        idle: Idle::Adaptive(Duration::from_micros(50)),
        two_copies: false,
        hugepages: false,
        dpdk_memory: 64,
        mac_ageing: Duration::from_secs(300),
        mac_table_size: 1024,
        mac_quota: 256,
    })
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |n: u8| -> PathBuf { directory.path().join(n.to_string()) };
    let network = switch.add_network("n");
    let ports: Vec<PortId> = (1..=3).map(|n| add(&switch, network, &path(n), n)).collect();
    let mut neighbours = Neighbours {
        ends: [application(&path(1)), application(&path(2))],
        sent: 0,
        received: 0,
        buffer: Vec::new(),
    };
    let state = |id: PortId| switch.port(id).unwrap().state;
    neighbours.until("the neighbours run", || ports[..2].iter().all(|p| state(*p) == PortState::Running));

    for round in 0..2 {
        for (what, fault, harm) in ATTACKS {
            let mut attacker = application(&path(3));
            neighbours.until("the attacker runs", || state(ports[2]) == PortState::Running);
            // It is an honest pod at first.
            let frame: Vec<u8> = mac(1).0.into_iter().chain(mac(3).0).chain([7; 200]).collect();
            attacker.pairs()[0].transmit.send(&frame, PLAIN).unwrap();
            attacker.pairs()[0].transmit.publish();
            neighbours.sent += 1;
            neighbours.until("the attacker's honest frame", || attacker.pairs()[0].transmit.reap() == 1);
            neighbours.settle();
            let faults = switch.port(ports[2]).unwrap().faults;
            let next = attacker.transmit(0).ring().raw().published();
            harm(&attacker, &Attack { next });
            neighbours.until(what, || switch.port(ports[2]).unwrap().faults > faults);
            let reason = switch.port(ports[2]).unwrap().reason;
            assert!(reason.contains(fault.text()), "{what}, round {round}: {reason}");
        }
    }
    neighbours.settle();
    for port in &ports[..2] {
        assert_eq!(switch.counters(*port).unwrap().drops, [], "not one frame was lost");
    }
    assert!(neighbours.sent > 1000);
    switch.shutdown();
}
