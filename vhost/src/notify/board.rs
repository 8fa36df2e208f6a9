//! What workers, the control thread and the notifier share: one bit a line, and the descriptor of each.
//!
//! A mark is one atomic operation on a word that 64 lines share, in a cache line of its own. Lines are handed out word
//! by word in turn: the first 256 rings have a word each, so that workers which serve different ports write different
//! cache lines. The notifier goes to sleep only after it has announced that and then found all words empty; a worker
//! looks at the announcement after it has set its bit. Both orders are sequentially consistent, so one of the two sees
//! the other.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use crate::fault::wake_eventfd;
use crate::tenant_fd::TenantFd;

/// Call descriptors there can be: 256 ports with 32 rings each, or 8192 with one queue pair.
pub(super) const LINES: usize = 16_384;
const WORD_BITS: usize = 64;
const WORDS: usize = LINES / WORD_BITS;

/// Which port a line belongs to, for the bound on time. Not the port's key: never used twice.
pub(super) type Group = u64;

#[derive(Debug, Default)]
struct Connected {
    group: Group,
    fd: Option<Arc<TenantFd>>,
}

#[derive(Debug)]
pub(super) struct Board {
    words: Box<[CachePadded<AtomicU64>]>,
    /// Written by the control thread, read by the notifier; never touched by a worker.
    lines: Box<[Mutex<Connected>]>,
    free: Mutex<Vec<u32>>,
    sleeping: CachePadded<AtomicBool>,
    stop: AtomicBool,
    wake: OwnedFd,
}

/// A panic under one of these locks leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(super) fn new(wake: OwnedFd) -> Self {
        Self {
            words: (0..WORDS).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            lines: (0..LINES).map(|_| Mutex::default()).collect(),
            free: Mutex::new((0..LINES).rev().map(|n| (n % WORDS * WORD_BITS + n / WORDS) as u32).collect()),
            sleeping: CachePadded::new(AtomicBool::new(false)),
            stop: AtomicBool::new(false),
            wake,
        }
    }

    /// Takes a free line for a port.
    pub(super) fn take(&self, group: Group) -> Option<u32> {
        let id = lock(&self.free).pop()?;
        *lock(&self.lines[id as usize]) = Connected { group, fd: None };
        Some(id)
    }

    /// Gives a line back. A mark that is still set signals nothing.
    pub(super) fn release(&self, id: u32) {
        self.connect(id, None);
        lock(&self.free).push(id);
    }

    pub(super) fn connect(&self, id: u32, fd: Option<TenantFd>) {
        let old = std::mem::replace(&mut lock(&self.lines[id as usize]).fd, fd.map(Arc::new));
        drop(old); // outside the lock; the last owner disposes of it
    }

    /// The descriptor of a line, kept open while it is being signalled.
    pub(super) fn connected(&self, id: u32) -> Option<(Group, Arc<TenantFd>)> {
        let line = lock(&self.lines[id as usize]);
        line.fd.clone().map(|fd| (line.group, fd))
    }

    /// The address of a line's word.
    #[cfg(test)]
    pub(super) fn word_of(&self, id: u32) -> usize {
        std::ptr::from_ref(&*self.words[id as usize / WORD_BITS]) as usize
    }

    /// Called by workers.
    #[inline]
    pub(super) fn mark(&self, id: u32) {
        let bit = 1 << (id as usize % WORD_BITS);
        let before = self.words[id as usize / WORD_BITS].fetch_or(bit, Ordering::SeqCst);
        if before & bit == 0 && self.sleeping.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            wake_eventfd(&self.wake);
        }
    }

    /// Takes all marks and hands their lines to `each`. Called by the notifier.
    pub(super) fn take_marks(&self, mut each: impl FnMut(u32)) {
        for (number, word) in self.words.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                each((number * WORD_BITS) as u32 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }

    /// Announces sleep. True if the notifier may sleep: no mark is set and it need not stop.
    pub(super) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let idle = self.words.iter().all(|word| word.load(Ordering::SeqCst) == 0) && !self.stopping();
        if !idle {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        idle
    }

    pub(super) fn woken(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        wake_eventfd(&self.wake);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(super) fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }
}
