//! Adding, removing and ending.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use vhost::control::{
    AddPortError, Control, ControlConfig, Mode, PortChanges, PortKey, RemovePortError, SetPortError, State,
};
use vhost::message::Message;

use crate::support::*;

#[test]
fn a_removed_port_leaves_nothing() {
    let bench = Bench::new();
    for mode in [Mode::Server, Mode::Client] {
        let port = bench.port_with(Manner::Late(Duration::from_millis(50)), |config| config.mode = mode);
        let mut frontend = match mode {
            Mode::Server => port.accept(),
            Mode::Client => Frontend::connect(&port.path),
        };
        let _memory = frontend.start_on(&port);
        bench.control.remove_port(port.key).unwrap();
        assert_eq!(port.owner.running(), 0, "the port was removed before its rings were back");
        assert_eq!(port.state().state, State::Gone);
        // The application's own socket is not ours to remove.
        assert_eq!(port.path.exists(), mode == Mode::Server);
        frontend.wait_closed();
        assert_eq!(bench.control.remove_port(port.key), Err(RemovePortError::NoSuchPort(port.key)));
    }
}

#[test]
fn a_port_whose_worker_is_stuck_keeps_its_key_until_it_lets_go() {
    let let_go = Duration::from_millis(200);
    let bench = Bench::with(ControlConfig { let_go, ..Default::default() });
    let port = bench.port_with(Manner::Never, |_| {});
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let before = Instant::now();
    assert_eq!(bench.control.remove_port(port.key), Err(RemovePortError::WorkerStuck(let_go)));
    assert!(before.elapsed() < let_go + Duration::from_millis(500));
    frontend.wait_closed();
    let config = config(&port.path, Mode::Server);
    let add = || bench.control.add_port(port.key, config.clone(), Box::new(Owner::new(Manner::Prompt)));
    assert_eq!(add().unwrap_err(), AddPortError::KeyInUse(port.key));
    port.owner.set(Manner::Prompt);
    let before = Instant::now();
    while add().is_err() {
        assert!(before.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(port.owner.running(), 0);
}

#[test]
fn what_cannot_be_a_port_is_refused() {
    let bench = Bench::new();
    let add = |key: u32, path: PathBuf, pairs: u16| {
        let mut config = config(&path, Mode::Client);
        config.pairs = pairs;
        bench.control.add_port(PortKey(key), config, Box::new(Owner::new(Manner::Prompt))).map(drop)
    };
    let path = bench.dir.path().join("s");
    add(1, path.clone(), 1).unwrap();
    assert_eq!(add(1, bench.dir.path().join("t"), 1), Err(AddPortError::KeyInUse(PortKey(1))));
    let in_use = AddPortError::PathInUse { path: path.clone(), port: "s".into() };
    assert_eq!(add(2, path, 1), Err(in_use));
    assert_eq!(add(2, format!("/{}", "x".repeat(107)).into(), 1), Err(AddPortError::PathTooLong(108)));
    assert_eq!(add(2, "s".into(), 1), Err(AddPortError::PathNotAbsolute("s".into())));
    assert_eq!(add(2, bench.dir.path().join("t"), 0), Err(AddPortError::Pairs(0)));
    assert_eq!(add(2, bench.dir.path().join("t"), 17), Err(AddPortError::Pairs(17)));
    add(2, bench.dir.path().join("t"), 16).unwrap();
    let missing = SetPortError::NoSuchPort(PortKey(9));
    assert_eq!(bench.control.set_port(PortKey(9), PortChanges::default()), Err(missing));
}

#[test]
fn the_mtu_limit_changes_without_a_reconnect() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| config.mtu = Some(1500));
    let mut frontend = port.accept();
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    assert_eq!(frontend.ack(&Message::NetSetMtu(9000)), 1);
    bench.control.set_port(port.key, PortChanges { mtu: Some(Some(9000)), mem_limit: None }).unwrap();
    assert_eq!(frontend.ack(&Message::NetSetMtu(9000)), 0);
    assert_eq!(port.state().connections, 1);
}

#[test]
fn the_end_of_the_control_thread_is_bounded_and_cleans_up() {
    let let_go = Duration::from_millis(300);
    let Bench { control, dir } = Bench::with(ControlConfig { let_go, ..Default::default() });
    let bench = Bench { control: control.clone(), dir };
    let port = bench.port_with(Manner::Prompt, |config| config.mode = Mode::Client);
    let stuck = bench.port_with(Manner::Never, |_| {});
    let mut frontend = Frontend::connect(&port.path);
    let _memory = frontend.start_on(&port);
    let mut another = stuck.accept();
    let _memory = another.start_on(&stuck);
    let Bench { control: last, dir } = bench;
    drop(control);
    let before = Instant::now();
    drop::<Control>(last);
    assert!(before.elapsed() < let_go + Duration::from_secs(1));
    assert!(!port.path.exists());
    frontend.wait_closed();
    another.wait_closed();
    drop(dir);
}
