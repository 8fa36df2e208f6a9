//! What each message does.
//!
//! The orders are those in which frontends in use really send: rings are enabled before features are set, call
//! descriptors come before features, `GET_VRING_BASE` comes first on a reconnect and for rings never set up, and
//! nobody need be the owner.

use std::os::fd::OwnedFd;
use std::time::Instant;

use arrayvec::ArrayVec;

use super::Session;
use super::change::Change;
use super::refusal::{Breach, Refusal};
use crate::address::{FrontendVirt, GuestPhys};
use crate::channel::{Envelope, MAX_FDS};
use crate::features::{Features, ProtocolFeatures};
use crate::memory::{MAX_REGIONS, MapError, MapRequest, RegionRequest};
use crate::message::{
    MemRegion, Message, MessageError, Reply, ReplyBody, Request, VringAddr, VringFd, VringState,
};
use crate::owner::LinkEvent;
use crate::tenant_fd::TenantFd;

/// Smallest MTU that an IPv4 link may have (RFC 791), bytes.
const MIN_MTU: u16 = 68;
const MAX_RING_SIZE: u32 = 32_768;

/// Whether and for what the frontend wants an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    request: u32,
    wanted: bool,
}

impl Ack {
    /// The acknowledgement, if one is wanted.
    pub(super) fn done(self) -> Option<Reply> {
        self.wanted.then_some(Reply { request: self.request, body: ReplyBody::Number(0) })
    }

    fn refused(self) -> Option<Reply> {
        self.wanted.then_some(Reply { request: self.request, body: ReplyBody::Number(1) })
    }
}

/// How a message was taken.
enum Answer {
    Done,
    Number(u64),
    /// A change was begun; it may have come to its end at once.
    Begun(Option<Reply>),
}

/// Either the message is refused, or the change it began ended the connection.
enum Failure {
    Refused(Refusal),
    Ended(Breach),
}

impl<R: Into<Refusal>> From<R> for Failure {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Breach> for Failure {
    fn from(breach: Breach) -> Self {
        Self::Ended(breach)
    }
}

type Outcome = Result<Answer, Failure>;
type Fds = ArrayVec<TenantFd, MAX_FDS>;

impl Session {
    /// Takes a message. The reply is to be sent. Not to be called while [`Session::is_suspended`].
    ///
    /// # Errors
    /// The connection must be closed and [`Session::end`] called.
    pub fn handle(&mut self, envelope: Envelope, now: Instant) -> Result<Option<Reply>, Breach> {
        let request = envelope.header.request;
        // One frontend in use keeps what it had negotiated on its last connection and asks for an acknowledgement
        // before it has negotiated again; it would wait for ever.
        let negotiated = self.protocol.is_none_or(|p| p.contains(ProtocolFeatures::REPLY_ACK));
        let has_reply = Request::from_code(request).is_some_and(Request::has_reply);
        let ack = Ack { request, wanted: negotiated && envelope.header.need_reply() && !has_reply };
        match self.act(envelope, ack, now) {
            Ok(Answer::Done) => Ok(ack.done()),
            Ok(Answer::Number(n)) => Ok(Some(Reply { request, body: ReplyBody::Number(n) })),
            Ok(Answer::Begun(reply)) => Ok(reply),
            Err(Failure::Refused(refusal)) => self.refuse(refusal, ack, now),
            Err(Failure::Ended(breach)) => Err(breach),
        }
    }

    /// Tells the frontend that its message was refused, or ends the connection if it does not want to know.
    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        ack: Ack,
        now: Instant,
    ) -> Result<Option<Reply>, Breach> {
        // A request of a later specification, to which the frontend needs no answer, is none of our business.
        let harmless = matches!(refusal, Refusal::Message(MessageError::Unknown(_)));
        if !ack.wanted && !harmless {
            return Err(Breach::Refused(refusal));
        }
        self.lifecycle.refused(&refusal, now);
        Ok(ack.refused())
    }

