//! Where frames leave the switch: one guest receive ring or device transmit queue, shared by workers.
//!
//! An outlet that one worker alone feeds takes no lock. One that several feed has a try-lock, held for at most a
//! burst. Which of the two holds is decided by the control side from the plan of queues: it makes an outlet
//! shared, waits for a grace period, and only then lets a second worker near it. Putting a ring in and taking it
//! out is done by control threads: close, grace period, take.
#![expect(unsafe_code, reason = "a cell that a state word and grace periods guard")]

use crate::sync::{AtomicU8, Cell, Ordering};

/// A ring or queue is in place.
const OPEN: u8 = 1;
/// Several workers feed it.
const SHARED: u8 = 2;
/// One of them is at it.
const LOCKED: u8 = 4;

/// A place for a ring that workers write to, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Outlet<T> {
    state: AtomicU8,
    cell: Cell<Option<T>>,
}

// SAFETY: the cell is accessed by one thread at a time: by the only worker that feeds it, by the holder of LOCKED,
// or by a control thread while it is closed and a grace period has passed.
unsafe impl<T: Send> Sync for Outlet<T> {}

/// Why an outlet cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// Nothing is in place.
    Closed,
    /// Another worker is at it.
    Busy,
}

impl<T> Outlet<T> {
    /// Closed and empty.
    pub(crate) fn new(shared: bool) -> Self {
        Self { state: AtomicU8::new(if shared { SHARED } else { 0 }), cell: Cell::new(None) }
    }

    /// Runs `f` on what is in place. Called by workers only; `f` must not come back to this outlet.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, Unavailable> {
        let state = self.state.load(Ordering::Acquire);
        if state & OPEN == 0 {
            return Err(Unavailable::Closed);
        }
        if state & SHARED == 0 {
            return Ok(self.enter(f));
        }
        if state & LOCKED != 0
            || self
                .state
                .compare_exchange(state, state | LOCKED, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return Err(Unavailable::Busy);
        }
        let _unlock = Unlock(&self.state);
        Ok(self.enter(f))
    }

    #[inline(always)]
    fn enter<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.cell.with_mut(|cell| {
            // SAFETY: this thread is the only one that feeds the outlet, or holds LOCKED; control threads stay
            // away while it is open and for a grace period after.
            let place = unsafe { &mut *cell };
            f(place.as_mut().expect("an open outlet holds a ring"))
        })
    }

    /// Whether something is in place.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) & OPEN != 0
    }

    /// Says whether several workers feed it. Making it shared must be followed by a grace period before a second
    /// worker comes near; making it unshared must follow one after the second has left. Control threads only.
    pub(crate) fn set_shared(&self, shared: bool) {
        if shared {
            self.state.fetch_or(SHARED, Ordering::SeqCst);
        } else {
            self.state.fetch_and(!SHARED, Ordering::SeqCst);
        }
    }

    /// Puts a ring in place. The outlet is closed, and empty or left by all workers. Control threads only.
    pub(crate) fn open(&self, ring: T) {
        // SAFETY: closed: no worker touches the cell, and only one control thread handles an outlet at a time.
        self.cell.with_mut(|cell| unsafe { *cell = Some(ring) });
        self.state.fetch_or(OPEN, Ordering::Release);
    }

    /// Keeps workers that look from now on away. Control threads only.
    pub(crate) fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::SeqCst);
    }

    /// Takes out what is in place, after [`Outlet::close`] and a grace period. Control threads only.
    pub(crate) fn take(&self) -> Option<T> {
        // SAFETY: closed, and every worker has passed a quiet point since.
        self.cell.with_mut(|cell| unsafe { (*cell).take() })
    }
}

/// Unlocks even if a worker panics.
struct Unlock<'a>(&'a AtomicU8);

impl Drop for Unlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.fetch_and(!LOCKED, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::quiesce::Quiescence;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_two_workers_never_hold_an_outlet_together() {
        loom::model(|| {
            let outlet = Arc::new(Outlet::new(true));
            outlet.open(0u32);
            let other = outlet.clone();
            let worker = thread::spawn(move || other.with(|n| *n += 1).is_ok());
            let mine = outlet.with(|n| *n += 1).is_ok();
            let sum = u32::from(mine) + u32::from(worker.join().unwrap());
            assert_eq!(outlet.with(|n| *n), Ok(sum));
        });
    }

    #[test]
    fn loom_ring_is_taken_only_after_the_worker_let_go() {
        loom::model(|| {
            let q = Arc::new(Quiescence::new(1));
            let outlet = Arc::new(Outlet::new(false));
            outlet.open(1u32);
            q.online(0);
            let worker = {
                let (q, outlet) = (q.clone(), outlet.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        q.pass(0);
                        let _ = outlet.with(|n| *n += 1);
                    }
                    q.offline(0);
                })
            };
            outlet.close();
            let grace = q.begin();
            let mut tries = 0;
            while !q.passed(grace) && tries < 2 {
                tries += 1;
                thread::yield_now();
            }
            if q.passed(grace) {
                assert!(outlet.take().is_some());
                assert!(!outlet.is_open());
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_outlet_becomes_shared_before_a_second_worker_comes() {
        loom::model(|| {
            let q = Arc::new(Quiescence::new(1));
            let outlet = Arc::new(Outlet::new(false));
            outlet.open(0u32);
            q.online(0);
            let first = {
                let (q, outlet) = (q.clone(), outlet.clone());
                thread::spawn(move || {
                    q.pass(0);
                    let _ = outlet.with(|n| *n += 1);
                    q.pass(0);
                    let _ = outlet.with(|n| *n += 1);
                    q.offline(0);
                })
            };
            outlet.set_shared(true);
            let grace = q.begin();
            if q.passed(grace) {
                // The second worker is this thread.
                let _ = outlet.with(|n| *n += 1);
            }
            first.join().unwrap();
        });
    }
}
