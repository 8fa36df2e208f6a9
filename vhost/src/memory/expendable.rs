//! Threads that may get stuck in the kernel because of what a tenant handed over.
//!
//! A `close` can wait for seconds (a socket with linger, a FUSE file), a `fstatfs` for ever. Such calls are made
//! on pools of threads that grow when all of them are busy, up to a bound, and shrink when there is nothing to do.
//! What finds a pool full waits in its queue; descriptors that find the queue full are kept open and counted.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::mapping::MappedRange;

/// A thread without work ends after this long; the next job starts a new one.
const IDLE: Duration = Duration::from_secs(5);
/// Threads that may be stuck closing descriptors.
const CLOSERS: usize = 16;
/// Descriptors that may wait for a closer.
const CLOSE_QUEUE: usize = 4096;

/// Descriptors of tenants that this process still holds although it wants to be rid of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Waiting for a thread to close them, or being closed by one that is stuck.
    pub closing: usize,
    /// Given up, because too many were waiting; open until the process ends.
    pub given_up: u64,
}

/// A bounded pool of threads for jobs of one kind.
#[derive(Debug)]
pub(super) struct Pool<J>(Arc<Inner<J>>);

#[derive(Debug)]
struct Inner<J> {
    name: &'static str,
    run: fn(J),
    send: Sender<J>,
    receive: Receiver<J>,
    threads: AtomicUsize,
    /// Jobs queued or being run.
    pending: AtomicUsize,
    most: usize,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool of at most `most` threads, and at most `queue` waiting jobs. Threads start when needed.
    pub(super) fn new(name: &'static str, most: usize, queue: usize, run: fn(J)) -> Self {
        let (send, receive) = crossbeam_channel::bounded(queue);
        let counts = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { name, run, send, receive, threads: counts.0, pending: counts.1, most }))
    }

    /// Queues a job; gives it back if the queue is full. Never blocks.
    pub(super) fn submit(&self, job: J) -> Result<(), J> {
        let pending = self.0.pending.fetch_add(1, Ordering::AcqRel) + 1;
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.0.send.try_send(job) {
            self.0.pending.fetch_sub(1, Ordering::AcqRel);
            return Err(job);
        }
        self.grow(pending);
        Ok(())
    }

    /// Starts a thread if there are more jobs than threads and the bound allows one.
    fn grow(&self, pending: usize) {
        let grown = self.0.threads.fetch_update(Ordering::AcqRel, Ordering::Acquire, |threads| {
            (threads < pending && threads < self.0.most).then_some(threads + 1)
        });
        if grown.is_err() {
            return;
        }
        let inner = Arc::clone(&self.0);
        if let Err(error) = thread::Builder::new().name(self.0.name.into()).spawn(move || inner.serve()) {
            // The job stays queued, and the next submission tries again.
            self.0.threads.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(thread = self.0.name, %error, "cannot start a thread");
        }
    }

    /// Jobs queued or being run.
    pub(super) fn pending(&self) -> usize {
        self.0.pending.load(Ordering::Acquire)
    }
}

impl<J> Inner<J> {
    fn serve(&self) {
        loop {
            while let Ok(job) = self.receive.recv_timeout(IDLE) {
                (self.run)(job);
                self.pending.fetch_sub(1, Ordering::AcqRel);
            }
            self.threads.fetch_sub(1, Ordering::AcqRel);
            // A job that came between the timeout and the decrement saw this thread as there: take it back on.
            if self.receive.is_empty() {
                return;
            }
            self.threads.fetch_add(1, Ordering::AcqRel);
        }
    }
}

static CLOSER: OnceLock<Pool<OwnedFd>> = OnceLock::new();
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

/// Closes a descriptor that a tenant handed over, on a thread that may block. Never blocks the caller.
///
/// When thousands already wait behind stuck closes, the descriptor is kept open and counted in [`leaks`].
pub fn dispose(fd: OwnedFd) {
    let closer = CLOSER.get_or_init(|| Pool::new("vhost-close", CLOSERS, CLOSE_QUEUE, drop));
    if let Err(fd) = closer.submit(fd) {
        std::mem::forget(fd);
        // One line for the first and for every thousandth: a tenant can cause these.
        let before = GIVEN_UP.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(1000) {
            tracing::warn!(given_up = before + 1, "descriptors of tenants that block in close stay open");
        }
    }
}

/// Descriptors that could not be closed yet, or were given up.
#[must_use]
pub fn leaks() -> Leaks {
    Leaks { closing: CLOSER.get().map_or(0, Pool::pending), given_up: GIVEN_UP.load(Ordering::Relaxed) }
}

/// Unmaps a range on the unmapping thread. Never blocks the caller.
pub(super) fn unmap(range: MappedRange) {
    static UNMAPPER: OnceLock<Pool<MappedRange>> = OnceLock::new();
    // One thread: two would only wait for each other's lock in the kernel. The queue is larger than all
    // mappings that can be guarded at once.
    let unmapper =
        UNMAPPER.get_or_init(|| Pool::new("vhost-unmap", 1, 4 * super::sigbus::SLOTS, MappedRange::unmap));
    if let Err(range) = unmapper.submit(range) {
        range.unmap();
    }
}