    fn act(&mut self, envelope: Envelope, ack: Ack, now: Instant) -> Outcome {
        let Envelope { header, payload, fds } = envelope;
        let message = Message::parse(&header, &payload)?;
        let (fewest, most) = message.descriptors();
        if !(fewest..=most).contains(&fds.len()) {
            return Err(Refusal::Descriptors { request: message.request(), got: fds.len() }.into());
        }
        match message {
            Message::GetFeatures => return Ok(Answer::Number(self.offered().bits())),
            Message::GetProtocolFeatures => return Ok(Answer::Number(ProtocolFeatures::OFFERED.bits())),
            Message::GetQueueNum => return Ok(Answer::Number(u64::from(self.limits.pairs))),
            Message::GetMaxMemSlots => return Ok(Answer::Number(MAX_REGIONS as u64)),
            // Must echo what was set: a frontend looks for FEATURES_OK there.
            Message::GetStatus => return Ok(Answer::Number(u64::from(self.status))),
            Message::SetFeatures(bits) => return self.set_features(bits, ack, now),
            Message::SetProtocolFeatures(bits) => self.set_protocol_features(bits)?,
            // No meaning is left to either; the descriptor of a log is closed and never written to.
            Message::SetOwner | Message::ResetOwner | Message::SetLogFd => {}
            Message::SetMemTable(regions) => return self.set_mem_table(&regions, fds, ack, now),
            Message::AddMemReg(region) => return Ok(self.add_mem_reg(region, fds, ack, now)),
            Message::RemMemReg(region) => return self.rem_mem_reg(region, ack, now),
            Message::SetVringNum(state) => self.set_vring_num(state)?,
            Message::SetVringAddr(addr) => return self.set_vring_addr(addr, ack, now),
            Message::SetVringBase(state) => self.set_vring_base(state)?,
            Message::GetVringBase(state) => return self.get_vring_base(state, ack, now),
            Message::SetVringKick(vring) => self.set_vring_kick(vring, fds)?,
            Message::SetVringCall(vring) => self.set_vring_call(vring, fds)?,
            // We have no error to tell that the frontend does not see; the descriptor is closed.
            Message::SetVringErr(vring) => drop(self.ring(Request::SetVringErr, u32::from(vring.index))?),
            Message::SetVringEnable(state) => {
                let ring = self.ring(Request::SetVringEnable, state.index)?;
                self.rings[ring].set_enabled(state.num == 1);
            }
            Message::SendRarp(mac) => {
                if self.announces.allow(now).is_some() {
                    self.owner.link(LinkEvent::Announce(mac));
                }
            }
            Message::NetSetMtu(mtu) => self.net_set_mtu(mtu)?,
            Message::ResetDevice => return Ok(Answer::Begun(self.change(None, Change::Reset, ack, now)?)),
            Message::SetStatus(status) => return self.set_status(status, ack, now),
        }
        Ok(Answer::Done)
    }

    /// What `GET_FEATURES` answers. MQ stays offered with one pair, as other back ends do: a frontend asks
    /// `GET_QUEUE_NUM` how many there are.
    fn offered(&self) -> Features {
        self.limits.features | Features::PROTOCOL_FEATURES
    }

    fn ring(&self, request: Request, index: u32) -> Result<usize, Refusal> {
        let rings = self.rings.len();
        let ring = usize::try_from(index).unwrap_or(usize::MAX);
        if ring < rings { Ok(ring) } else { Err(Refusal::Ring { request, index, rings }) }
    }

