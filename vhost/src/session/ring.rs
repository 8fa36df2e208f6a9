//! One ring as the protocol sees it: what was set, and who has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::report::{NotRunning, RingReport};
use crate::address::FrontendVirt;
use crate::fault::{Fault, FaultCell};
use crate::features::Features;
use crate::memory::GuestMemory;
use crate::message::VringAddr;
use crate::notify::{Line, NotEventfd};
use crate::owner::{RingIndex, RingOwner};
use crate::ring::{DeviceRing, RingSetup};
use crate::tenant_fd::TenantFd;

/// Who has a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nobody: it does not exist, or came back.
    Home,
    /// The ring owner; workers touch guest memory.
    Lent,
    /// The ring owner was asked for it back; workers may still touch guest memory.
    Returning { since: Instant },
}

/// A ring. Two bits of the protocol are independent: *started* (from `SET_VRING_KICK` to `GET_VRING_BASE`) and
/// *enabled* (`SET_VRING_ENABLE`).
pub(super) struct Ring {
    pub(super) index: RingIndex,
    line: Line,
    enabled: Arc<AtomicBool>,
    pub(super) size: Option<u16>,
    pub(super) addr: Option<VringAddr>,
    pub(super) base: u16,
    /// The frontend wants it started.
    pub(super) kicked: bool,
    /// Kept, never read: a poll-mode device gets no kicks, and a read could block.
    kick: Option<TenantFd>,
    invalid: Option<Fault>,
    place: Place,
}

impl Ring {
    pub(super) fn new(index: RingIndex, line: Line) -> Self {
        Self {
            index,
            line,
            enabled: Arc::new(AtomicBool::new(false)),
            size: None,
            addr: None,
            base: 0,
            kicked: false,
            kick: None,
            invalid: None,
            place: Place::Home,
        }
    }

    pub(super) fn is_home(&self) -> bool {
        self.place == Place::Home
    }

    pub(super) fn is_lent(&self) -> bool {
        self.place == Place::Lent
    }

    pub(super) fn is_returning(&self) -> bool {
        matches!(self.place, Place::Returning { .. })
    }

    /// Since when workers have been asked for it.
    pub(super) fn returning_since(&self) -> Option<Instant> {
        match self.place {
            Place::Returning { since } => Some(since),
            _ => None,
        }
    }

    /// Back to what it was before the connection; who has it does not change.
    pub(super) fn forget(&mut self) {
        self.reset();
        self.enabled.store(false, Ordering::Release);
        let _ = self.line.connect(None);
    }

    /// Back to the initial state, as `RESET_DEVICE` asks; the call descriptor stays.
    pub(super) fn reset(&mut self) {
        self.size = None;
        self.addr = None;
        self.base = 0;
        self.invalid = None;
        self.halt();
    }

    /// Not to be started until the next `SET_VRING_KICK`.
    pub(super) fn halt(&mut self) {
        self.kicked = false;
        self.kick = None;
    }

    pub(super) fn set_enabled(&self, on: bool) {
        self.enabled.store(on, Ordering::Release);
    }

    pub(super) fn set_kick(&mut self, fd: Option<TenantFd>) {
        self.kick = fd;
        self.kicked = true;
    }

    /// Connects the guest's call descriptor. A running ring signals it once: what was used while the old one was
    /// still connected may have gone there.
    pub(super) fn set_call(&self, fd: Option<TenantFd>) -> Result<(), NotEventfd> {
        self.line.connect(fd)?;
        if self.is_lent() {
            self.line.call().mark();
        }
        Ok(())
    }

    /// Why it does not run, as far as the ring itself knows.
    pub(super) fn why_not(&self, features: Option<Features>, has_memory: bool) -> Option<NotRunning> {
        match self.place {
            Place::Lent => return None,
            Place::Returning { .. } => return Some(NotRunning::Stopping),
            Place::Home => {}
        }
        Some(match self.invalid {
            _ if !self.kicked => NotRunning::NotStarted,
            _ if features.is_none() => NotRunning::NoFeatures,
            _ if self.size.is_none() => NotRunning::NoSize,
            _ if self.addr.is_none() => NotRunning::NoAddress,
            _ if !has_memory => NotRunning::NoMemory,
            Some(fault) => NotRunning::Invalid(fault),
            None => NotRunning::NotStarted,
        })
    }

    /// Starts it if the frontend wants that and all that is needed is there.
    pub(super) fn try_start(
        &mut self,
        memory: Option<&Arc<GuestMemory>>,
        features: Option<Features>,
        fault: &FaultCell,
        owner: &mut dyn RingOwner,
    ) {
        let (Some(memory), Some(features), Some(size), Some(addr)) = (memory, features, self.size, self.addr)
        else {
            return;
        };
        if !self.kicked || !self.is_home() {
            return;
        }
        let setup = RingSetup {
            size,
            desc: FrontendVirt(addr.desc),
            avail: FrontendVirt(addr.avail),
            used: FrontendVirt(addr.used),
            base: self.base,
            features,
        };
        let (memory, enabled) = (Arc::clone(memory), Arc::clone(&self.enabled));
        match DeviceRing::new(memory, setup, enabled, fault.clone(), self.line.call()) {
            Ok(ring) => {
                self.invalid = None;
                self.place = Place::Lent;
                owner.start(self.index, ring);
            }
            Err(fault) => self.invalid = Some(fault),
        }
    }

    pub(super) fn ask_back(&mut self, owner: &mut dyn RingOwner, now: Instant) {
        if self.is_lent() {
            self.place = Place::Returning { since: now };
            owner.stop(self.index);
        }
    }

    /// Takes it in if it came back; true if it is home.
    pub(super) fn poll_back(&mut self, owner: &mut dyn RingOwner) -> bool {
        if self.is_returning()
            && let Some(ring) = owner.stopped(self.index)
        {
            self.base = ring.base();
            self.place = Place::Home;
        }
        self.is_home()
    }

    pub(super) fn report(&self, why_not: Option<NotRunning>) -> RingReport {
        RingReport {
            index: self.index,
            size: self.size.unwrap_or(0),
            started: self.is_lent(),
            enabled: self.enabled.load(Ordering::Relaxed),
            why_not,
        }
    }
}
