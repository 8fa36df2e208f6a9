//! Everything that workers read and never write: ports, networks and rules, as one immutable value.
//!
//! The control side builds a new one for every change and publishes it with one pointer store. The old one is
//! dropped on the control side, when every worker has passed a quiet point.
#![expect(unsafe_code, reason = "a published pointer whose referent grace periods keep alive")]

use std::sync::Arc;

use crate::fdb::{Dest, Fdb};
use crate::ids::NetworkId;
use crate::port::PortShared;
use crate::security::Admission;
use crate::sync::{AtomicPtr, Ordering};

/// A port's place in the snapshot. Used again only after a grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortSlot(pub u16);

/// Slots there are: the values above mean something else in [`crate::burst::Burst::out`].
pub(crate) const MAX_SLOTS: usize = 32_768;

/// No port.
const NOBODY: u16 = u16::MAX;

/// One port, as workers see it.
#[derive(Debug)]
pub(crate) struct PortEntry {
    pub shared: Arc<PortShared>,
    /// Index into [`Snapshot::networks`].
    pub network: u16,
    /// Its number within that network.
    pub dest: Dest,
    pub admission: Admission,
    /// Longest frame it may send and be sent, bytes; without tags.
    pub max_frame: u32,
    pub admin_up: bool,
}

/// One network, as workers see it.
#[derive(Debug)]
pub(crate) struct NetworkEntry {
    pub id: NetworkId,
    pub fdb: Arc<Fdb>,
    /// Slots of its ports, ascending.
    pub members: Box<[u16]>,
    /// Slot of each of its destinations.
    dests: Box<[u16]>,
}

impl NetworkEntry {
    /// A network whose members are the given slots and destinations.
    pub(crate) fn new(id: NetworkId, fdb: Arc<Fdb>, ports: &[(PortSlot, Dest)]) -> Self {
        let mut members: Vec<u16> = ports.iter().map(|(slot, _)| slot.0).collect();
        members.sort_unstable();
        let highest = ports.iter().map(|(_, dest)| usize::from(dest.0) + 1).max().unwrap_or(0);
        let mut dests = vec![NOBODY; highest];
        for (slot, dest) in ports {
            dests[usize::from(dest.0)] = slot.0;
        }
        Self { id, fdb, members: members.into(), dests: dests.into() }
    }

    /// The slot behind a destination; `None` if it is not in this network (any more).
    #[inline(always)]
    pub(crate) fn slot(&self, dest: Dest) -> Option<u16> {
        self.dests.get(usize::from(dest.0)).copied().filter(|slot| *slot != NOBODY)
    }
}

/// What workers read.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub ports: Box<[Option<PortEntry>]>,
    pub networks: Box<[Option<NetworkEntry>]>,
}

impl Snapshot {
    /// The port in a slot.
    #[inline(always)]
    pub(crate) fn port(&self, slot: u16) -> Option<&PortEntry> {
        self.ports.get(usize::from(slot))?.as_ref()
    }

    /// A network by its index.
    #[inline(always)]
    pub(crate) fn network(&self, index: u16) -> Option<&NetworkEntry> {
        self.networks.get(usize::from(index))?.as_ref()
    }
}

/// The snapshot in force.
#[derive(Debug)]
pub(crate) struct Published(AtomicPtr<Snapshot>);

/// A snapshot that was replaced. It must live until a grace period that began after has passed; dropping this
/// drops it.
#[must_use = "it must be kept for a grace period"]
pub(crate) struct Retired(*mut Snapshot);

// SAFETY: a box in disguise; `Snapshot` may be dropped on any thread.
unsafe impl Send for Retired {}

impl Published {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(Box::into_raw(Box::default())))
    }

    /// The snapshot in force.
    ///
    /// # Safety
    /// The caller is a worker that is online, and drops the reference before its next quiet point.
    #[inline(always)]
    pub(crate) unsafe fn read(&self) -> &Snapshot {
        // SAFETY: the pointer came from a box that lives until every worker has passed a quiet point after it was
        // replaced, which the caller has not.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }

    /// Puts a new snapshot in force.
    pub(crate) fn publish(&self, snapshot: Snapshot) -> Retired {
        Retired(self.0.swap(Box::into_raw(Box::new(snapshot)), Ordering::SeqCst))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        drop(Retired(self.0.load(Ordering::Acquire)));
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        // SAFETY: it came from `Box::into_raw` and was taken out of `Published`; its grace period has passed, or
        // no worker runs.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
