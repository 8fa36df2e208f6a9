//! Orders in which frontends really speak, and the answers they need.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use vhost::control::{NotRunning, State};
use vhost::fault::Fault;
use vhost::features::{Features, ProtocolFeatures};
use vhost::message::{Header, Message, Request, VringFd};
use vhost::owner::LinkEvent;

use crate::support::*;

#[test]
fn a_start_in_virtio_users_order_runs() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start();
    let state = port.wait_for(State::Running);
    assert_eq!(state.features, negotiated());
    assert_eq!(state.protocol, protocol());
    assert_eq!(state.guest_memory, MEMORY);
    assert!(state.rings.iter().all(|r| r.started && r.enabled && r.size == 256 && r.why_not.is_none()));
    assert_eq!(state.connections, 1);
    assert_eq!(state.fault, None);
    assert_eq!(state.reason, "");
    assert_eq!(state.peer.unwrap().pid, std::process::id() as i32);
    assert!(state.connected_since.is_some());
    assert_eq!(port.owner.running(), 2);
    assert_eq!(port.owner.events(), [LinkEvent::Up]);
}

#[test]
fn a_stop_gives_rings_back_before_its_answer() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    frontend.send(&Message::SetVringEnable(state(0, 0)));
    assert_eq!(frontend.base(0), 0);
    assert_eq!(port.owner.running(), 1);
    assert_eq!(port.state().state, State::Running);
    assert_eq!(frontend.base(1), 0);
    assert_eq!(port.owner.running(), 0);
    let seen = port.wait_for(State::Paused);
    assert_eq!(seen.rings[0].why_not, Some(NotRunning::NotStarted));
    // The enable state is remembered while a ring is stopped.
    assert!(!seen.rings[0].enabled);
    assert!(seen.rings[1].enabled);
    // A second time, and of rings that do not run, it is answered, too.
    assert_eq!(frontend.base(1), 0);
    let kick = event();
    frontend.send_with(&Message::SetVringKick(vring(1)), NO_ACK, &[kick.as_fd()]);
    port.wait_for(State::Running);
    assert_eq!(port.owner.events(), [LinkEvent::Up, LinkEvent::Down, LinkEvent::Up]);
}

#[test]
fn stop_messages_come_first_on_a_reconnect() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| config.pairs = 2);
    let mut frontend = port.accept();
    for index in 0..4 {
        frontend.send(&Message::SetVringEnable(state(index, 0)));
    }
    for index in 0..4 {
        assert_eq!(frontend.base(index), 0);
    }
    assert_ne!(frontend.number(&Message::GetFeatures), 0);
    assert_eq!(port.state().state, State::Connected);
}

#[test]
fn rings_are_enabled_before_features_are_set() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    assert_eq!(frontend.ack(&Message::SetVringEnable(state(0, 1))), 0);
    assert_eq!(frontend.ack(&Message::SetVringEnable(state(1, 1))), 0);
    frontend.send(&Message::SetFeatures(negotiated().bits()));
    let seen = port.wait_for(State::Negotiated);
    assert!(seen.rings.iter().all(|r| r.enabled));
}

#[test]
fn without_protocol_features_all_rings_are_enabled() {
    let bench = Bench::new();
    let port = bench.port();
    let frontend = port.accept();
    frontend.send(&Message::SetFeatures(Features::VERSION_1.bits()));
    let seen = port.wait_for(State::Negotiated);
    assert!(seen.rings.iter().all(|r| r.enabled && !r.started));
}

#[test]
fn a_ring_starts_when_the_last_thing_it_needs_is_there() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let memory = vhost::memory::memfd(vhost::memory::MemfdKind::Plain, MEMORY).unwrap();
    // A poll-mode frontend gives no kick descriptor.
    frontend.send(&Message::SetVringKick(VringFd { index: 0, has_fd: false }));
    let why = |reason| port.wait(&format!("{reason}"), |s| s.rings[0].why_not == Some(reason));
    why(NotRunning::NoFeatures);
    frontend.send(&Message::SetFeatures(negotiated().bits()));
    why(NotRunning::NoSize);
    frontend.send(&Message::SetVringNum(state(0, 256)));
    why(NotRunning::NoAddress);
    frontend.send(&Message::SetVringAddr(addr(0)));
    why(NotRunning::NoMemory);
    assert_eq!(frontend.ack_with(&table(MEMORY), &[memory.as_fd()]), 0);
    let seen = port.wait_for(State::Running);
    assert!(seen.rings[0].started && !seen.rings[1].started);
    assert_eq!(seen.rings[1].why_not, Some(NotRunning::NotStarted));
}

#[test]
fn a_ring_outside_the_memory_stays_stopped_and_says_so() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    for (at, what) in
        [(FRONTEND + MEMORY - 16, "straddles the end"), (0, "outside"), (FRONTEND + 8, "unaligned")]
    {
        let mut moved = addr(0);
        moved.desc = at;
        frontend.send(&Message::SetVringAddr(moved));
        let invalid = Some(NotRunning::Invalid(Fault::RingInvalid));
        port.wait(what, |s| s.rings[0].why_not == invalid);
        frontend.send(&Message::SetVringAddr(addr(0)));
        port.wait("the ring again", |s| s.rings[0].started);
    }
}

