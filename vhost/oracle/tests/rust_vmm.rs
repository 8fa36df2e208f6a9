//! rust-vmm's frontend, which was written by others from the same specification, against our control thread:
//! the whole handshake with acknowledgements, frames, stop, reset, memory slots, and coming back.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::eventually;
use support::worker::Echo;
use vhost::address::GuestPhys;
use vhost::control::{Control, ControlConfig, Mode, PortKey, PortView, State, VhostPortConfig};
use vhost::driver::{Arena, ArenaRegion, Place, Receive, Shape, Transmit};
use vhost::features::Features;
use vhost::memory::MemfdKind;
use vhost::ring::RingSetup;
use vmm_sys_util::eventfd::EventFd;
use vmm_vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vmm_vhost::vhost_user::{Frontend, VhostUserFrontend};
use vmm_vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};

const WANTED: Features = Features::VERSION_1
    .union(Features::MRG_RXBUF)
    .union(Features::INDIRECT_DESC)
    .union(Features::PROTOCOL_FEATURES);

struct Switch {
    control: Control,
    echo: Echo,
    view: PortView,
}

fn switch(path: &Path, mode: Mode, pairs: u16) -> Switch {
    let config = VhostPortConfig {
        name: "p".into(),
        path: path.into(),
        mode,
        pairs,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 64 << 20,
    };
    let control = Control::spawn(ControlConfig::default()).unwrap();
    let echo = Echo::spawn();
    let view = control.add_port(PortKey(1), config, echo.owner()).unwrap();
    Switch { control, echo, view }
}

/// A guest: memory in two regions, and queue pairs in it.
struct Guest {
    arena: Arc<Arena>,
    pairs: Vec<(Receive, Transmit)>,
    calls: Vec<EventFd>,
    kicks: Vec<EventFd>,
}

impl Guest {
    fn new(pairs: u16) -> Self {
        let arena = Arena::new(MemfdKind::Plain, 16 << 20, GuestPhys(0x8000_0000)).unwrap();
        let arena = Arc::new(arena.cut_at(&[Place(12 << 20)]));
        let pair = |_| {
            let receive = Receive::new(&arena, 128, 2048, Shape::SINGLE, WANTED).unwrap();
            (receive, Transmit::new(&arena, 128, 2000, WANTED).unwrap())
        };
        let eventfds = || (0..2 * pairs).map(|_| EventFd::new(0).unwrap()).collect();
        Self { pairs: (0..pairs).map(pair).collect(), calls: eventfds(), kicks: eventfds(), arena }
    }

    fn region(&self, r: &ArenaRegion) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: r.guest.0,
            memory_size: r.len,
            userspace_addr: r.frontend.0,
            mmap_offset: r.mmap_offset,
            mmap_handle: self.arena.file().as_raw_fd(),
        }
    }

    fn regions(&self) -> Vec<VhostUserMemoryRegionInfo> {
        self.arena.regions().iter().map(|r| self.region(r)).collect()
    }

    fn setup(&self, index: usize) -> RingSetup {
        let (receive, transmit) = &self.pairs[index / 2];
        if index.is_multiple_of(2) { receive.ring().setup() } else { transmit.ring().setup() }
    }

    fn start_rings(&self, frontend: &mut Frontend) {
        for index in 0..2 * self.pairs.len() {
            let setup = self.setup(index);
            frontend.set_vring_num(index, setup.size).unwrap();
            let addresses = VringConfigData {
                queue_max_size: setup.size,
                queue_size: setup.size,
                flags: 0,
                desc_table_addr: setup.desc.0,
                used_ring_addr: setup.used.0,
                avail_ring_addr: setup.avail.0,
                log_addr: None,
            };
            frontend.set_vring_addr(index, &addresses).unwrap();
            frontend.set_vring_base(index, 0).unwrap();
            frontend.set_vring_call(index, &self.calls[index]).unwrap();
            frontend.set_vring_err(index, &EventFd::new(0).unwrap()).unwrap();
            frontend.set_vring_kick(index, &self.kicks[index]).unwrap();
            frontend.set_vring_enable(index, true).unwrap();
        }
    }

    /// Sends frames through every pair and compares what comes back; the guest is told of it.
    fn echo(&mut self, seed: u8) {
        for (n, (receive, transmit)) in self.pairs.iter_mut().enumerate() {
            receive.ring_mut().want_interrupts(true);
            let told = &self.calls[2 * n];
            let sent: Vec<u8> =
                (0..300).map(|i| seed.wrapping_add(i as u8).wrapping_mul(n as u8 + 1)).collect();
            transmit.send(&sent, Shape::HEADER_APART).unwrap();
            transmit.publish();
            let mut frame = Vec::new();
            eventually("it comes back", || receive.receive(&mut frame).is_some());
            assert_eq!(frame, sent);
            receive.publish();
            assert!(told.read().unwrap() > 0, "the guest was told");
            eventually("the buffer comes back", || transmit.reap() == 1);
        }
    }
}

/// Everything up to running rings, every message acknowledged.
fn shake_hands(stream: UnixStream, guest: &Guest) -> Frontend {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut frontend = Frontend::from_stream(stream, 2 * guest.pairs.len() as u64);
    frontend.set_owner().unwrap();
    let offered = Features::from_bits_retain(frontend.get_features().unwrap());
    assert_eq!(offered, Features::OFFERED);
    frontend.set_features(WANTED.bits()).unwrap();
    let protocol = frontend.get_protocol_features().unwrap();
    let expected = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::RARP
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::MTU
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::STATUS;
    assert_eq!(protocol, expected, "neither more nor less is offered");
    frontend.set_protocol_features(protocol).unwrap();
    frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    frontend.set_features(WANTED.bits()).unwrap();
    frontend
}

