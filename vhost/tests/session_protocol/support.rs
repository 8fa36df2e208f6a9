//! A control thread with ports, ring owners that are prompt, late or stuck, and a frontend in raw messages.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::HashMap;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vhost::control::{Control, ControlConfig, Mode, PortKey, PortState, PortView, State, VhostPortConfig};
use vhost::features::{Features, ProtocolFeatures};
use vhost::memory::{MemfdKind, memfd};
use vhost::message::{
    HEADER_LEN, Header, MemRegion, Message, Reply, ReplyBody, VringAddr, VringFd, VringState,
};
use vhost::owner::{LinkEvent, RingIndex, RingOwner};
use vhost::ring::DeviceRing;

/// What nothing here may take.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// What another port's answer may take while one misbehaves. The promise is 100 ms; a loaded machine is given five
/// times that. What blocks here blocks for seconds.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);
/// Where the frontend says its memory begins, in its own address space.
pub(crate) const FRONTEND: u64 = 0x7f00_0000_0000;
/// And in the guest's.
pub(crate) const GUEST: u64 = 0x1_0000_0000;
pub(crate) const MEMORY: u64 = 2 << 20;
pub(crate) const ACK: bool = true;
pub(crate) const NO_ACK: bool = false;

/// How an owner gives rings back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Prompt,
    Late(Duration),
    Never,
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) manner: Manner,
    pub(crate) running: HashMap<u16, DeviceRing>,
    asked: HashMap<u16, Instant>,
    pub(crate) starts: u32,
    pub(crate) events: Vec<LinkEvent>,
}

/// A ring owner without workers.
#[derive(Clone, Debug)]
pub(crate) struct Owner(pub(crate) Arc<Mutex<Seen>>);

impl Owner {
    pub(crate) fn new(manner: Manner) -> Self {
        let (running, asked) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Seen { manner, running, asked, starts: 0, events: Vec::new() })))
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.0.lock().unwrap().manner = manner;
    }

    pub(crate) fn starts(&self) -> u32 {
        self.0.lock().unwrap().starts
    }

    pub(crate) fn running(&self) -> usize {
        self.0.lock().unwrap().running.len()
    }

    pub(crate) fn events(&self) -> Vec<LinkEvent> {
        self.0.lock().unwrap().events.clone()
    }
}

impl RingOwner for Owner {
    fn start(&mut self, index: RingIndex, ring: DeviceRing) {
        let mut seen = self.0.lock().unwrap();
        seen.starts += 1;
        assert!(seen.running.insert(index.0, ring).is_none(), "ring {} started twice", index.0);
    }

    fn stop(&mut self, index: RingIndex) {
        let mut seen = self.0.lock().unwrap();
        assert!(seen.running.contains_key(&index.0), "ring {} stopped but not running", index.0);
        assert!(seen.asked.insert(index.0, Instant::now()).is_none(), "ring {} stopped twice", index.0);
    }

    fn stopped(&mut self, index: RingIndex) -> Option<DeviceRing> {
        let mut seen = self.0.lock().unwrap();
        let asked = *seen.asked.get(&index.0).expect("a ring was looked for that was not asked for");
        let ready = match seen.manner {
            Manner::Prompt => true,
            Manner::Late(after) => asked.elapsed() >= after,
            Manner::Never => false,
        };
        if !ready {
            return None;
        }
        seen.asked.remove(&index.0);
        seen.running.remove(&index.0)
    }

    fn link(&mut self, event: LinkEvent) {
        self.0.lock().unwrap().events.push(event);
    }
}

/// A port under test.
pub(crate) struct Port {
    pub(crate) key: PortKey,
    pub(crate) path: PathBuf,
    pub(crate) view: PortView,
    pub(crate) owner: Owner,
    listener: Option<UnixListener>,
}

impl Port {
    pub(crate) fn state(&self) -> PortState {
        self.view.snapshot()
    }