#[test]
fn features_may_be_set_again_and_again() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let starts = port.owner.starts();
    for _ in 0..3 {
        assert_eq!(frontend.ack(&Message::SetFeatures(negotiated().bits())), 0);
    }
    assert_eq!(port.owner.starts(), starts, "the same features restart nothing");
    // Other features change the shape of rings: they are built again.
    let fewer = negotiated() - Features::MRG_RXBUF;
    assert_eq!(frontend.ack(&Message::SetFeatures(fewer.bits())), 0);
    assert_eq!(port.owner.starts(), starts + 2);
    let seen = port.state();
    assert_eq!((seen.state, seen.features), (State::Running, fewer));
    assert_eq!(port.owner.events(), [LinkEvent::Up]);
}

#[test]
fn questions_are_answered() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| {
        config.pairs = 3;
        config.features = Features::OFFERED - Features::MRG_RXBUF - Features::PROTOCOL_FEATURES;
        config.mtu = Some(9000);
    });
    let mut frontend = port.accept();
    let offered = Features::OFFERED - Features::MRG_RXBUF;
    assert_eq!(frontend.number(&Message::GetFeatures), offered.bits());
    assert_eq!(frontend.number(&Message::GetFeatures), offered.bits());
    assert_eq!(frontend.number(&Message::GetProtocolFeatures), ProtocolFeatures::OFFERED.bits());
    assert_eq!(frontend.number(&Message::GetQueueNum), 3);
    assert_eq!(frontend.number(&Message::GetMaxMemSlots), 509);
    assert_eq!(frontend.number(&Message::GetStatus), 0);
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    assert_eq!(frontend.ack(&Message::SetStatus(0xb)), 0);
    assert_eq!(frontend.number(&Message::GetStatus), 0xb);
    assert_eq!(frontend.ack(&Message::NetSetMtu(9000)), 0);
    assert_eq!(port.state().guest_mtu, Some(9000));
    for mtu in [0, 67, 9001, 65_536, 1 << 63] {
        assert_eq!(frontend.ack(&Message::NetSetMtu(mtu)), 1, "MTU {mtu}");
    }
    let mac = [2, 0, 0, 0, 0, 9];
    assert_eq!(frontend.ack(&Message::SendRarp(mac)), 0);
    assert_eq!(port.owner.events(), [LinkEvent::Announce(mac)]);
    for _ in 0..100 {
        assert_eq!(frontend.ack(&Message::SendRarp(mac)), 0);
    }
    assert!(port.owner.events().len() < 20, "announcements are bounded");
    assert_eq!(frontend.ack(&Message::ResetOwner), 0);
    let (log, error) = (event(), event());
    assert_eq!(frontend.ack_with(&Message::SetLogFd, &[log.as_fd()]), 0);
    assert_eq!(frontend.ack_with(&Message::SetVringErr(vring(0)), &[error.as_fd()]), 0);
}

#[test]
fn a_reset_stops_and_disables_all_and_keeps_the_connection() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    assert_eq!(frontend.ack(&Message::ResetDevice), 0);
    assert_eq!(port.owner.running(), 0);
    let seen = port.wait_for(State::Paused);
    assert!(seen.rings.iter().all(|r| !r.enabled && !r.started && r.size == 0));
    assert_eq!(seen.features, Features::empty());
    assert_eq!(seen.protocol, protocol());
    // A frontend does not send its memory again after this.
    assert_eq!(seen.guest_memory, MEMORY);
    let _memory = frontend.start_on(&port);
}

#[test]
fn status_zero_stops_all_rings() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    assert_eq!(frontend.ack(&Message::SetStatus(0)), 0);
    assert_eq!(port.owner.running(), 0);
    assert_eq!(frontend.number(&Message::GetStatus), 0);
    assert_eq!(frontend.ack(&Message::SetStatus(0x100)), 1);
}

#[test]
fn unknown_requests_are_refused_or_ignored() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    for code in [0, 45, 255, 1 << 31, u32::MAX] {
        frontend.send_bytes(&Header::request(code, false, 0).to_bytes(), &[]).unwrap();
        frontend.send_bytes(&Header::request(code, true, 0).to_bytes(), &[]).unwrap();
        let mut reply = [0; 20];
        std::io::Read::read_exact(&mut frontend.0, &mut reply).unwrap();
        assert_eq!(reply[..4], code.to_ne_bytes());
        assert_eq!(reply[12..], 1u64.to_ne_bytes());
    }
    assert_ne!(frontend.number(&Message::GetFeatures), 0);
}

