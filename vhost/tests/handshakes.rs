//! Recorded handshakes of real frontends, sent byte for byte to our device: every answer has the shape and the
//! meaning of the recorded one, and in the end the rings run as the frontend wanted. See `handshakes/README.md`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use support::eventually;
use support::recording::{Step, descriptors, read};
use support::worker::Echo;
use vhost::control::{Control, ControlConfig, Mode, PortKey, PortView, State, VhostPortConfig};
use vhost::driver::wire;
use vhost::features::{Features, ProtocolFeatures};
use vhost::message::{HEADER_LEN, Header, Message, Reply, ReplyBody};

/// What the frontend has asked for so far, as far as the device's state must show it.
#[derive(Default)]
struct Wishes {
    pairs: u16,
    features: u64,
    status: u64,
    started: BTreeMap<u16, bool>,
    enabled: BTreeMap<u16, bool>,
    memory: u64,
    mtu: Option<u16>,
}

impl Wishes {
    /// True for a message with which a frontend begins to stop rings.
    fn is_ended_by(&self, message: &Message) -> bool {
        let stops = match message {
            Message::SetVringEnable(ring) => ring.num == 0,
            Message::GetVringBase(_) | Message::ResetDevice => true,
            _ => false,
        };
        stops && self.started.values().any(|started| *started)
    }

    fn note(&mut self, message: &Message) {
        match message {
            Message::SetFeatures(bits) => self.features = *bits,
            Message::SetStatus(status) => self.status = *status,
            Message::SetVringKick(ring) => {
                self.started.insert(ring.index.into(), true);
            }
            Message::GetVringBase(ring) => {
                self.started.insert(ring.index as u16, false);
            }
            Message::SetVringEnable(ring) => {
                self.enabled.insert(ring.index as u16, ring.num == 1);
            }
            Message::SetMemTable(table) => self.memory = table.iter().map(|r| r.len).sum(),
            Message::AddMemReg(region) => self.memory += region.len,
            Message::NetSetMtu(mtu) => self.mtu = u16::try_from(*mtu).ok(),
            _ => {}
        }
    }

    fn are_met_by(&self, view: &PortView) -> bool {
        let port = view.snapshot();
        let rings = port.rings.iter().all(|ring| {
            let wish = |map: &BTreeMap<u16, bool>| map.get(&ring.index.0).copied().unwrap_or(false);
            ring.started == wish(&self.started) && ring.enabled == wish(&self.enabled)
        });
        let wanted = self.features & !Features::PROTOCOL_FEATURES.bits();
        rings
            && port.state == State::Running
            && port.features.bits() & !Features::PROTOCOL_FEATURES.bits() == wanted
            && port.guest_memory == self.memory
            && port.guest_mtu == self.mtu
    }

    /// Checks an answer against what was recorded and what was asked before.
    fn check(&self, got: &Reply, recorded: &Reply) {
        let (ReplyBody::Number(number), ReplyBody::Number(then)) = (got.body, recorded.body) else {
            assert_eq!(got, recorded, "a ring that moved no frame stands where it stood");
            return;
        };
        match recorded.request {
            1 => assert_eq!(number & then, then, "all features recorded are still offered"),
            15 => assert_eq!(number, ProtocolFeatures::OFFERED.bits()),
            17 => assert_eq!(number, self.pairs.into()),
            36 => assert!(number >= 8, "{number} memory slots"),
            40 => assert_eq!(number, self.status),
            _ => assert_eq!(number, 0, "request {} was refused", recorded.request),
        }
    }
}

fn receive(stream: &UnixStream) -> Reply {
    let (mut header, mut none) = ([0; HEADER_LEN], Vec::new());
    assert!(wire::receive(stream, &mut header, &mut none).unwrap(), "the device hung up");
    let header = Header::parse_reply(&header).unwrap();
    let mut payload = vec![0; header.size as usize];
    wire::receive(stream, &mut payload, &mut none).unwrap();
    Reply::parse(&header, &payload).unwrap()
}

