//! Changes that must wait for a memory table or for rings to come back.

use std::sync::Arc;
use std::time::Instant;

use super::act::Ack;
use super::refusal::{Breach, Refusal};
use super::ring::Ring;
use super::{NotRunning, Session};
use crate::features::Features;
use crate::memory::{GuestMemory, MapReply, MapRequest, MapTicket};
use crate::message::{Reply, ReplyBody, Request, VringAddr, VringState};

/// What a message waits for. No other message of the connection is handled meanwhile.
#[derive(Debug)]
pub(super) enum Pending {
    /// A memory table.
    Mapping { ticket: MapTicket, deadline: Instant, ack: Ack },
    /// Rings: `only` one, or all that are lent.
    Rings { only: Option<usize>, change: Change, deadline: Instant, ack: Ack },
}

/// What is done when the rings are back. Those that the frontend wants to run are started again afterwards.
#[derive(Debug)]
pub(super) enum Change {
    /// Another memory table.
    Memory(Option<Arc<GuestMemory>>),
    /// Other features.
    Features(Features),
    /// Other addresses of a ring.
    Address(usize, VringAddr),
    /// The ring stays stopped, and the frontend is told where it stands.
    Base(usize),
    /// All rings stay stopped.
    Halt,
    /// All that was agreed is forgotten, except protocol features and memory.
    Reset,
}

impl Pending {
    pub(super) fn deadline(&self) -> Instant {
        match self {
            Self::Mapping { deadline, .. } | Self::Rings { deadline, .. } => *deadline,
        }
    }
}

impl Session {
    /// Asks for a memory table.
    pub(super) fn map(&mut self, mut request: MapRequest, ack: Ack, now: Instant) {
        request.limit_bytes = self.limits.mem_limit;
        request.holes = self.tools.holes;
        let ticket = self.tools.mapper.map(request, self.tools.mapped.clone(), Arc::clone(&self.tools.wake));
        let deadline = now + self.tools.bounds.map;
        self.pending = Some(Pending::Mapping { ticket, deadline, ack });
    }

    /// The memory table that was waited for, or why there is none. The reply is to be sent.
    ///
    /// # Errors
    /// The connection must be closed and [`Session::end`] called.
    pub fn mapped(&mut self, reply: MapReply, now: Instant) -> Result<Option<Reply>, Breach> {
        let ack = match self.pending.take() {
            Some(Pending::Mapping { ticket, ack, .. }) if ticket == reply.ticket => ack,
            // Of a connection that has ended: the table is dropped.
            other => {
                self.pending = other;
                return Ok(None);
            }
        };
        match reply.result {
            Ok(memory) => self.change(None, Change::Memory(Some(memory)), ack, now),
            Err(error) => self.refuse(Refusal::Memory(error), ack, now),
        }
    }

    /// Makes a change now if no ring concerned is lent, or asks for the rings and makes it when they are back.
    pub(super) fn change(
        &mut self,
        only: Option<usize>,
        change: Change,
        ack: Ack,
        now: Instant,
    ) -> Result<Option<Reply>, Breach> {
        let owner = &mut *self.owner;
        match only.and_then(|n| self.rings.get_mut(n)) {
            Some(ring) => ring.ask_back(owner, now),
            None => self.rings.iter_mut().for_each(|ring| ring.ask_back(owner, now)),
        }
        let deadline = now + self.tools.bounds.let_go;
        self.pending = Some(Pending::Rings { only, change, deadline, ack });
        self.go_on(now)
    }

    /// Goes on with what is pending.
    pub(super) fn go_on(&mut self, now: Instant) -> Result<Option<Reply>, Breach> {
        let late = self.pending.as_ref().is_some_and(|pending| now >= pending.deadline());
        match self.pending.take() {
            None => Ok(None),
            Some(Pending::Mapping { .. }) if late => Err(Breach::MapTimeout(self.tools.bounds.map)),
            Some(mapping @ Pending::Mapping { .. }) => {
                self.pending = Some(mapping);
                Ok(None)
            }
            Some(Pending::Rings { only, change, ack, .. }) if self.are_back(only) => {
                Ok(self.make(change, ack))
            }
            Some(Pending::Rings { .. }) if late => Err(Breach::Stuck(self.tools.bounds.let_go)),
            Some(rings @ Pending::Rings { .. }) => {
                self.pending = Some(rings);
                Ok(None)
            }
        }
    }

    fn are_back(&mut self, only: Option<usize>) -> bool {
        match only.and_then(|n| self.rings.get_mut(n)) {
            Some(ring) => ring.poll_back(&mut *self.owner),
            None => self.is_released(),
        }
    }

    /// Makes a change: all rings concerned are home.
    fn make(&mut self, change: Change, ack: Ack) -> Option<Reply> {
        let mut reply = ack.done();
        match change {
            Change::Memory(memory) => self.memory = memory,
            Change::Features(features) => self.features = Some(features),
            Change::Address(ring, addr) => self.rings[ring].addr = Some(addr),
            Change::Base(ring) => {
                let ring = &mut self.rings[ring];
                ring.halt();
                let state = VringState { index: u32::from(ring.index.0), num: u32::from(ring.base) };
                reply = Some(Reply { request: Request::GetVringBase as u32, body: ReplyBody::Vring(state) });
            }
            Change::Halt => self.rings.iter_mut().for_each(Ring::halt),
            Change::Reset => {
                for ring in &mut self.rings {
                    ring.reset();
                    ring.set_enabled(false);
                }
                self.features = None;
                self.status = 0;
            }
        }
        self.start_rings();
        reply
    }

    /// Starts whatever can run, and brings the state in line.
    pub(super) fn start_rings(&mut self) {
        for ring in &mut self.rings {
            ring.try_start(self.memory.as_ref(), self.features, &self.fault, &mut *self.owner);
        }
        self.settle();
    }

    pub(super) fn why_not(&self, ring: &Ring) -> Option<NotRunning> {
        ring.why_not(self.features, self.memory.is_some())
    }
}
