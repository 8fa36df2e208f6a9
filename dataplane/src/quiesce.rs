//! Grace periods: how the control side knows that no worker still looks at what it has unpublished.
//!
//! Each worker passes a quiet point once a turn, at which it holds no reference to anything shared. The control
//! side begins a [`Grace`] after unpublishing and frees when every worker has passed a quiet point since. There
//! is no barrier: workers never wait, and a worker that sleeps is offline and counts as passed.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering, fence};

/// What a worker's word holds while it sleeps.
const OFFLINE: u64 = u64::MAX;

/// The epoch, written by control threads, and a word for each worker, written by that worker alone.
#[derive(Debug)]
pub(crate) struct Quiescence {
    epoch: CachePadded<AtomicU64>,
    seen: Box<[CachePadded<AtomicU64>]>,
}

/// A moment that every worker must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grace(u64);

impl Quiescence {
    /// All workers are offline at first.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            epoch: CachePadded::new(AtomicU64::new(1)),
            seen: (0..workers).map(|_| CachePadded::new(AtomicU64::new(OFFLINE))).collect(),
        }
    }

    /// Begins a grace period. What the caller unpublished before is out of reach once it has passed.
    pub(crate) fn begin(&self) -> Grace {
        Grace(self.epoch.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Whether every worker has passed a quiet point (or slept) since `grace` began.
    pub(crate) fn passed(&self, grace: Grace) -> bool {
        self.laggard(grace).is_none()
    }

    /// The first worker that has not passed yet.
    pub(crate) fn laggard(&self, grace: Grace) -> Option<usize> {
        // A worker that comes online now must see everything that was unpublished before `begin`.
        fence(Ordering::SeqCst);
        self.seen.iter().position(|seen| {
            // Acquire: what the worker did before its quiet point happened before what we do now.
            let seen = seen.load(Ordering::Acquire);
            seen != OFFLINE && seen < grace.0
        })
    }

    /// Worker `worker` holds nothing. Called by that worker, once a turn.
    #[inline(always)]
    pub(crate) fn pass(&self, worker: usize) {
        // Acquire: what was unpublished before this epoch began is not seen after.
        let epoch = self.epoch.load(Ordering::Acquire);
        let seen = &self.seen[worker];
        if seen.load(Ordering::Relaxed) != epoch {
            seen.store(epoch, Ordering::Release);
        }
    }

    /// Worker `worker` goes to sleep. Called by that worker, holding nothing.
    pub(crate) fn offline(&self, worker: usize) {
        self.seen[worker].store(OFFLINE, Ordering::Release);
    }

    /// Worker `worker` wakes up. Called by that worker before it looks at anything shared.
    pub(crate) fn online(&self, worker: usize) {
        let epoch = self.epoch.load(Ordering::Acquire);
        self.seen[worker].store(epoch, Ordering::Relaxed);
        // Either a control thread sees that we are online, or we see what it unpublished.
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn grace_passes_when_all_have_passed_or_sleep() {
        let q = Quiescence::new(2);
        assert!(q.passed(q.begin()), "all sleep");
        q.online(0);
        q.online(1);
        let grace = q.begin();
        assert_eq!(q.laggard(grace), Some(0));
        q.pass(0);
        assert_eq!(q.laggard(grace), Some(1));
        q.offline(1);
        assert!(q.passed(grace));
        q.online(1);
        assert!(q.passed(grace), "a worker that woke later has seen everything");
    }
}

#[cfg(all(test, loom))]
#[expect(unsafe_code, reason = "a pointer that the protocol under test keeps alive")]
mod loom_tests {
    use super::*;
    use crate::sync::{AtomicPtr, Cell};
    use loom::sync::Arc;
    use loom::thread;

    /// A worker reads through a published pointer; the control side replaces and frees what was behind it.
    fn replace_and_free(asleep: bool) {
        loom::model(move || {
            let q = Arc::new(Quiescence::new(1));
            let old = Box::into_raw(Box::new(Cell::new(1u32)));
            let new = Box::into_raw(Box::new(Cell::new(2u32)));
            let published = Arc::new(AtomicPtr::new(old));
            if !asleep {
                q.online(0);
            }
            let worker = {
                let (q, published) = (q.clone(), published.clone());
                thread::spawn(move || {
                    if asleep {
                        q.online(0);
                    }
                    for _ in 0..2 {
                        q.pass(0);
                        let seen = published.load(Ordering::Acquire);
                        // SAFETY: the protocol under test keeps it alive until the next quiet point.
                        let value = unsafe { (*seen).with(|v| *v) };
                        assert!(value == 1 || value == 2);
                    }
                    q.offline(0);
                })
            };
            published.store(new, Ordering::SeqCst);
            let grace = q.begin();
            let mut tries = 0;
            while !q.passed(grace) && tries < 2 {
                tries += 1;
                thread::yield_now();
            }
            if q.passed(grace) {
                // SAFETY: nobody can reach the old value any more; loom reports a race if that is wrong.
                unsafe { (*old).with_mut(|v| *v = 99) };
            }
            worker.join().unwrap();
            // SAFETY: both came from Box::into_raw and nobody uses them any more.
            unsafe {
                drop(Box::from_raw(old));
                drop(Box::from_raw(new));
            }
        });
    }

    #[test]
    fn loom_snapshot_replaced_under_a_running_worker() {
        replace_and_free(false);
    }

    #[test]
    fn loom_snapshot_replaced_while_a_worker_wakes() {
        replace_and_free(true);
    }
}
