//! Frontends that lie, stall, flood, and hand over descriptors that block.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use vhost::control::{ControlConfig, State};
use vhost::fault::Fault;
use vhost::features::Features;
use vhost::message::{Header, MAX_PAYLOAD, Message, Request, VringFd};

use crate::support::*;

/// Messages that are wrong in one field.
fn wrong() -> Vec<(&'static str, Message)> {
    let mut addr_beyond = addr(2);
    addr_beyond.index = 0x1_0000;
    vec![
        ("ring beyond the port's", Message::SetVringNum(state(2, 256))),
        ("ring cut to 16 bits", Message::SetVringNum(state(0x1_0000, 256))),
        ("ring cut to 8 bits", Message::SetVringEnable(state(0x100, 1))),
        ("ring all ones", Message::SetVringBase(state(u32::MAX, 0))),
        ("ring of a kick", Message::SetVringKick(VringFd { index: 255, has_fd: false })),
        ("ring of a call", Message::SetVringCall(VringFd { index: 2, has_fd: false })),
        ("ring of addresses", Message::SetVringAddr(addr_beyond)),
        ("size 0", Message::SetVringNum(state(0, 0))),
        ("size 3", Message::SetVringNum(state(0, 3))),
        ("size 65535", Message::SetVringNum(state(0, 65_535))),
        ("size 65536", Message::SetVringNum(state(0, 65_536))),
        ("size 2^31", Message::SetVringNum(state(0, 1 << 31))),
        ("base beyond 16 bits", Message::SetVringBase(state(0, 0x1_0000))),
        ("features not offered", Message::SetFeatures((Features::VERSION_1 | Features::RING_PACKED).bits())),
        ("features unknown", Message::SetFeatures(1 << 63)),
        ("protocol features unknown", Message::SetProtocolFeatures(1 << 5)),
        ("a table without descriptors", table(MEMORY)),
        ("a kick without its descriptor", Message::SetVringKick(vring(0))),
    ]
}

#[test]
fn wrong_messages_are_refused_with_an_acknowledgement() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    for (what, message) in wrong() {
        assert_eq!(frontend.ack(&message), 1, "{what}");
        assert_ne!(port.state().reason, "", "{what}");
    }
    assert_eq!(port.state().refusals, wrong().len() as u64);
    let _memory = frontend.start_on(&port);
}

#[test]
fn wrong_messages_without_one_end_the_connection() {
    let bench = Bench::new();
    for (what, message) in wrong() {
        let port = bench.port();
        let mut frontend = port.accept();
        frontend.send(&message);
        frontend.wait_closed();
        let seen = port.wait(what, |s| s.fault.is_some());
        assert!(
            matches!(seen.fault, Some(Fault::ProtocolViolation | Fault::RingInvalid)),
            "{what}: {seen:?}"
        );
    }
}

#[test]
fn a_running_ring_is_not_changed_under_a_worker() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    assert_eq!(frontend.ack(&Message::SetVringNum(state(0, 128))), 1);
    assert_eq!(frontend.ack(&Message::SetVringNum(state(0, 256))), 0, "the size it has");
    assert_eq!(frontend.ack(&Message::SetVringBase(state(0, 7))), 1);
    assert_eq!(port.owner.running(), 2);
}

#[test]
fn half_a_message_times_out_and_holds_up_nobody() {
    let deadline = Duration::from_millis(300);
    let bench = Bench::with(ControlConfig { message_deadline: deadline, ..Default::default() });
    let other = bench.port();
    let mut another = other.accept();
    let whole = Message::SetFeatures(0).encode(false);
    for part in [1, 11, 12, whole.len() - 1] {
        let port = bench.port();
        let mut frontend = port.accept();
        let before = Instant::now();
        for byte in &whole[..part] {
            frontend.0.write_all(&[*byte]).unwrap();
            other.assert_prompt(&mut another);
        }
        while port.state().state == State::Connected {
            other.assert_prompt(&mut another);
        }
        frontend.wait_closed();
        assert!(before.elapsed() >= deadline);
        assert_eq!(port.state().fault, Some(Fault::DeadlineMissed));
    }
    // A connection on which nothing was begun may be silent for as long as it likes.
    other.assert_prompt(&mut another);
    assert_eq!(other.state().connections, 1);
}

#[test]
fn a_header_with_an_impossible_size_ends_the_connection_at_once() {
    let bench = Bench::new();
    for size in [MAX_PAYLOAD as u32 + 1, 0x7fff_ffff, u32::MAX] {
        let port = bench.port();
        let mut frontend = port.accept();
        frontend.send_bytes(&Header { request: 1, flags: 1, size }.to_bytes(), &[]).unwrap();
        frontend.wait_closed();
        port.wait("the fault", |s| s.fault == Some(Fault::ProtocolViolation));
    }
}

