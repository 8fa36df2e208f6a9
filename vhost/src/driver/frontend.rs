//! A vhost-user frontend that says what DPDK's virtio-user says, in its order, and drives the rings.
//!
//! Blocking, with a deadline for each answer; for tests and the load generator. In mode `server` it creates the
//! socket and [`Frontend::accept`]s the device again and again, rings going on where they are; in mode `client` it
//! connects once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arena::Arena;
use super::receive::Receive;
use super::transmit::{Shape, Transmit};
use super::wire;
use crate::address::GuestPhys;
use crate::features::{Features, ProtocolFeatures};
use crate::memory::MemfdKind;
use crate::message::{
    HEADER_LEN, Header, MemRegion, Message, MessageError, Reply, ReplyBody, Request, VringAddr, VringFd,
    VringState,
};
use crate::ring::RingSetup;

const STATUS_DRIVER: u64 = 1 | 2;
const STATUS_FEATURES_OK: u64 = STATUS_DRIVER | 8;
const STATUS_DRIVER_OK: u64 = STATUS_FEATURES_OK | 4;
const HUGE: u64 = 2 << 20;

/// What a frontend is like.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Queue pairs.
    pub pairs: u16,
    /// Entries of every ring, a power of two.
    pub ring_size: u16,
    /// Features to use if the device offers them.
    pub features: Features,
    /// Longest frame to be sent, bytes.
    pub frame_len: u32,
    /// Bytes of a receive buffer, virtio header included.
    pub receive_len: u32,
    /// Pieces of a receive buffer; see [`Shape::cuts`].
    pub receive_cuts: Vec<u32>,
    /// Receive buffers through indirect tables.
    pub receive_indirect: bool,
    /// Pages of the shared memory.
    pub memory: MemfdKind,
    /// First guest-physical address of the shared memory.
    pub guest: GuestPhys,
    /// How long to wait for the device: for a connection, and for each answer.
    pub timeout: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            pairs: 1,
            ring_size: 256,
            features: Features::VERSION_1
                | Features::MRG_RXBUF
                | Features::INDIRECT_DESC
                | Features::IN_ORDER,
            frame_len: 9216,
            receive_len: 2048 + 128,
            receive_cuts: Vec::new(),
            receive_indirect: false,
            memory: MemfdKind::Plain,
            guest: GuestPhys(0x1_0000_0000),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Why the device could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The socket or the memory failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The device hung up.
    #[error("the device closed the connection")]
    Closed,
    /// An answer is malformed.
    #[error("the device's answer: {0}")]
    Malformed(#[from] MessageError),
    /// An answer belongs to another request.
    #[error("{asked:?} was answered as request {got}")]
    Mismatched {
        /// The request.
        asked: Request,
        /// Which number the answer has.
        got: u32,
    },
    /// The device refused a request.
    #[error("the device refused {request:?} ({code})")]
    Refused {
        /// The request.
        request: Request,
        /// Its answer.
        code: u64,
    },
    /// The device does not offer what is needed, or not any more.
    #[error("the device does not offer {0:?}")]
    Lacking(Features),
}

/// One queue pair.
#[derive(Debug)]
pub struct Pair {
    /// Frames that come from the device.
    pub receive: Receive,
    /// Frames that go to the device.
    pub transmit: Transmit,
}

/// A frontend with its memory and rings.
#[derive(Debug)]
pub struct Frontend {
    stream: Option<UnixStream>,
    listener: Option<UnixListener>,
    config: DriverConfig,
    arena: Arc<Arena>,
    pairs: Vec<Pair>,
    features: Features,
    protocol: ProtocolFeatures,
    /// Two for each ring, by its index.
    kicks: Vec<OwnedFd>,
    calls: Vec<OwnedFd>,
}

fn doing(doing: &'static str) -> impl Fn(io::Error) -> FrontendError {
    move |source| FrontendError::Io { doing, source }
}

impl Frontend {
    /// Mode `client`: connects to the device's socket, and does all that makes frames flow.
    ///
    /// # Errors
    /// If there is no device, or it refuses something.
    pub fn connect(path: &Path, config: DriverConfig) -> Result<Self, FrontendError> {
        let mut frontend = Self::new(None, config)?;
        frontend.stream = Some(UnixStream::connect(path).map_err(doing("connecting"))?);
        frontend.begin()?;
        Ok(frontend)
    }

