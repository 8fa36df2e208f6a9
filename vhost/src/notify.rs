//! Notification of guests.
//!
//! A guest is told that buffers were used by a write to an eventfd that the guest owns and can make block for
//! ever, so a worker never writes it: it marks the ring's [`Call`] and wakes the notifier thread if that sleeps.
//! The notifier signals through the kernel's asynchronous I/O, whose "result eventfd" is incremented inside the
//! kernel and cannot block; and it bounds the time that it spends on one port, since a tenant can make even
//! this slow by hanging thousands of waiters on its eventfd.
//!
//! [`Call`] is used by workers, [`Line`] by the control thread.

mod aio;
mod board;
mod pace;
mod thread;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use board::Board;

use crate::tenant_fd::TenantFd;

pub use thread::Notifier;

/// Whether the kernel has what guests are notified with.
///
/// # Errors
/// What the kernel says.
pub fn available() -> std::io::Result<()> {
    aio::Aio::new().map(drop)
}

/// A ring's call descriptor as a worker sees it: a mark, and nothing that can block.
#[derive(Clone, Debug, Default)]
pub struct Call(Option<Arc<Slot>>);

impl Call {
    /// A call that leads nowhere: marks do nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Marks that the guest wants to be told. Called by workers; costs an atomic operation, and a wake-up of the
    /// notifier thread if that sleeps.
    #[inline]
    pub fn mark(&self) {
        if let Some(slot) = &self.0 {
            slot.board.mark(slot.id);
        }
    }
}

/// A place on the notifier's board.
#[derive(Debug)]
struct Slot {
    id: u32,
    board: Arc<Board>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.board.release(self.id);
    }
}

/// A ring's call descriptor as the session sees it: it connects guests' eventfds and hands out [`Call`]s.
#[derive(Debug)]
pub struct Line(Arc<Slot>);

/// All places for call descriptors are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} places for call descriptors are taken")]
pub struct NoLine(pub usize);

/// The descriptor is not an eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor is not an eventfd")]
pub struct NotEventfd;

impl Line {
    /// What a worker is given. May be called any number of times; all lead to the descriptor connected last.
    #[must_use]
    pub fn call(&self) -> Call {
        Call(Some(Arc::clone(&self.0)))
    }

    /// Makes `fd` the descriptor that marks signal, or makes marks do nothing. The one before it is disposed of.
    ///
    /// # Errors
    /// If it is not an eventfd; the line is then connected to nothing.
    pub fn connect(&self, fd: Option<TenantFd>) -> Result<(), NotEventfd> {
        let (fd, result) = match fd {
            Some(fd) if !fd.is_eventfd() => (None, Err(NotEventfd)),
            fd => (fd, Ok(())),
        };
        self.0.board.connect(self.0.id, fd);
        result
    }
}
