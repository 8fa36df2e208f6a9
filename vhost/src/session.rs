//! The protocol's session: what one port and its frontend have agreed on, and where they stand.
//!
//! ```text
//!            connect             SET_FEATURES           first ring starts
//!  Waiting ──────────▶ Connected ────────────▶ Negotiated ─────────────▶ Running ◀──┐
//!     ▲                    │                       │                       │  │     │ a ring starts
//!     │ the peer leaves    │                       │       last ring stops │  └─▶ Paused
//!     ├────────────────────┴───────────────────────┴───────────────────────┴────────┤
//!     │                                                                             │
//!     │ a new connection                a lie, a deadline, vanished memory          │
//!  Connected ◀──────────── Faulted{reason} ◀────────────────────────────────────────┤
//!                                                              the port is removed  │
//!                                                                        Gone ◀─────┘
//! ```
//!
//! Every arrow is one function of [`Lifecycle`], with one log line and one counter. The session decides and never
//! waits: what needs a ring back from the [`RingOwner`], or a memory table mapped, leaves a *pending change*, and
//! no further message of this connection is looked at until [`Session::advance`] has brought it to an end.
//! No I/O is done here; [`crate::control`] moves messages and time. Used by the control thread only.

mod act;
mod change;
mod lifecycle;
mod log_limit;
mod refusal;
mod report;
mod ring;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::fault::{Fault, FaultCell};
use crate::features::{Features, ProtocolFeatures};
use crate::memory::{GuestMemory, HolePolicy, MapReply, MapTicket, Mapper};
use crate::message::Reply;
use crate::notify::Line;
use crate::owner::{LinkEvent, RingIndex, RingOwner};

use change::Pending;
use ring::Ring;

pub use lifecycle::{Lifecycle, State, Transitions};
pub use log_limit::LogLimit;
pub use refusal::{Breach, Refusal};
pub use report::{NotRunning, Peer, PortState, RingReport};

/// What a port may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Feature bits offered; `PROTOCOL_FEATURES` is always added.
    pub features: Features,
    /// Queue pairs, 1 to 16.
    pub pairs: u16,
    /// Largest MTU that a guest may announce, bytes; any valid one if `None`.
    pub mtu: Option<u16>,
    /// Bytes of memory that the frontend may share.
    pub mem_limit: u64,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For workers to let go of rings.
    pub let_go: Duration,
    /// For a memory table to be mapped.
    pub map: Duration,
}

/// What all sessions share.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Maps memory.
    pub mapper: Arc<Mapper>,
    /// Where the mapper answers.
    pub mapped: Sender<MapReply>,
    /// Wakes the control thread.
    pub wake: Arc<OwnedFd>,
    /// What missing pages of shared memory mean.
    pub holes: HolePolicy,
    /// Bounds on time.
    pub bounds: Bounds,
}

/// A port's side of the protocol. It outlives connections: [`Session::begin`] starts it anew for each.
pub struct Session {
    limits: Limits,
    tools: Tools,
    owner: Box<dyn RingOwner>,
    lifecycle: Lifecycle,
    rings: Vec<Ring>,
    memory: Option<Arc<GuestMemory>>,
    features: Option<Features>,
    /// `None` until the frontend has set them on this connection.
    protocol: Option<ProtocolFeatures>,
    status: u8,
    guest_mtu: Option<u16>,
    fault: FaultCell,
    pending: Option<Pending>,
    announces: LogLimit,
    link_up: bool,
}

