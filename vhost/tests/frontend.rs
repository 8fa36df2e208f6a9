//! Our frontend against our control thread over a real socket, frames included: both modes, one and two queue
//! pairs, all shapes of rings; devices that are restarted, rings that are stopped, memory that is told again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::Path;

use support::worker::Echo;
use support::{HUGE, eventually};
use vhost::control::{Control, ControlConfig, Mode, PortKey, PortView, State, VhostPortConfig};
use vhost::driver::{DriverConfig, Frontend, FrontendError, Pair, Shape};
use vhost::fault::Fault;
use vhost::features::Features;
use vhost::memory::MemfdKind;
use vhost::owner::LinkEvent;

const KEY: PortKey = PortKey(7);

/// A switch with one port that echoes.
struct Switch {
    _control: Control,
    echo: Echo,
    view: PortView,
}

fn config(path: &Path, mode: Mode, pairs: u16) -> VhostPortConfig {
    VhostPortConfig {
        name: "p".into(),
        path: path.into(),
        mode,
        pairs,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 256 << 20,
    }
}

impl Switch {
    fn start(config: VhostPortConfig) -> Self {
        let control = Control::spawn(ControlConfig::default()).unwrap();
        let echo = Echo::spawn();
        let view = control.add_port(KEY, config, echo.owner()).unwrap();
        Self { _control: control, echo, view }
    }

    fn wait_running(&self) {
        eventually("the port runs", || {
            let port = self.view.snapshot();
            port.state == State::Running && port.rings.iter().all(|ring| ring.started && ring.enabled)
        });
    }
}

/// Sends frames of all lengths through a pair, a few at a time, and compares what comes back.
fn echo_frames(pair: &mut Pair, count: usize, indirect: bool) {
    let mut frame = Vec::new();
    for round in 0..count {
        let lengths = [60, 64, 128, 129, 1500, 60 + round % 1400, 4000];
        let sent: Vec<Vec<u8>> =
            lengths.iter().map(|len| (0..*len).map(|i| (i * 3 + round) as u8).collect()).collect();
        let shapes = [Shape::SINGLE, Shape::HEADER_APART, Shape { cuts: &[5, 7, 100], indirect: false }];
        for (frame, shape) in sent.iter().zip(shapes.iter().cycle()) {
            pair.transmit.send(frame, Shape { indirect, ..*shape }).unwrap();
        }
        pair.transmit.publish();
        for sent in &sent {
            eventually("a frame comes back", || pair.receive.receive(&mut frame).is_some());
            assert!(frame == *sent, "a frame of {} came back as one of {}", sent.len(), frame.len());
        }
        pair.receive.publish();
        eventually("all buffers come back", || {
            pair.transmit.reap();
            pair.transmit.in_flight() == 0
        });
    }
    assert_eq!(pair.receive.malformed(), 0);
}

fn echo_all(frontend: &mut Frontend, count: usize, indirect: bool) {
    frontend.pairs().iter_mut().for_each(|pair| echo_frames(pair, count, indirect));
}

fn shapes() -> Vec<DriverConfig> {
    let mut shapes = Vec::new();
    for pairs in [1, 2] {
        for (mergeable, in_order, indirect) in
            [(true, true, true), (true, false, false), (false, true, false), (false, false, true)]
        {
            let mut features = Features::VERSION_1;
            features.set(Features::MRG_RXBUF, mergeable);
            features.set(Features::IN_ORDER, in_order);
            features.set(Features::INDIRECT_DESC, indirect);
            let receive_len = if mergeable { 700 } else { 4096 };
            let receive_cuts = if indirect { vec![12, 300] } else { vec![] };
            let receive_indirect = indirect;
            let base = DriverConfig { pairs, features, receive_len, receive_cuts, ..DriverConfig::default() };
            shapes.push(DriverConfig { receive_indirect, ..base });
        }
    }
    shapes
}

#[test]
fn every_shape_of_ring_in_mode_client() {
    for shape in shapes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let indirect = shape.receive_indirect;
        let switch = Switch::start(config(&path, Mode::Client, shape.pairs));
        eventually("the switch listens", || path.exists());
        let mut frontend = Frontend::connect(&path, shape).unwrap();
        switch.wait_running();
        echo_all(&mut frontend, 20, indirect);
        drop(frontend);
        eventually("the port waits", || switch.view.snapshot().state == State::Waiting);
        assert_eq!(switch.view.snapshot().faults, 0);
        assert_eq!(switch.echo.events(), [LinkEvent::Up, LinkEvent::Down]);
    }
}

#[test]
fn every_shape_of_ring_in_mode_server_over_restarts_of_the_switch() {
    for shape in shapes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (indirect, pairs) = (shape.receive_indirect, shape.pairs);
        let mut frontend = Frontend::listen(&path, shape).unwrap();
        for _ in 0..4 {
            // A new control thread each time: nothing is known of the connection before.
            let switch = Switch::start(config(&path, Mode::Server, pairs));
            frontend.accept().unwrap();
            switch.wait_running();
            echo_all(&mut frontend, 7, indirect);
            drop(switch);
        }
    }
}