    pub(crate) fn wait(&self, what: &str, cond: impl Fn(&PortState) -> bool) -> PortState {
        let before = Instant::now();
        loop {
            let state = self.state();
            if cond(&state) {
                return state;
            }
            assert!(before.elapsed() < SOON, "{what} did not come: {state:#?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn wait_for(&self, state: State) -> PortState {
        self.wait(&format!("{state:?}"), |s| s.state == state)
    }

    /// The device's next connection.
    pub(crate) fn accept(&self) -> Frontend {
        let (socket, _) = self.listener.as_ref().expect("a port of mode server").accept().unwrap();
        Frontend::new(socket)
    }

    /// True if it answers a request within [`PROMPT`].
    pub(crate) fn assert_prompt(&self, frontend: &mut Frontend) {
        let before = Instant::now();
        frontend.number(&Message::GetFeatures);
        assert!(before.elapsed() < PROMPT, "another port's answer took {:?}", before.elapsed());
    }
}

/// A control thread and a directory for its sockets.
pub(crate) struct Bench {
    pub(crate) control: Control,
    pub(crate) dir: tempfile::TempDir,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(ControlConfig::default())
    }

    pub(crate) fn with(config: ControlConfig) -> Self {
        Self { control: Control::spawn(config).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    /// A port of mode `server` whose application listens already.
    pub(crate) fn port(&self) -> Port {
        self.port_with(Manner::Prompt, |_| {})
    }

    pub(crate) fn port_with(&self, manner: Manner, change: impl FnOnce(&mut VhostPortConfig)) -> Port {
        let key = PortKey(NEXT.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.path().join(format!("s{}", key.0));
        let mut config = config(&path, Mode::Server);
        change(&mut config);
        let listener = (config.mode == Mode::Server).then(|| UnixListener::bind(&path).unwrap());
        let owner = Owner::new(manner);
        let view = self.control.add_port(key, config, Box::new(owner.clone())).unwrap();
        Port { key, path, view, owner, listener }
    }
}

pub(crate) fn config(path: &Path, mode: Mode) -> VhostPortConfig {
    VhostPortConfig {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        path: path.into(),
        mode,
        pairs: 1,
        features: Features::OFFERED,
        mtu: None,
        mem_limit: 64 << 20,
    }
}

pub(crate) fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// A frontend that says exactly what it is told to.
pub(crate) struct Frontend(pub(crate) UnixStream);

impl Frontend {
    pub(crate) fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self(socket)
    }

    pub(crate) fn connect(path: &Path) -> Self {
        let before = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(socket) => return Self::new(socket),
                Err(error) => assert!(before.elapsed() < SOON, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    }

    pub(crate) fn send_with(&self, message: &Message, need_reply: bool, fds: &[BorrowedFd<'_>]) {
        let bytes = message.encode(need_reply);
        assert_eq!(self.send_bytes(&bytes, fds), Ok(bytes.len()), "{message:?}");
    }

    pub(crate) fn send(&self, message: &Message) {
        self.send_with(message, NO_ACK, &[]);
    }

    /// The next reply, or `None` if the device hung up.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut header = [0; HEADER_LEN];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no reply: {error}"),
        }
        let header = Header::parse_reply(&header).unwrap();
        let mut payload = vec![0; header.size as usize];
        self.0.read_exact(&mut payload).unwrap();
        Some(Reply::parse(&header, &payload).unwrap())
    }

    pub(crate) fn number(&mut self, message: &Message) -> u64 {
        self.send(message);
        self.number_reply(message)
    }

    fn number_reply(&mut self, message: &Message) -> u64 {
        match self.reply() {
            Some(Reply { request, body: ReplyBody::Number(n) }) if request == message.request() as u32 => n,
            other => panic!("{message:?} was answered by {other:?}"),
        }
    }

    /// Sends with an acknowledgement asked for: 0 is done.
    pub(crate) fn ack_with(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) -> u64 {
        self.send_with(message, ACK, fds);
        self.number_reply(message)
    }

    pub(crate) fn ack(&mut self, message: &Message) -> u64 {
        self.ack_with(message, &[])
    }

    pub(crate) fn base(&mut self, index: u32) -> u32 {
        self.send(&Message::GetVringBase(VringState { index, num: 0 }));
        match self.reply() {
            Some(Reply { body: ReplyBody::Vring(state), .. }) if state.index == index => state.num,
            other => panic!("GET_VRING_BASE was answered by {other:?}"),
        }
    }

    /// Waits until the device hangs up, whatever it says before.
    pub(crate) fn wait_closed(&mut self) {
        while self.reply().is_some() {}
    }

    /// All of a start, as virtio-user orders it, for two rings.
    pub(crate) fn start(&mut self) -> OwnedFd {
        let memory = memfd(MemfdKind::Plain, MEMORY).unwrap();
        for step in script(&memory) {
            step.run(self);
        }
        memory
    }

    /// The same after which the port runs.
    pub(crate) fn start_on(&mut self, port: &Port) -> OwnedFd {
        let memory = self.start();
        port.wait_for(State::Running);
        memory
    }
}

/// One message of a frontend, with its descriptors.
pub(crate) struct Step {
    pub(crate) message: Message,
    pub(crate) ack: bool,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Step {
    pub(crate) fn run(&self, frontend: &mut Frontend) {
        self.send(frontend);
        if self.ack || self.message.request().has_reply() {
            frontend.reply().unwrap_or_else(|| panic!("the device hung up at {:?}", self.message));
        }
    }

    pub(crate) fn send(&self, frontend: &Frontend) {
        let fds: Vec<_> = self.fds.iter().map(AsFd::as_fd).collect();
        frontend.send_with(&self.message, self.ack, &fds);
    }
}

pub(crate) fn region(len: u64) -> MemRegion {
    MemRegion { guest: GUEST, len, frontend: FRONTEND, mmap_offset: 0 }
}

pub(crate) fn table(len: u64) -> Message {
    Message::SetMemTable([region(len)].into_iter().collect())
}

pub(crate) fn addr(index: u32) -> VringAddr {
    let at = FRONTEND + 0x1_0000 * u64::from(index);
    VringAddr { index, flags: 0, desc: at, used: at + 0x8000, avail: at + 0x4000, log: 0 }
}

pub(crate) fn negotiated() -> Features {
    Features::VERSION_1 | Features::MRG_RXBUF | Features::INDIRECT_DESC | Features::PROTOCOL_FEATURES
}

pub(crate) fn protocol() -> ProtocolFeatures {
    ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS
}

pub(crate) fn vring(index: u8) -> VringFd {
    VringFd { index, has_fd: true }
}

pub(crate) fn state(index: u32, num: u32) -> VringState {
    VringState { index, num }
}

/// A whole start in virtio-user's order.
pub(crate) fn script(memory: &OwnedFd) -> Vec<Step> {
    let plain = |message| Step { message, ack: false, fds: vec![] };
    let acked = |message| Step { message, ack: true, fds: vec![] };
    let mut steps = vec![
        plain(Message::SetOwner),
        plain(Message::GetFeatures),
        plain(Message::GetProtocolFeatures),
        plain(Message::SetProtocolFeatures(protocol().bits())),
    ];
    for index in 0..2 {
        steps.push(Step { message: Message::SetVringCall(vring(index)), ack: false, fds: vec![event()] });
    }
    steps.push(plain(Message::SetFeatures(negotiated().bits())));
    steps.push(acked(Message::SetStatus(0xb)));
    steps.push(plain(Message::GetStatus));
    steps.push(Step { message: table(MEMORY), ack: true, fds: vec![memory.try_clone().unwrap()] });
    for index in 0..2u8 {
        let ring = u32::from(index);
        steps.push(plain(Message::SetVringNum(state(ring, 256))));
        steps.push(plain(Message::SetVringBase(state(ring, 0))));
        steps.push(plain(Message::SetVringAddr(addr(ring))));
        steps.push(Step { message: Message::SetVringKick(vring(index)), ack: false, fds: vec![event()] });
    }
    for index in 0..2 {
        steps.push(plain(Message::SetVringEnable(state(index, 1))));
    }
    steps.push(acked(Message::SetStatus(0xf)));
    steps
}
