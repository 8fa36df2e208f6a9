//! Sockets that come late, go stale, are replaced, or are not what they seem; both modes.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use vhost::control::{Mode, PortKey, State};
use vhost::fault::Fault;
use vhost::message::{Header, Message};
use vhost::owner::LinkEvent;

use crate::support::*;

/// A new socket must be connected within this (a loaded machine is given three times the promise).
const CONNECTED: Duration = Duration::from_millis(300);

fn accepted_within(listener: &UnixListener, within: Duration) -> Frontend {
    listener.set_nonblocking(true).unwrap();
    let before = Instant::now();
    loop {
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(false).unwrap();
            return Frontend::new(socket);
        }
        assert!(before.elapsed() < within, "no connection within {within:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_socket_that_comes_late_is_connected_soon() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("later");
    let path = dir.join("s");
    let owner = Owner::new(Manner::Prompt);
    let view = bench.control.add_port(PortKey(1000), config(&path, Mode::Server), Box::new(owner)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(view.snapshot().state, State::Waiting);
    assert!(view.snapshot().reason.contains("does not exist"), "{}", view.snapshot().reason);
    // The directory is there first, then the socket, at once or after a while.
    for pause in [0, 0, 300] {
        std::fs::create_dir(&dir).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let listener = UnixListener::bind(&path).unwrap();
        let mut frontend = accepted_within(&listener, CONNECTED);
        frontend.number(&Message::GetFeatures);
        drop((frontend, listener));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_crashed_application_can_bind_its_socket_again() {
    let bench = Bench::new();
    let path = bench.dir.path().join("s");
    let owner = Owner::new(Manner::Prompt);
    let mut listener = UnixListener::bind(&path).unwrap();
    let view = bench.control.add_port(PortKey(1001), config(&path, Mode::Server), Box::new(owner)).unwrap();
    for round in 1..=20 {
        let mut frontend = accepted_within(&listener, SOON);
        frontend.number(&Message::GetFeatures);
        // A crash: both descriptors go, the file stays.
        drop((frontend, listener));
        let before = Instant::now();
        listener = loop {
            match UnixListener::bind(&path) {
                Ok(listener) => break listener,
                Err(_) => assert!(before.elapsed() < CONNECTED, "round {round}: the name is still taken"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let before = Instant::now();
        while view.snapshot().stale_removed != round {
            assert!(before.elapsed() < SOON, "{:#?}", view.snapshot());
        }
    }
}

#[test]
fn a_stale_socket_that_we_were_never_connected_to_stays() {
    let bench = Bench::new();
    let path = bench.dir.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let owner = Owner::new(Manner::Prompt);
    let view = bench.control.add_port(PortKey(1002), config(&path, Mode::Server), Box::new(owner)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(path.exists());
    assert!(view.snapshot().reason.contains("nobody listens"), "{}", view.snapshot().reason);
}

#[test]
fn a_link_or_another_file_is_not_connected() {
    let bench = Bench::new();
    let (real, path) = (bench.dir.path().join("real"), bench.dir.path().join("s"));
    let victim = UnixListener::bind(&real).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let owner = Owner::new(Manner::Prompt);
    let view = bench.control.add_port(PortKey(1003), config(&path, Mode::Server), Box::new(owner)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    victim.set_nonblocking(true).unwrap();
    assert!(victim.accept().is_err(), "the link was followed");
    assert!(view.snapshot().reason.contains("not a socket"), "{}", view.snapshot().reason);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    accepted_within(&listener, CONNECTED).number(&Message::GetFeatures);
}

#[test]
fn a_busy_directory_and_a_full_backlog_hold_up_nobody() {
    let bench = Bench::new();
    let other = bench.port();
    let mut another = other.accept();
    let busy = UnixListener::bind(bench.dir.path().join("busy")).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let _fills = UnixStream::connect(bench.dir.path().join("busy")).unwrap();
    for (key, name) in [(1010, "busy"), (1011, "missing")] {
        let owner = Owner::new(Manner::Prompt);
        let config = config(&bench.dir.path().join(name), Mode::Server);
        bench.control.add_port(PortKey(key), config, Box::new(owner)).unwrap();
    }
    let before = Instant::now();
    let mut n = 0;
    while before.elapsed() < Duration::from_millis(500) {
        n += 1;
        std::fs::write(bench.dir.path().join("missing.tmp"), "").unwrap();
        std::fs::rename(bench.dir.path().join("missing.tmp"), bench.dir.path().join("missing")).unwrap();
        if n % 50 == 0 {
            other.assert_prompt(&mut another);
        }
    }
}

#[test]
fn rings_come_back_when_the_peer_leaves_and_the_next_one_runs() {
    let bench = Bench::new();
    let port = bench.port();
    for round in 1..=10 {
        let mut frontend = port.accept();
        let _memory = frontend.start_on(&port);
        drop(frontend);
        // The next connection may have been made already.
        let seen = port.wait("the connection to end", |s| s.transitions.waiting == round);
        assert_eq!(seen.faults, 0, "to leave is no fault");
        assert_eq!(port.owner.running(), 0);
    }
    let ups = port.owner.events().iter().filter(|e| **e == LinkEvent::Up).count();
    assert_eq!(ups, 10);
}

#[test]
fn a_faulted_port_tries_again_after_a_pause() {
    let bench = Bench::new();
    let port = bench.port();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let mut frontend = port.accept();
        frontend.send_bytes(&Header { request: 1, flags: 0, size: 0 }.to_bytes(), &[]).unwrap();
        frontend.wait_closed();
        let before = Instant::now();
        drop(port.accept());
        pauses.push(before.elapsed());
    }
    assert!(pauses[0] >= Duration::from_millis(90), "{pauses:?}");
    assert!(pauses[3] >= Duration::from_millis(500), "{pauses:?}");
    let events = port.owner.events();
    assert!(events.contains(&LinkEvent::Faulted(Fault::ProtocolViolation)), "{events:?}");
}

#[test]
fn in_mode_client_one_connection_lives_and_the_next_may_follow() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| config.mode = Mode::Client);
    let mut frontend = Frontend::connect(&port.path);
    let _memory = frontend.start_on(&port);
    for _ in 0..3 {
        let mut second = Frontend::connect(&port.path);
        assert_eq!(second.reply(), None, "a second connection lives");
    }
    assert_ne!(frontend.number(&Message::GetFeatures), 0);
    // The application restarts: its end and its new connection may be seen at the same moment, and it may have died
    // before it was accepted.
    for round in 0..40 {
        drop(frontend);
        if round % 2 == 0 {
            drop(Frontend::connect(&port.path));
        }
        frontend = Frontend::connect(&port.path);
        assert_ne!(frontend.number(&Message::GetFeatures), 0);
    }
    let _memory = frontend.start_on(&port);
}

#[test]
fn in_mode_client_a_storm_of_connections_holds_up_nobody() {
    let bench = Bench::new();
    let other = bench.port();
    let mut another = other.accept();
    let port = bench.port_with(Manner::Prompt, |config| config.mode = Mode::Client);
    let mut frontend = Frontend::connect(&port.path);
    let before = Instant::now();
    while before.elapsed() < Duration::from_millis(500) {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let _ = rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(&port.path).unwrap());
        other.assert_prompt(&mut another);
        port.assert_prompt(&mut frontend);
    }
}

#[test]
fn in_mode_client_a_removed_socket_is_made_again() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| config.mode = Mode::Client);
    drop(Frontend::connect(&port.path));
    std::fs::remove_file(&port.path).unwrap();
    let mut frontend = Frontend::connect(&port.path);
    assert_ne!(frontend.number(&Message::GetFeatures), 0);
}

#[test]
fn in_mode_client_a_dead_switchs_socket_is_replaced_and_a_living_ones_is_not() {
    let bench = Bench::new();
    let path = bench.dir.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let owner = Owner::new(Manner::Prompt);
    bench.control.add_port(PortKey(1020), config(&path, Mode::Client), Box::new(owner)).unwrap();
    Frontend::connect(&path).number(&Message::GetFeatures);
    let living = UnixListener::bind(bench.dir.path().join("living")).unwrap();
    let path = bench.dir.path().join("living");
    let owner = Owner::new(Manner::Prompt);
    let view = bench.control.add_port(PortKey(1021), config(&path, Mode::Client), Box::new(owner)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(view.snapshot().reason.contains("in use"), "{}", view.snapshot().reason);
    drop(living);
    Frontend::connect(&path).number(&Message::GetFeatures);
}