#[test]
fn frames_sent_while_nobody_is_there_are_taken_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut frontend = Frontend::listen(&path, DriverConfig::default()).unwrap();
    let first = Switch::start(config(&path, Mode::Server, 1));
    frontend.accept().unwrap();
    echo_all(&mut frontend, 3, false);
    drop(first);
    let pair = &mut frontend.pairs()[0];
    for n in 0..50u8 {
        pair.transmit.send(&[n; 100], Shape::SINGLE).unwrap();
    }
    pair.transmit.publish();
    let second = Switch::start(config(&path, Mode::Server, 1));
    frontend.accept().unwrap();
    let mut frame = Vec::new();
    for n in 0..50u8 {
        eventually("it comes", || frontend.pairs()[0].receive.receive(&mut frame).is_some());
        assert_eq!(frame, [n; 100]);
    }
    assert_eq!(second.echo.frames(), 50);
}

#[test]
fn rings_are_stopped_and_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = Switch::start(config(&path, Mode::Client, 2));
    eventually("the switch listens", || path.exists());
    let mut frontend =
        Frontend::connect(&path, DriverConfig { pairs: 2, ..DriverConfig::default() }).unwrap();
    for round in 1..=20u16 {
        switch.wait_running();
        echo_all(&mut frontend, 1, false);
        let bases = frontend.stop().unwrap();
        // Seven frames a round; on the receive rings one of them takes two buffers.
        assert_eq!(bases, [8 * round, 7 * round, 8 * round, 7 * round]);
        let port = switch.view.snapshot();
        assert!(port.rings.iter().all(|ring| !ring.started), "after the answer the device has no ring");
        frontend.start().unwrap();
    }
}

#[test]
fn memory_is_told_again_while_frames_flow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = Switch::start(config(&path, Mode::Client, 1));
    eventually("the switch listens", || path.exists());
    let mut frontend = Frontend::connect(&path, DriverConfig::default()).unwrap();
    switch.wait_running();
    for _ in 0..50 {
        echo_all(&mut frontend, 1, false);
        frontend.send_table().unwrap();
    }
    assert_eq!(switch.view.snapshot().faults, 0);
}

#[test]
fn more_memory_than_the_port_may_share_is_refused_with_both_figures() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut frontend = Frontend::listen(&path, DriverConfig::default()).unwrap();
    let switch = Switch::start(VhostPortConfig { mem_limit: 1 << 20, ..config(&path, Mode::Server, 1) });
    let refused = frontend.accept();
    assert!(matches!(refused, Err(FrontendError::Refused { .. })), "{refused:?}");
    eventually("the port says why", || switch.view.snapshot().fault == Some(Fault::MemoryLimit));
    let reason = switch.view.snapshot().reason;
    let shared = frontend.arena().len().to_string();
    assert!(reason.contains("1048576") && reason.contains(&shared), "both figures are named: {reason}");
}

fn vanish(memory: MemfdKind) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let switch = Switch::start(config(&path, Mode::Client, 1));
    eventually("the switch listens", || path.exists());
    let config = DriverConfig { memory, ring_size: 512, ..DriverConfig::default() };
    let mut frontend = Frontend::connect(&path, config.clone()).unwrap();
    switch.wait_running();
    echo_all(&mut frontend, 3, false);
    // The rings are at the front; buffers further on go.
    support::resize(&frontend.arena().file().try_clone().unwrap(), HUGE);
    let pair = &mut frontend.pairs()[0];
    let far = frontend_address(pair);
    pair.transmit.ring().raw().descriptor(0, far, 1012, 0, 0);
    let next = pair.transmit.ring().raw().published();
    pair.transmit.ring().raw().available(next, 0);
    pair.transmit.ring().raw().available_index(next.wrapping_add(1));
    eventually("the port is faulted", || switch.view.snapshot().fault == Some(Fault::MemoryVanished));
    drop(frontend);
    // The same port works again after a clean reconnect.
    let mut frontend = Frontend::connect(&path, config).unwrap();
    switch.wait_running();
    echo_all(&mut frontend, 3, false);
    assert!(switch.echo.events().contains(&LinkEvent::Faulted(Fault::MemoryVanished)));
}

/// A guest-physical address beyond the first 2 MB of a pair's memory.
fn frontend_address(pair: &Pair) -> u64 {
    let arena = pair.transmit.ring().arena();
    assert!(arena.len() > 2 * HUGE);
    arena.guest(vhost::driver::Place(arena.len() - HUGE)).0
}

#[test]
fn memory_that_vanishes_under_traffic_faults_the_port() {
    vanish(MemfdKind::Plain);
}

#[test]
fn huge_pages_that_vanish_under_traffic_fault_the_port() {
    if support::huge(8 * HUGE).is_some() {
        vanish(MemfdKind::Huge2M);
    }
}