impl Session {
    /// A session without a connection. `lines` are the call lines of its rings, two a pair.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        limits: Limits,
        tools: Tools,
        lines: Vec<Line>,
        owner: Box<dyn RingOwner>,
    ) -> Self {
        let rings = lines.into_iter().zip(0..).map(|(line, n)| Ring::new(RingIndex(n), line)).collect();
        Self {
            limits,
            tools,
            owner,
            lifecycle: Lifecycle::new(name),
            rings,
            memory: None,
            features: None,
            protocol: None,
            status: 0,
            guest_mtu: None,
            fault: FaultCell::new(None),
            pending: None,
            announces: LogLimit::new(8, Duration::from_millis(100)),
            link_up: false,
        }
    }

    /// A connection was made. Only when [`Session::is_released`].
    pub fn begin(&mut self) {
        debug_assert!(self.rings.iter().all(Ring::is_home), "no connection begins while rings are lent");
        self.forget();
        self.fault = FaultCell::new(Some(Arc::clone(&self.tools.wake)));
        self.lifecycle.connected();
    }

    /// The connection has ended, for a reason that is a fault or is none. Rings are asked back.
    pub fn end(&mut self, why: &Breach, now: Instant) {
        self.take_back_all(now);
        match why.fault() {
            Some(fault) => {
                self.lifecycle.faulted(fault, why, now);
                self.set_link(false);
                self.owner.link(LinkEvent::Faulted(fault));
            }
            None => {
                self.lifecycle.waiting(why);
                self.set_link(false);
            }
        }
        self.forget();
    }

    /// The port is being removed. Rings are asked back.
    pub fn remove(&mut self, now: Instant) {
        self.take_back_all(now);
        self.set_link(false);
        self.forget();
        self.lifecycle.gone();
    }

    /// Takes in what rings came back; true when all have.
    pub fn is_released(&mut self) -> bool {
        let owner = &mut *self.owner;
        let mut home = true;
        for ring in &mut self.rings {
            home &= ring.poll_back(owner);
        }
        home
    }

    /// Since when workers have been asked for the ring that is out longest.
    #[must_use]
    pub fn returning_since(&self) -> Option<Instant> {
        self.rings.iter().filter_map(Ring::returning_since).min()
    }

    /// Records that workers do not let go of rings of a connection that has ended. The mappings stay for as long as
    /// the rings are out.
    pub fn stuck(&mut self, now: Instant) {
        if self.lifecycle.state() != State::Faulted(Fault::WorkerStuck) {
            self.lifecycle.faulted(Fault::WorkerStuck, &Breach::Stuck(self.tools.bounds.let_go), now);
        }
    }

    /// True while a message waits for its change to be made: no other may be handled.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.pending.is_some()
    }

    /// When the pending change must have come to an end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(Pending::deadline)
    }

    /// The ticket of the memory table that is waited for.
    #[must_use]
    pub fn awaits(&self) -> Option<MapTicket> {
        match &self.pending {
            Some(Pending::Mapping { ticket, .. }) => Some(*ticket),
            _ => None,
        }
    }

    /// Changes limits in place; what was already agreed stays.
    pub fn set_limits(&mut self, mtu: Option<Option<u16>>, mem_limit: Option<u64>) {
        self.limits.mtu = mtu.unwrap_or(self.limits.mtu);
        self.limits.mem_limit = mem_limit.unwrap_or(self.limits.mem_limit);
    }

    /// Looks for a fault that a worker has found, and goes on with the pending change. The reply is to be sent.
    ///
    /// # Errors
    /// The connection must be closed and [`Session::end`] called.
    pub fn advance(&mut self, now: Instant) -> Result<Option<Reply>, Breach> {
        if let Some(fault) = self.fault.get() {
            return Err(Breach::Worker(fault));
        }
        self.go_on(now)
    }

    /// Where the port stands, for people.
    pub fn report(&self, into: &mut PortState) {
        into.state = self.lifecycle.state();
        into.fault = self.lifecycle.last_fault();
        self.lifecycle.reason(&mut into.reason);
        into.features = self.features.unwrap_or_default();
        into.protocol = self.protocol.unwrap_or_default();
        into.guest_memory = self.memory.as_ref().map_or(0, |memory| memory.bytes());
        into.guest_mtu = self.guest_mtu;
        into.transitions = self.lifecycle.transitions();
        into.refusals = self.lifecycle.refusals();
        into.rings.clear();
        into.rings.extend(self.rings.iter().map(|ring| ring.report(self.why_not(ring))));
    }

    /// Forgets all that a connection has agreed on.
    fn forget(&mut self) {
        self.rings.iter_mut().for_each(Ring::forget);
        self.memory = None;
        self.features = None;
        self.protocol = None;
        self.status = 0;
        self.guest_mtu = None;
        self.pending = None;
    }

    fn take_back_all(&mut self, now: Instant) {
        let owner = &mut *self.owner;
        self.rings.iter_mut().for_each(|ring| ring.ask_back(owner, now));
    }

    /// Brings the state in line with what runs. Called when nothing is pending.
    fn settle(&mut self) {
        let runs = self.rings.iter().any(Ring::is_lent);
        if runs {
            self.lifecycle.running();
        } else {
            self.lifecycle.paused();
        }
        self.set_link(runs);
    }

    fn set_link(&mut self, up: bool) {
        if self.link_up != up {
            self.link_up = up;
            self.owner.link(if up { LinkEvent::Up } else { LinkEvent::Down });
        }
    }
}
