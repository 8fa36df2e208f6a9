//! A vhost-user frontend that says what DPDK's virtio-user says, in its order, and drives the rings.
//!
//! Blocking, with a deadline for each answer; for tests and the load generator. In mode `server` it creates the
//! socket and [`Frontend::accept`]s the device again and again, rings going on where they are; in mode `client` it
//! connects once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::arena::Arena;
use super::config::DriverConfig;
use super::connection::{Connection, FrontendError, doing};
use super::poll::PollPair;
use super::receive::Receive;
use super::transmit::{Shape, Transmit};
use crate::features::{Features, ProtocolFeatures};
use crate::message::{MemRegion, Message, ReplyBody, Request, VringAddr, VringFd, VringState};
use crate::ring::RingSetup;

const STATUS_DRIVER: u64 = 1 | 2;
const STATUS_FEATURES_OK: u64 = STATUS_DRIVER | 8;
const STATUS_DRIVER_OK: u64 = STATUS_FEATURES_OK | 4;

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
    connection: Option<Connection>,
    listener: Option<UnixListener>,
    config: DriverConfig,
    arena: Arc<Arena>,
    pairs: Vec<Pair>,
    /// The same in poll mode; one of the two is empty.
    poll_pairs: Vec<PollPair>,
    /// Of every ring, by its index; empty before the first connection.
    setups: Vec<RingSetup>,
    features: Features,
    protocol: ProtocolFeatures,
    /// Two for each ring, by its index.
    kicks: Vec<OwnedFd>,
    calls: Vec<OwnedFd>,
}