#[test]
fn replies_that_are_never_read_hold_up_nobody() {
    let deadline = Duration::from_millis(500);
    let bench = Bench::with(ControlConfig { message_deadline: deadline, ..Default::default() });
    let (port, other) = (bench.port(), bench.port());
    let (frontend, mut another) = (port.accept(), other.accept());
    frontend.0.set_nonblocking(true).unwrap();
    let flood: Vec<u8> = (0..100).flat_map(|_| Message::GetFeatures.encode(false)).collect();
    let before = Instant::now();
    while port.state().state == State::Connected {
        let _ = (&frontend.0).write(&flood);
        other.assert_prompt(&mut another);
        assert!(before.elapsed() < SOON, "the flood was never ended");
    }
    assert_eq!(port.state().fault, Some(Fault::DeadlineMissed));
}

#[test]
fn floods_of_valid_messages_hold_up_nobody() {
    let bench = Bench::new();
    let (port, other) = (bench.port(), bench.port());
    let (frontend, mut another) = (port.accept(), other.accept());
    let flood: Vec<u8> = (0..4000).flat_map(|_| Message::SetVringNum(state(0, 256)).encode(false)).collect();
    frontend.0.set_nonblocking(true).unwrap();
    let before = Instant::now();
    while before.elapsed() < Duration::from_millis(500) {
        let _ = (&frontend.0).write(&flood);
        other.assert_prompt(&mut another);
    }
}

#[test]
fn descriptors_on_messages_that_take_none_end_the_connection() {
    let bench = Bench::new();
    let fds: Vec<_> = (0..253).map(|_| event()).collect();
    for count in [1, 8, 9, 100, 253] {
        let port = bench.port();
        let mut frontend = port.accept();
        let fds: Vec<_> = fds[..count].iter().map(AsFd::as_fd).collect();
        frontend.send_with(&Message::SetOwner, NO_ACK, &fds);
        frontend.wait_closed();
        port.wait("the fault", |s| s.fault == Some(Fault::ProtocolViolation));
    }
}

#[test]
fn kick_and_call_must_be_eventfds() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    frontend.send(&Message::SetProtocolFeatures(protocol().bits()));
    let (_read, pipe) = std::io::pipe().unwrap();
    let file = tempfile::tempfile().unwrap();
    let itself = frontend.0.try_clone().unwrap();
    for fd in [pipe.as_fd(), file.as_fd(), itself.as_fd()] {
        assert_eq!(frontend.ack_with(&Message::SetVringKick(vring(0)), &[fd]), 1);
        assert_eq!(frontend.ack_with(&Message::SetVringCall(vring(0)), &[fd]), 1);
    }
    let call = event();
    for _ in 0..1000 {
        assert_eq!(frontend.ack_with(&Message::SetVringCall(vring(0)), &[call.as_fd()]), 0);
    }
}

/// A TCP socket whose last `close` waits for seconds: its unsent data lingers.
fn blocks_in_close(listener: &TcpListener) -> (OwnedFd, TcpStream) {
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    while (&socket).write(&[0; 65_536]).is_ok() {}
    // A non-blocking socket does not linger in close.
    socket.set_nonblocking(false).unwrap();
    set_socket_linger(&socket, Some(Duration::from_secs(3))).unwrap();
    (OwnedFd::from(socket), peer)
}

/// Gives the device a message whose descriptors are nobody else's any more, so that its `close` is the one that
/// blocks: the message lies unread in the socket while a worker is late, and ours are closed meanwhile.
fn hand_over(frontend: &Frontend, message: &Message, sockets: Vec<OwnedFd>) {
    frontend.send(&Message::GetVringBase(state(0, 0)));
    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    frontend.send_with(message, NO_ACK, &fds);
    let before = Instant::now();
    drop(sockets);
    assert!(before.elapsed() < PROMPT, "the device has read the message too early");
}

#[test]
fn descriptors_that_block_in_close_hold_up_nobody() {
    let bench = Bench::with(ControlConfig { let_go: Duration::from_millis(200), ..Default::default() });
    let other = bench.port();
    let mut another = other.accept();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peers = Vec::new();
    let late = Manner::Late(Duration::from_millis(50));
    let messages: Vec<(Message, usize, Manner)> = vec![
        (table(MEMORY), 1, late),
        (Message::AddMemReg(region(MEMORY)), 1, late),
        (Message::RemMemReg(region(MEMORY)), 1, late),
        (Message::SetVringKick(vring(0)), 1, late),
        (Message::SetVringCall(vring(0)), 1, late),
        (Message::SetVringErr(vring(0)), 1, late),
        (Message::SetLogFd, 1, late),
        // Where none belongs, and more than there is room for in a message.
        (Message::GetFeatures, 1, late),
        (Message::GetFeatures, 20, late),
        // Never read at all: it goes with the socket.
        (Message::SetLogFd, 1, Manner::Never),
    ];
    for (message, count, manner) in messages {
        let port = bench.port();
        let mut frontend = port.accept();
        let _memory = frontend.start_on(&port);
        port.owner.set(manner);
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..count).map(|_| blocks_in_close(&listener)).unzip();
        peers.extend(theirs);
        hand_over(&frontend, &message, ours);
        let (before, mut blocked) = (Instant::now(), false);
        while before.elapsed() < Duration::from_millis(400) {
            other.assert_prompt(&mut another);
            blocked |= before.elapsed() > Duration::from_millis(300) && vhost::memory::leaks().closing > 0;
        }
        assert!(blocked, "{message:?}: nothing blocked in close; the test shows nothing");
        // So that the next message finds no close that blocks already.
        peers.drain(..).for_each(drop);
        let before = Instant::now();
        while vhost::memory::leaks().closing > 0 {
            assert!(before.elapsed() < SOON);
            other.assert_prompt(&mut another);
        }
    }
}

