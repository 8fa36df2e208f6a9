//! The seam between the control thread, which decides about rings, and the workers, which run them.
//!
//! A ring is a value that has one owner at a time. The session builds it, lends it to the [`RingOwner`], asks
//! for it back and gets it back when every worker has let go; only then may memory be unmapped or a
//! `GET_VRING_BASE` be answered.

use crate::fault::Fault;
use crate::ring::DeviceRing;

/// Index of a ring in the vhost-user protocol: even ones are the guest's receive rings, odd ones its
/// transmit rings; ring / 2 is the queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingIndex(pub u16);

impl RingIndex {
    /// The queue pair it belongs to.
    #[must_use]
    pub fn pair(self) -> u16 {
        self.0 / 2
    }

    /// True for a ring on which the guest sends (and the switch receives).
    #[must_use]
    pub fn is_guest_transmit(self) -> bool {
        self.0 % 2 == 1
    }
}

/// What happens to the connection as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// At least one ring runs.
    Up,
    /// No ring runs any more (stopped, disconnected or faulted).
    Down,
    /// The connection ended because of what the tenant did.
    Faulted(Fault),
    /// The frontend asks that a RARP with this source MAC be sent into its network (`SEND_RARP`).
    Announce([u8; 6]),
}

/// Whoever runs a port's rings: the dataplane. Called from the control thread only, and must never block it.
pub trait RingOwner: Send {
    /// Takes a ring over and begins to serve it.
    fn start(&mut self, index: RingIndex, ring: DeviceRing);

    /// Asks for a ring back. Until [`RingOwner::stopped`] returns it, workers may still touch it.
    fn stop(&mut self, index: RingIndex);

    /// Returns the ring once every worker has passed a quiet point since [`RingOwner::stop`].
    /// Polled by the control thread about once a millisecond or faster.
    fn stopped(&mut self, index: RingIndex) -> Option<DeviceRing>;

    /// Tells what happened to the connection.
    fn link(&mut self, event: LinkEvent);
}