    fn set_features(&mut self, bits: u64, ack: Ack, now: Instant) -> Outcome {
        let offered = self.offered();
        let features = Features::from_bits(bits)
            .filter(|features| offered.contains(*features))
            .ok_or(Refusal::Features { asked: bits, offered: offered.bits() })?;
        if !features.contains(Features::PROTOCOL_FEATURES) {
            // Such a frontend does not know SET_VRING_ENABLE.
            self.rings.iter().for_each(|ring| ring.set_enabled(true));
        }
        self.lifecycle.negotiated(features);
        if self.features == Some(features) {
            return Ok(Answer::Done);
        }
        Ok(Answer::Begun(self.change(None, Change::Features(features), ack, now)?))
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<(), Refusal> {
        let offered = ProtocolFeatures::OFFERED;
        let features = ProtocolFeatures::from_bits(bits)
            .filter(|features| offered.contains(*features))
            .ok_or(Refusal::Features { asked: bits, offered: offered.bits() })?;
        self.protocol = Some(features);
        Ok(())
    }

    fn set_mem_table(&mut self, regions: &[MemRegion], fds: Fds, ack: Ack, now: Instant) -> Outcome {
        if regions.is_empty() {
            return Ok(Answer::Begun(self.change(None, Change::Memory(None), ack, now)?));
        }
        let regions = regions.iter().zip(fds).map(|(region, fd)| asked(*region, fd.into_owned())).collect();
        self.map(MapRequest { regions, ..MapRequest::default() }, ack, now);
        Ok(Answer::Begun(None))
    }

    fn add_mem_reg(&mut self, region: MemRegion, fds: Fds, ack: Ack, now: Instant) -> Answer {
        let regions = fds.into_iter().map(|fd| asked(region, fd.into_owned())).collect();
        self.map(MapRequest { regions, keep: self.memory.clone(), ..MapRequest::default() }, ack, now);
        Answer::Begun(None)
    }

    fn rem_mem_reg(&mut self, region: MemRegion, ack: Ack, now: Instant) -> Outcome {
        let Some(memory) = &self.memory else {
            return Err(
                Refusal::Memory(MapError::NoSuchRegion { guest: region.guest, len: region.len }).into()
            );
        };
        let remove = Some((GuestPhys(region.guest), FrontendVirt(region.frontend), region.len));
        self.map(MapRequest { keep: Some(memory.clone()), remove, ..MapRequest::default() }, ack, now);
        Ok(Answer::Begun(None))
    }

    fn set_vring_num(&mut self, state: VringState) -> Result<(), Refusal> {
        let VringState { index, num: size } = state;
        let ring = self.ring(Request::SetVringNum, index)?;
        if !size.is_power_of_two() || size > MAX_RING_SIZE {
            return Err(Refusal::RingSize { index, size });
        }
        let ring = &mut self.rings[ring];
        if ring.is_lent() && ring.size != Some(size as u16) {
            return Err(Refusal::RingRuns { request: Request::SetVringNum, index });
        }
        ring.size = Some(size as u16);
        self.start_rings();
        Ok(())
    }

    fn set_vring_addr(&mut self, addr: VringAddr, ack: Ack, now: Instant) -> Outcome {
        let ring = self.ring(Request::SetVringAddr, addr.index)?;
        if self.rings[ring].addr == Some(addr) {
            return Ok(Answer::Done);
        }
        Ok(Answer::Begun(self.change(Some(ring), Change::Address(ring, addr), ack, now)?))
    }

    fn set_vring_base(&mut self, state: VringState) -> Result<(), Refusal> {
        let VringState { index, num: base } = state;
        let ring = self.ring(Request::SetVringBase, index)?;
        if self.rings[ring].is_lent() {
            return Err(Refusal::RingRuns { request: Request::SetVringBase, index });
        }
        self.rings[ring].base = u16::try_from(base).map_err(|_| Refusal::RingBase { index, base })?;
        Ok(())
    }

    fn get_vring_base(&mut self, state: VringState, ack: Ack, now: Instant) -> Outcome {
        let ring = self.ring(Request::GetVringBase, state.index)?;
        Ok(Answer::Begun(self.change(Some(ring), Change::Base(ring), ack, now)?))
    }

    fn set_vring_kick(&mut self, vring: VringFd, mut fds: Fds) -> Result<(), Refusal> {
        let request = Request::SetVringKick;
        let ring = self.ring(request, u32::from(vring.index))?;
        let fd = fds.pop();
        if fd.as_ref().is_some_and(|fd| !fd.is_eventfd()) {
            return Err(Refusal::NotEventfd { request, index: vring.index });
        }
        self.rings[ring].set_kick(fd);
        self.start_rings();
        Ok(())
    }

    fn set_vring_call(&mut self, vring: VringFd, mut fds: Fds) -> Result<(), Refusal> {
        let request = Request::SetVringCall;
        let ring = self.ring(request, u32::from(vring.index))?;
        self.rings[ring].set_call(fds.pop()).map_err(|_| Refusal::NotEventfd { request, index: vring.index })
    }

    fn net_set_mtu(&mut self, asked: u64) -> Result<(), Refusal> {
        let most = self.limits.mtu.unwrap_or(u16::MAX);
        let mtu = u16::try_from(asked).ok().filter(|mtu| (MIN_MTU..=most).contains(mtu));
        self.guest_mtu = Some(mtu.ok_or(Refusal::Mtu { asked, most })?);
        Ok(())
    }

    fn set_status(&mut self, status: u64, ack: Ack, now: Instant) -> Outcome {
        self.status = u8::try_from(status).map_err(|_| Refusal::Status(status))?;
        if self.status == 0 {
            return Ok(Answer::Begun(self.change(None, Change::Halt, ack, now)?));
        }
        Ok(Answer::Done)
    }
}

fn asked(region: MemRegion, fd: OwnedFd) -> RegionRequest {
    RegionRequest {
        guest: GuestPhys(region.guest),
        frontend: FrontendVirt(region.frontend),
        len: region.len,
        mmap_offset: region.mmap_offset,
        fd,
    }
}