    /// Mode `server`: creates the socket. The device is waited for in [`Frontend::accept`].
    ///
    /// # Errors
    /// If the socket cannot be created or there is no memory.
    pub fn listen(path: &Path, config: DriverConfig) -> Result<Self, FrontendError> {
        let listener = UnixListener::bind(path).map_err(doing("creating the socket"))?;
        listener.set_nonblocking(true).map_err(doing("creating the socket"))?;
        Self::new(Some(listener), config)
    }

    fn new(listener: Option<UnixListener>, config: DriverConfig) -> Result<Self, FrontendError> {
        let arena =
            Arena::new(config.memory, arena_len(&config), config.guest).map_err(doing("making memory"))?;
        let eventfds = || (0..2 * config.pairs).map(|_| eventfd()).collect::<io::Result<Vec<_>>>();
        Ok(Self {
            stream: None,
            listener,
            arena: Arc::new(arena),
            pairs: Vec::new(),
            features: Features::empty(),
            protocol: ProtocolFeatures::empty(),
            kicks: eventfds().map_err(doing("making eventfds"))?,
            calls: eventfds().map_err(doing("making eventfds"))?,
            config,
        })
    }

    /// Waits for the device to connect and does all that makes frames flow. When it was connected before, in the
    /// order in which virtio-user does it again: the rings stay as they are, and the device must find its place
    /// by the used index.
    ///
    /// # Errors
    /// If no device comes in time, or it refuses something.
    pub fn accept(&mut self) -> Result<(), FrontendError> {
        self.stream = None;
        let listener =
            self.listener.as_ref().ok_or_else(|| doing("accepting")(io::ErrorKind::NotConnected.into()))?;
        let end = Instant::now() + self.config.timeout;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(doing("accepting")(e)),
            }
        };
        stream.set_nonblocking(false).map_err(doing("accepting"))?;
        self.stream = Some(stream);
        if self.pairs.is_empty() { self.begin() } else { self.resume() }
    }

    /// Closes the connection; rings and memory stay.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    fn begin(&mut self) -> Result<(), FrontendError> {
        self.set_timeout()?;
        self.send(&Message::SetOwner, &[])?;
        self.features = self.offered()? & self.config.features;
        self.negotiate_protocol()?;
        self.make_rings()?;
        self.configure()?;
        self.ask_status()?;
        self.start()
    }

    fn resume(&mut self) -> Result<(), FrontendError> {
        self.set_timeout()?;
        self.stop()?;
        let lacking = self.features - self.offered()?;
        if !lacking.is_empty() {
            return Err(FrontendError::Lacking(lacking));
        }
        self.negotiate_protocol()?;
        self.configure()?;
        self.start()
    }

    fn set_timeout(&self) -> Result<(), FrontendError> {
        let timeout = Some(self.config.timeout);
        self.stream()?.set_read_timeout(timeout).map_err(doing("setting the deadline"))
    }

    fn offered(&self) -> Result<Features, FrontendError> {
        let bits = self.ask(&Message::GetFeatures)?;
        Ok(Features::from_bits_retain(bits))
    }

    fn negotiate_protocol(&mut self) -> Result<(), FrontendError> {
        let wanted = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS;
        let offered = self.ask(&Message::GetProtocolFeatures)?;
        self.protocol = ProtocolFeatures::from_bits_truncate(offered) & wanted;
        self.send(&Message::SetProtocolFeatures(self.protocol.bits()), &[])
    }

    fn make_rings(&mut self) -> Result<(), FrontendError> {
        let c = &self.config;
        let shape = Shape { cuts: &c.receive_cuts, indirect: c.receive_indirect };
        let pair = |_| {
            Some(Pair {
                receive: Receive::new(&self.arena, c.ring_size, c.receive_len, shape, self.features)?,
                transmit: Transmit::new(&self.arena, c.ring_size, c.frame_len, self.features)?,
            })
        };
        let pairs: Option<Vec<Pair>> = (0..c.pairs).map(pair).collect();
        self.pairs = pairs.ok_or_else(|| doing("laying rings out")(io::ErrorKind::OutOfMemory.into()))?;
        Ok(())
    }

    /// Call descriptors come before the features, as virtio-user has it.
    fn configure(&self) -> Result<(), FrontendError> {
        for index in self.receive_first() {
            let call = VringFd { index: index as u8, has_fd: true };
            self.send(&Message::SetVringCall(call), &[self.calls[usize::from(index)].as_fd()])?;
        }
        let bits = (self.features | Features::PROTOCOL_FEATURES).bits();
        self.send(&Message::SetFeatures(bits), &[])?;
        self.set_status(STATUS_FEATURES_OK)?;
        self.ask_status()
    }

    fn ask_status(&self) -> Result<(), FrontendError> {
        if !self.protocol.contains(ProtocolFeatures::STATUS) {
            return Ok(());
        }
        match self.ask(&Message::GetStatus)? {
            status if status & 8 != 0 => Ok(()),
            code => Err(FrontendError::Refused { request: Request::SetFeatures, code }),
        }
    }

    fn set_status(&self, status: u64) -> Result<(), FrontendError> {
        match self.protocol.contains(ProtocolFeatures::STATUS) {
            true => self.confirm(&Message::SetStatus(status), &[]),
            false => Ok(()),
        }
    }

    /// Tells the memory table and the rings, and enables them. After [`Frontend::stop`] they go on where the
    /// device's used index stands.
    ///
    /// # Errors
    /// If the device refuses something.
    pub fn start(&self) -> Result<(), FrontendError> {
        self.send_table()?;
        for index in self.receive_first() {
            self.send_ring(index)?;
        }
        self.enable(0, true)?;
        self.set_status(STATUS_DRIVER_OK)?;
        (1..self.config.pairs).try_for_each(|pair| self.enable(pair, true))
    }

    /// Sends the whole memory table, as also happens when an application adds memory while rings run.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn send_table(&self) -> Result<(), FrontendError> {
        let regions: Vec<MemRegion> = self.regions();
        let arena = Arc::clone(&self.arena);
        let files: Vec<_> = regions.iter().map(|_| arena.file().as_fd()).collect();
        let mut table = arrayvec::ArrayVec::new();
        table
            .try_extend_from_slice(&regions)
            .expect("the arena is one region unless it was cut, at most in eight");
        self.confirm(&Message::SetMemTable(table), &files)
    }

    fn regions(&self) -> Vec<MemRegion> {
        let region = |r: super::ArenaRegion| MemRegion {
            guest: r.guest.0,
            len: r.len,
            frontend: r.frontend.0,
            mmap_offset: r.mmap_offset,
        };
        self.arena.regions().into_iter().map(region).collect()
    }

    fn send_ring(&self, index: u16) -> Result<(), FrontendError> {
        let setup = self.setup(index);
        let ring = u32::from(index);
        self.send(&Message::SetVringNum(VringState { index: ring, num: setup.size.into() }), &[])?;
        self.send(&Message::SetVringBase(VringState { index: ring, num: 0 }), &[])?;
        let (desc, used, avail) = (setup.desc.0, setup.used.0, setup.avail.0);
        self.send(
            &Message::SetVringAddr(VringAddr { index: ring, flags: 0, desc, used, avail, log: 0 }),
            &[],
        )?;
        let kick = VringFd { index: index as u8, has_fd: true };
        self.send(&Message::SetVringKick(kick), &[self.kicks[usize::from(index)].as_fd()])
    }

    fn setup(&self, index: u16) -> RingSetup {
        let pair = &self.pairs[usize::from(index / 2)];
        if index.is_multiple_of(2) { pair.receive.ring().setup() } else { pair.transmit.ring().setup() }
    }

    /// Enables or disables both rings of a pair.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn enable(&self, pair: u16, on: bool) -> Result<(), FrontendError> {
        for index in [2 * pair, 2 * pair + 1] {
            self.send(&Message::SetVringEnable(VringState { index: index.into(), num: on.into() }), &[])?;
        }
        Ok(())
    }

    /// Disables and stops all rings; returns where each stands, by its index. After that the device touches
    /// none of them.
    ///
    /// # Errors
    /// If the connection is gone or an answer does not come.
    pub fn stop(&self) -> Result<Vec<u16>, FrontendError> {
        (0..self.config.pairs).try_for_each(|pair| self.enable(pair, false))?;
        let stop = |index| match self.exchange(&Message::GetVringBase(VringState { index, num: 0 }))? {
            ReplyBody::Vring(state) => Ok(state.num as u16),
            ReplyBody::Number(_) => Err(FrontendError::Mismatched { asked: Request::GetVringBase, got: 0 }),
        };
        (0..2 * u32::from(self.config.pairs)).map(stop).collect()
    }

    /// Wakes the device for a ring that says that it wants it ([`Transmit::publish`], [`Receive::publish`]).
    pub fn kick(&self, index: u16) {
        crate::fault::wake_eventfd(&self.kicks[usize::from(index)]);
    }

    /// The eventfd through which the device notifies about a ring.
    #[must_use]
    pub fn call(&self, index: u16) -> &OwnedFd {
        &self.calls[usize::from(index)]
    }

    /// What was negotiated.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The shared memory.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// The queue pairs; none before the first connection.
    #[must_use]
    pub fn pairs(&mut self) -> &mut [Pair] {
        &mut self.pairs
    }

    /// Takes the queue pairs away, to drive each on a thread of its own. The frontend must live on; it cannot
    /// be restarted or reconnected any more.
    #[must_use]
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        std::mem::take(&mut self.pairs)
    }

    /// Sends a message that has no answer.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        self.put(message, false, descriptors)
    }

    /// Sends a message and, where acknowledgements were negotiated, waits for it to be done.
    ///
    /// # Errors
    /// [`FrontendError::Refused`] if the device says so, and what goes wrong with the connection.
    pub fn confirm(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        let acknowledged = self.protocol.contains(ProtocolFeatures::REPLY_ACK);
        self.put(message, acknowledged, descriptors)?;
        if !acknowledged {
            return Ok(());
        }
        match self.reply(message.request())? {
            ReplyBody::Number(0) => Ok(()),
            ReplyBody::Number(code) => Err(FrontendError::Refused { request: message.request(), code }),
            ReplyBody::Vring(_) => Err(FrontendError::Refused { request: message.request(), code: 0 }),
        }
    }

    /// Asks for a number.
    ///
    /// # Errors
    /// What goes wrong with the connection or the answer.
    pub fn ask(&self, message: &Message) -> Result<u64, FrontendError> {
        match self.exchange(message)? {
            ReplyBody::Number(number) => Ok(number),
            ReplyBody::Vring(_) => Err(FrontendError::Mismatched { asked: message.request(), got: 0 }),
        }
    }

    fn exchange(&self, message: &Message) -> Result<ReplyBody, FrontendError> {
        self.put(message, false, &[])?;
        self.reply(message.request())
    }

    fn put(
        &self,
        message: &Message,
        need_reply: bool,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        wire::send(self.stream()?, &message.encode(need_reply), descriptors).map_err(doing("sending"))
    }

    fn reply(&self, asked: Request) -> Result<ReplyBody, FrontendError> {
        let (mut header, mut none) = ([0; HEADER_LEN], Vec::new());
        if !wire::receive(self.stream()?, &mut header, &mut none).map_err(doing("waiting for an answer"))? {
            return Err(FrontendError::Closed);
        }
        let header = Header::parse_reply(&header)?;
        let mut payload = [0; crate::message::MAX_PAYLOAD];
        let payload = &mut payload[..header.size as usize];
        wire::receive(self.stream()?, payload, &mut none).map_err(doing("waiting for an answer"))?;
        if header.request != asked as u32 {
            return Err(FrontendError::Mismatched { asked, got: header.request });
        }
        Ok(Reply::parse(&header, payload)?.body)
    }

    /// The connection, for tests that write what no frontend would.
    ///
    /// # Errors
    /// [`FrontendError::Closed`] if there is none.
    pub fn stream(&self) -> Result<&UnixStream, FrontendError> {
        self.stream.as_ref().ok_or(FrontendError::Closed)
    }

    /// Ring indexes in the order in which virtio-user names them: receive rings first.
    fn receive_first(&self) -> impl Iterator<Item = u16> + use<> {
        let pairs = self.config.pairs;
        (0..pairs).map(|pair| 2 * pair).chain((0..pairs).map(|pair| 2 * pair + 1))
    }
}

/// Bytes of memory that the rings and buffers of a configuration need, in whole huge pages.
fn arena_len(config: &DriverConfig) -> u64 {
    let buffer = |len: u32| u64::from(len).next_multiple_of(64) + 64;
    // A descriptor, an available and a used entry; a buffer with its indirect table. Twice, and some slack.
    let entry = 2 * (16 + 2 + 8) + 2 * 1024 + buffer(config.frame_len + 12) + buffer(config.receive_len);
    let pair = u64::from(config.ring_size) * entry + 4096;
    (u64::from(config.pairs) * pair).next_multiple_of(HUGE)
}

#[expect(unsafe_code, reason = "eventfd(2) has no safe wrapper in the standard library")]
fn eventfd() -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: takes two integers and returns a new descriptor that nobody else owns.
    unsafe {
        match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