#[test]
fn random_messages_break_nothing() {
    let bench = Bench::new();
    let other = bench.port();
    let mut another = other.accept();
    // A port each: after a fault, a port waits longer and longer.
    let mut last = None;
    let memory = vhost::memory::memfd(vhost::memory::MemfdKind::Plain, MEMORY).unwrap();
    let mut seed = std::env::var("SEED").map_or(0x9e37_79b9_7f4a_7c15u64, |seed| seed.parse().unwrap());
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut valid = script(&memory);
    let step = |message: Message| Step { message, ack: true, fds: vec![] };
    valid.extend((0..4).map(|ring| step(Message::GetVringBase(state(ring, 0)))));
    valid.push(step(Message::ResetDevice));
    valid.push(step(Message::SetStatus(0)));
    valid.push(step(Message::SetFeatures((negotiated() - Features::MRG_RXBUF).bits())));
    valid.push(step(Message::SetMemTable([].into_iter().collect())));
    valid.push(step(Message::RemMemReg(region(MEMORY))));
    valid.push(Step { fds: vec![memory.try_clone().unwrap()], ..step(Message::AddMemReg(region(MEMORY))) });
    for round in 0..100 {
        // Late workers leave changes pending while messages, and the end of the connection, come in.
        let manner = if round % 2 == 0 { Manner::Prompt } else { Manner::Late(Duration::from_millis(1)) };
        let port = bench.port_with(manner, |config| config.pairs = 2);
        let frontend = port.accept();
        frontend.0.set_write_timeout(Some(SOON)).unwrap();
        let mut reader = frontend.0.try_clone().unwrap();
        let drain = std::thread::spawn(move || while reader.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        for step in &valid[..random(valid.len() as u64) as usize] {
            let fds: Vec<_> = step.fds.iter().map(AsFd::as_fd).collect();
            let _ = frontend.send_bytes(&step.message.encode(step.ack), &fds);
        }
        for _ in 0..200 {
            if random(16) > 0 {
                let step = &valid[random(valid.len() as u64) as usize];
                let fds: Vec<_> = step.fds.iter().map(AsFd::as_fd).collect();
                if frontend.send_bytes(&step.message.encode(true), &fds).is_err() {
                    break;
                }
                continue;
            }
            let request = if random(8) == 0 { random(1 << 32) as u32 } else { random(46) as u32 };
            // Refused requests of these two kinds end the connection: most of the others should get further.
            let need_reply = random(16) > 0;
            if Request::from_code(request).is_some_and(Request::has_reply) && random(16) > 0 {
                continue;
            }
            let size = [0, 8, 8, 8, 40, 40, 20, 264][random(8) as usize];
            let payload: Vec<u8> =
                (0..size).map(|_| if random(3) == 0 { random(256) as u8 } else { 0 }).collect();
            let mut bytes = Header::request(request, need_reply, size).to_bytes().to_vec();
            bytes.extend(payload);
            let call = event();
            let fds = match random(6) {
                0 => vec![memory.as_fd()],
                1 | 2 => vec![call.as_fd()],
                _ => vec![],
            };
            if frontend.send_bytes(&bytes, &fds).is_err() {
                break;
            }
        }
        // Half of the frontends wait until all was handled, half leave in the middle of it.
        let how = if round % 4 < 2 { Shutdown::Write } else { Shutdown::Both };
        let _ = frontend.0.shutdown(how);
        drain.join().unwrap();
        drop(frontend);
        other.assert_prompt(&mut another);
        last = Some(port);
    }
    // Such a port still serves an honest frontend.
    let port = last.unwrap();
    let before = Instant::now();
    loop {
        let mut frontend = port.accept();
        frontend.send(&Message::GetFeatures);
        if let Some(reply) = frontend.reply()
            && reply.request == Request::GetFeatures as u32
        {
            let _memory = frontend.start_on(&port);
            break;
        }
        assert!(before.elapsed() < SOON);
    }
}