fn wait_running(view: &PortView) {
    eventually("the port runs", || {
        let port = view.snapshot();
        port.state == State::Running && port.rings.iter().all(|ring| ring.started && ring.enabled)
    });
}

fn connect(path: &Path) -> UnixStream {
    eventually("the switch listens", || path.exists());
    let mut stream = None;
    eventually("the switch accepts", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    stream.unwrap()
}

#[test]
fn handshake_frames_stop_and_again() {
    for pairs in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let switch = switch(&path, Mode::Client, pairs);
        let mut guest = Guest::new(pairs);
        for round in 0..3u8 {
            let mut frontend = shake_hands(connect(&path), &guest);
            frontend.set_mem_table(&guest.regions()).unwrap();
            guest.start_rings(&mut frontend);
            wait_running(&switch.view);
            guest.echo(round);
            for index in 0..2 * usize::from(pairs) {
                assert_eq!(
                    frontend.get_vring_base(index).unwrap(),
                    u32::from(round) + 1,
                    "one frame a round"
                );
            }
            eventually("it is seen", || switch.view.snapshot().rings.iter().all(|ring| !ring.started));
            assert_eq!(frontend.get_queue_num().unwrap(), u64::from(pairs));
            drop(frontend);
            eventually("the port waits", || switch.view.snapshot().state == State::Waiting);
        }
        let port = switch.view.snapshot();
        assert_eq!((port.faults, port.refusals, switch.echo.frames()), (0, 0, 3 * u64::from(pairs)));
    }
}

#[test]
fn the_application_makes_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut guest = Guest::new(1);
    for round in 0..3 {
        let switch = switch(&path, Mode::Server, 1);
        let mut frontend = shake_hands(listener.accept().unwrap().0, &guest);
        frontend.set_mem_table(&guest.regions()).unwrap();
        guest.start_rings(&mut frontend);
        wait_running(&switch.view);
        guest.echo(round);
        switch.control.remove_port(PortKey(1)).unwrap();
        assert!(frontend.get_features().is_err(), "the connection is closed");
    }
}

#[test]
fn memory_by_slots() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = switch(&path, Mode::Client, 1);
    let mut guest = Guest::new(1);
    let mut frontend = shake_hands(connect(&path), &guest);
    assert!(frontend.get_max_mem_slots().unwrap() >= 32);
    let regions = guest.regions();
    for region in &regions {
        frontend.add_mem_region(region).unwrap();
    }
    assert_eq!(switch.view.snapshot().guest_memory, 16 << 20);
    guest.start_rings(&mut frontend);
    wait_running(&switch.view);
    guest.echo(1);
    // A region that nothing lies in goes and comes back under running rings.
    frontend.remove_mem_region(&regions[1]).unwrap();
    assert_eq!(switch.view.snapshot().guest_memory, 12 << 20);
    guest.echo(2);
    frontend.add_mem_region(&regions[1]).unwrap();
    guest.echo(3);
    assert!(frontend.add_mem_region(&regions[1]).is_err(), "it is there already");
}

#[test]
fn a_reset_leaves_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = switch(&path, Mode::Client, 1);
    let mut guest = Guest::new(1);
    let mut frontend = shake_hands(connect(&path), &guest);
    frontend.set_mem_table(&guest.regions()).unwrap();
    guest.start_rings(&mut frontend);
    wait_running(&switch.view);
    guest.echo(1);
    frontend.reset_device().unwrap();
    eventually("rings are disabled", || switch.view.snapshot().rings.iter().all(|ring| !ring.enabled));
    frontend.set_features(WANTED.bits()).unwrap();
    frontend.set_mem_table(&guest.regions()).unwrap();
    guest.start_rings(&mut frontend);
    wait_running(&switch.view);
    guest.echo(2);
}

#[test]
fn what_must_be_refused_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = switch(&path, Mode::Client, 1);
    let guest = Guest::new(1);
    let refused = |try_it: &dyn Fn(&mut Frontend)| {
        let mut frontend = shake_hands(connect(&path), &guest);
        frontend.set_mem_table(&guest.regions()).unwrap();
        try_it(&mut frontend);
        drop(frontend);
        eventually("the port waits", || switch.view.snapshot().peer.is_none());
    };
    refused(&|f| assert!(f.set_features(Features::RING_PACKED.bits()).is_err(), "not offered"));
    for num in [0, 3, 65535] {
        refused(&|f| assert!(f.set_vring_num(0, num).is_err(), "a ring of {num} entries"));
    }
    let big = VhostUserMemoryRegionInfo { memory_size: 65 << 20, ..guest.regions()[0] };
    refused(&|f| assert!(f.set_mem_table(&[big]).is_err(), "more than the limit"));
    let same = [guest.regions()[0], guest.regions()[0]];
    refused(&|f| assert!(f.set_mem_table(&same).is_err(), "twice the same region"));
    let pipe = std::io::pipe().unwrap();
    let not_memory = VhostUserMemoryRegionInfo { mmap_handle: pipe.0.as_raw_fd(), ..guest.regions()[0] };
    refused(&|f| assert!(f.set_mem_table(&[not_memory]).is_err(), "a pipe"));
}