fn parse_recorded(bytes: &[u8]) -> Reply {
    let header = Header::parse_reply(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
    Reply::parse(&header, &bytes[HEADER_LEN..]).unwrap()
}

fn replay(recording: &str, mode: Mode, pairs: u16) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let control = Control::spawn(ControlConfig::default()).unwrap();
    let echo = Echo::spawn();
    let config = VhostPortConfig {
        name: recording.into(),
        path: path.clone(),
        mode,
        pairs,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 1 << 30,
    };
    let listener = (mode == Mode::Server).then(|| UnixListener::bind(&path).unwrap());
    let view = control.add_port(PortKey(1), config, echo.owner()).unwrap();
    let stream = match &listener {
        Some(listener) => listener.accept().unwrap().0,
        None => {
            eventually("the device listens", || path.exists());
            UnixStream::connect(&path).unwrap()
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    let mut wishes = Wishes { pairs, ..Wishes::default() };
    let mut met = 0;
    let mut closed = false;
    for step in read(recording) {
        match step {
            Step::Send { bytes, kinds } => {
                let header = Header::parse_request(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
                let message = Message::parse(&header, &bytes[HEADER_LEN..]).unwrap();
                if wishes.is_ended_by(&message) {
                    eventually("the rings run", || wishes.are_met_by(&view));
                    met += 1;
                }
                wishes.note(&message);
                let descriptors = descriptors(&kinds);
                let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                wire::send(&stream, &bytes, &borrowed).unwrap();
            }
            Step::Expect(bytes) => {
                let got = receive(&stream);
                assert_eq!(
                    got.encode()[..HEADER_LEN],
                    bytes[..HEADER_LEN],
                    "the header is answered byte for byte"
                );
                wishes.check(&got, &parse_recorded(&bytes));
            }
            Step::Close => closed = true,
        }
    }
    if !closed {
        eventually("the rings run", || wishes.are_met_by(&view));
        met += 1;
    }
    assert!(met > 0, "the recording starts rings");
    // Nothing more was sent than what was recorded.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(wire::receive(&stream, &mut [0], &mut Vec::new()).is_err(), "an answer that nobody asked for");
    drop((stream, listener));
    eventually("the port waits for the next connection", || view.snapshot().state == State::Waiting);
    let port = view.snapshot();
    assert_eq!((port.faults, port.refusals, port.fault), (0, 0, None), "{}", port.reason);
    control.remove_port(PortKey(1)).unwrap();
}

macro_rules! replays {
    ($($test:ident: $recording:literal, $mode:ident, $pairs:literal;)*) => {
        $(#[test]
        fn $test() {
            replay(concat!($recording, ".txt"), Mode::$mode, $pairs);
        })*

        /// Every recording is replayed.
        #[test]
        fn none_is_left_out() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handshakes");
            let names = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut there: Vec<String> = names.filter(|n| n.ends_with(".txt")).collect();
            let mut replayed = vec![$(concat!($recording, ".txt").to_string(),)*];
            there.sort();
            replayed.sort();
            assert_eq!(there, replayed);
        }
    };
}

replays! {
    virtio_user_client_1: "virtio-user-client-1", Client, 1;
    virtio_user_client_2: "virtio-user-client-2", Client, 2;
    virtio_user_server_1_first: "virtio-user-server-1-first", Server, 1;
    virtio_user_server_1_again: "virtio-user-server-1-again", Server, 1;
    virtio_user_server_2_first: "virtio-user-server-2-first", Server, 2;
    virtio_user_server_2_again: "virtio-user-server-2-again", Server, 2;
    qemu_client_1: "qemu-client-1", Client, 1;
    qemu_client_2: "qemu-client-2", Client, 2;
    qemu_server_1_first: "qemu-server-1-first", Server, 1;
    qemu_server_1_again: "qemu-server-1-again", Server, 1;
}