impl Frontend {
    /// Mode `client`: connects to the device's socket, and does all that makes frames flow.
    ///
    /// # Errors
    /// If there is no device, or it refuses something.
    pub fn connect(path: &Path, config: DriverConfig) -> Result<Self, FrontendError> {
        let mut frontend = Self::new(None, config)?;
        let stream = UnixStream::connect(path).map_err(doing("connecting"))?;
        frontend.connection = Some(Connection::new(stream, frontend.config.timeout)?);
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
            Arena::new(config.memory, config.arena_len(), config.guest).map_err(doing("making memory"))?;
        let eventfds = || {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            (0..2 * config.pairs).map(|_| Ok(eventfd(0, flags)?)).collect::<io::Result<Vec<_>>>()
        };
        Ok(Self {
            connection: None,
            listener,
            arena: Arc::new(arena),
            pairs: Vec::new(),
            poll_pairs: Vec::new(),
            setups: Vec::new(),
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
        self.connection = None;
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
        self.connection = Some(Connection::new(stream, self.config.timeout)?);
        if self.setups.is_empty() { self.begin() } else { self.resume() }
    }

    /// Closes the connection; rings and memory stay.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    fn begin(&mut self) -> Result<(), FrontendError> {
        self.connection()?.send(&Message::SetOwner, &[])?;
        self.features = self.offered()? & self.config.features;
        self.negotiate_protocol()?;
        self.make_rings()?;
        self.configure()?;
        self.ask_status()?;
        self.start()
    }

    fn resume(&mut self) -> Result<(), FrontendError> {
        self.stop()?;
        let lacking = self.features - self.offered()?;
        if !lacking.is_empty() {
            return Err(FrontendError::Lacking(lacking));
        }
        self.negotiate_protocol()?;
        self.configure()?;
        self.start()
    }

    fn offered(&self) -> Result<Features, FrontendError> {
        let bits = self.connection()?.ask(&Message::GetFeatures)?;
        Ok(Features::from_bits_retain(bits))
    }

    fn negotiate_protocol(&mut self) -> Result<(), FrontendError> {
        let wanted = ProtocolFeatures::MQ | ProtocolFeatures::REPLY_ACK | ProtocolFeatures::STATUS;
        let offered = self.connection()?.ask(&Message::GetProtocolFeatures)?;
        self.protocol = ProtocolFeatures::from_bits_truncate(offered) & wanted;
        self.connection()?.send(&Message::SetProtocolFeatures(self.protocol.bits()), &[])?;
        let acknowledged = self.protocol.contains(ProtocolFeatures::REPLY_ACK);
        self.connection.as_mut().ok_or(FrontendError::Closed)?.acknowledge(acknowledged);
        Ok(())
    }

    fn make_rings(&mut self) -> Result<(), FrontendError> {
        if self.config.poll {
            return self.make_poll_rings();
        }
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
        let both = |pair: &Pair| [pair.receive.ring().setup(), pair.transmit.ring().setup()];
        self.setups = self.pairs.iter().flat_map(both).collect();
        Ok(())
    }

    fn make_poll_rings(&mut self) -> Result<(), FrontendError> {
        let c = &self.config;
        for kicks in self.kicks.chunks_exact(2) {
            let pair = PollPair::new(&self.arena, c.ring_size, c.frame_len, c.receive_len, self.features);
            let mut pair =
                pair.ok_or_else(|| doing("laying rings out")(io::ErrorKind::OutOfMemory.into()))?;
            let clone = |kick: &OwnedFd| kick.try_clone().map_err(doing("making eventfds"));
            pair.set_kicks(clone(&kicks[0])?, clone(&kicks[1])?);
            self.poll_pairs.push(pair);
        }
        self.setups = self.poll_pairs.iter().flat_map(PollPair::setups).collect();
        Ok(())
    }

    /// Call descriptors come before the features, as virtio-user has it.
    fn configure(&self) -> Result<(), FrontendError> {
        for index in self.receive_first() {
            let call = VringFd { index: index as u8, has_fd: true };
            self.connection()?
                .send(&Message::SetVringCall(call), &[self.calls[usize::from(index)].as_fd()])?;
        }
        let bits = (self.features | Features::PROTOCOL_FEATURES).bits();
        self.connection()?.send(&Message::SetFeatures(bits), &[])?;
        self.set_status(STATUS_FEATURES_OK)?;
        self.ask_status()
    }

    fn ask_status(&self) -> Result<(), FrontendError> {
        if !self.protocol.contains(ProtocolFeatures::STATUS) {
            return Ok(());
        }
        match self.connection()?.ask(&Message::GetStatus)? {
            status if status & 8 != 0 => Ok(()),
            code => Err(FrontendError::Refused { request: Request::SetFeatures, code }),
        }
    }

    fn set_status(&self, status: u64) -> Result<(), FrontendError> {
        match self.protocol.contains(ProtocolFeatures::STATUS) {
            true => self.connection()?.confirm(&Message::SetStatus(status), &[]),
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
        self.connection()?.confirm(&Message::SetMemTable(table), &files)
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
        let setup = self.setups[usize::from(index)];
        let ring = u32::from(index);
        self.connection()?
            .send(&Message::SetVringNum(VringState { index: ring, num: setup.size.into() }), &[])?;
        self.connection()?.send(&Message::SetVringBase(VringState { index: ring, num: 0 }), &[])?;
        let (desc, used, avail) = (setup.desc.0, setup.used.0, setup.avail.0);
        self.connection()?.send(
            &Message::SetVringAddr(VringAddr { index: ring, flags: 0, desc, used, avail, log: 0 }),
            &[],
        )?;
        let kick = VringFd { index: index as u8, has_fd: true };
        self.connection()?.send(&Message::SetVringKick(kick), &[self.kicks[usize::from(index)].as_fd()])
    }

    /// Enables or disables both rings of a pair.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn enable(&self, pair: u16, on: bool) -> Result<(), FrontendError> {
        for index in [2 * pair, 2 * pair + 1] {
            self.connection()?
                .send(&Message::SetVringEnable(VringState { index: index.into(), num: on.into() }), &[])?;
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
        let stop = |index| match self
            .connection()?
            .exchange(&Message::GetVringBase(VringState { index, num: 0 }))?
        {
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

    /// The connection, for messages beyond those that this frontend sends by itself.
    ///
    /// # Errors
    /// [`FrontendError::Closed`] if there is none.
    pub fn connection(&self) -> Result<&Connection, FrontendError> {
        self.connection.as_ref().ok_or(FrontendError::Closed)
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

    /// The transmit queue of a pair, to look at.
    ///
    /// # Panics
    /// If there is no such pair.
    #[must_use]
    pub fn transmit(&self, pair: u16) -> &Transmit {
        &self.pairs[usize::from(pair)].transmit
    }

    /// Takes the queue pairs away, to drive each on a thread of its own. The frontend must live on, and goes on
    /// stopping, starting and reconnecting them.
    #[must_use]
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        std::mem::take(&mut self.pairs)
    }

    /// As [`Frontend::take_pairs`], of a frontend in poll mode.
    #[must_use]
    pub fn take_poll_pairs(&mut self) -> Vec<PollPair> {
        std::mem::take(&mut self.poll_pairs)
    }

    /// Ring indexes in the order in which virtio-user names them: receive rings first.
    fn receive_first(&self) -> impl Iterator<Item = u16> + use<> {
        let pairs = self.config.pairs;
        (0..pairs).map(|pair| 2 * pair).chain((0..pairs).map(|pair| 2 * pair + 1))
    }
}