#[test]
fn requests_that_were_not_offered_are_never_half_handled() {
    let bench = Bench::new();
    for request in
        [Request::SetBackendReqFd, Request::IotlbMsg, Request::PostcopyListen, Request::SetVringEndian]
    {
        let port = bench.port();
        let mut frontend = port.accept();
        frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
        frontend.send_bytes(&Header::request(request as u32, true, 0).to_bytes(), &[]).unwrap();
        assert_eq!(frontend.reply().unwrap().body, vhost::message::ReplyBody::Number(1));
        frontend.send_bytes(&Header::request(request as u32, false, 0).to_bytes(), &[]).unwrap();
        frontend.wait_closed();
        port.wait("the fault", |s| s.fault == Some(Fault::ProtocolViolation));
    }
    // These have an answer of their own, which we do not have: there is nothing to go on with.
    for request in [Request::GetConfig, Request::GetInflightFd, Request::PostcopyAdvise, Request::SetLogBase]
    {
        let port = bench.port();
        let mut frontend = port.accept();
        frontend.send_bytes(&Header::request(request as u32, true, 0).to_bytes(), &[]).unwrap();
        frontend.wait_closed();
        port.wait("the fault", |s| s.fault == Some(Fault::ProtocolViolation));
    }
}

#[test]
fn acknowledgements_are_for_those_who_negotiated_them() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    // Before it negotiates anew, a frontend may still go by what it had agreed on its last connection.
    assert_eq!(frontend.ack(&Message::SetStatus(0)), 0);
    frontend.send(&Message::SetProtocolFeatures(ProtocolFeatures::MQ.bits()));
    frontend.send_with(&Message::SetOwner, ACK, &[]);
    assert_ne!(frontend.number(&Message::GetFeatures), 0, "the acknowledgement would have come first");
}

#[test]
fn an_answer_waits_for_a_late_worker_and_other_ports_do_not() {
    let bench = Bench::new();
    let (port, other) = (bench.port(), bench.port());
    let (mut frontend, mut another) = (port.accept(), other.accept());
    let _memory = frontend.start_on(&port);
    let late = Duration::from_millis(300);
    port.owner.set(Manner::Late(late));
    let before = Instant::now();
    frontend.send(&Message::GetVringBase(state(0, 0)));
    // What follows waits its turn.
    frontend.send(&Message::GetFeatures);
    while before.elapsed() < late - Duration::from_millis(50) {
        other.assert_prompt(&mut another);
    }
    assert_eq!(frontend.reply().unwrap().request, Request::GetVringBase as u32);
    assert!(before.elapsed() >= late, "the answer came while a worker had the ring");
    assert_eq!(frontend.reply().unwrap().request, Request::GetFeatures as u32);
}

#[test]
fn a_worker_that_never_lets_go_ends_the_session_without_an_answer() {
    let bench = Bench::with(vhost::control::ControlConfig {
        let_go: Duration::from_millis(300),
        ..Default::default()
    });
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    port.owner.set(Manner::Never);
    let before = Instant::now();
    frontend.send(&Message::GetVringBase(state(1, 0)));
    assert_eq!(frontend.reply(), None);
    assert!(before.elapsed() >= Duration::from_millis(300));
    let seen = port.wait_for(State::Faulted(Fault::WorkerStuck));
    assert_eq!(seen.rings[1].why_not, Some(NotRunning::Stopping));
    // The memory is still mapped: a worker may be writing to it.
    {
        let owner = port.owner.0.lock().unwrap();
        assert!(owner.running.contains_key(&1));
        assert!(owner.events.contains(&LinkEvent::Faulted(Fault::WorkerStuck)));
    }
    // No new connection before the rings are back; then all is well again.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(port.state().connections, 1);
    port.owner.set(Manner::Prompt);
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    assert_eq!(port.state().connections, 2);
}

#[test]
fn a_worker_that_keeps_rings_of_a_dead_connection_is_named() {
    let bench = Bench::with(vhost::control::ControlConfig {
        let_go: Duration::from_millis(200),
        ..Default::default()
    });
    let port = bench.port_with(Manner::Never, |_| {});
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    drop(frontend);
    port.wait("the end of the connection", |s| s.transitions.waiting == 1);
    port.wait_for(State::Faulted(Fault::WorkerStuck));
    port.owner.set(Manner::Prompt);
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
}

#[test]
fn a_fault_that_a_worker_finds_ends_the_connection_and_the_next_one_is_sound() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    port.owner.0.lock().unwrap().running.get_mut(&1).unwrap().fail(Fault::HeadOutOfRange);
    frontend.wait_closed();
    let seen = port.wait_for(State::Faulted(Fault::HeadOutOfRange));
    assert_eq!((seen.fault, seen.faults), (Some(Fault::HeadOutOfRange), 1));
    assert_eq!(seen.reason, Fault::HeadOutOfRange.text());
    assert_eq!(
        port.owner.events(),
        [LinkEvent::Up, LinkEvent::Down, LinkEvent::Faulted(Fault::HeadOutOfRange)]
    );
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    assert_eq!(port.state().fault, None);
}

#[test]
fn a_call_descriptor_that_changes_while_a_ring_runs_is_signalled() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let call = event();
    for _ in 0..10 {
        assert_eq!(frontend.ack_with(&Message::SetVringCall(vring(0)), &[call.as_fd()]), 0);
        let before = Instant::now();
        while rustix::io::read(&call, &mut [0; 8]).is_err() {
            assert!(before.elapsed() < SOON, "the guest was not notified");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}
