//! What a worker asks of the kernel: its CPU at start, and sleep when there is nothing to do.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::time::Duration;

use crate::ids::CoreId;
use crate::spec::Idle;

/// Turns without frames before a worker begins to pause between polls.
const PATIENT_TURNS: u32 = 2_000;

/// Turns without frames before it sleeps.
const AWAKE_TURNS: u32 = 10_000;

/// Counts turns without frames and says how to pass the time.
#[derive(Debug)]
pub(super) struct Rest {
    empty: u32,
    how: Idle,
}

impl Rest {
    pub(super) fn new(how: Idle) -> Self {
        Self { empty: 0, how }
    }

    /// A turn moved frames.
    #[inline(always)]
    pub(super) fn worked(&mut self) {
        self.empty = 0;
    }

    /// A turn moved none. Returns how long to sleep, if it is time to.
    #[inline(always)]
    pub(super) fn idled(&mut self) -> Option<Duration> {
        let Idle::Adaptive(nap) = self.how else {
            std::hint::spin_loop();
            return None;
        };
        self.empty = self.empty.saturating_add(1);
        if self.empty < PATIENT_TURNS {
            return None;
        }
        if self.empty < AWAKE_TURNS {
            std::hint::spin_loop();
            return None;
        }
        Some(nap)
    }
}

/// Sleeps.
pub(super) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Binds the calling thread to one CPU, and lets its sleeps end when they should.
pub(super) fn pin(core: CoreId) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set; CPU_SET ignores what lies beyond it; the set outlives the call.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if core.0 as usize >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        libc::CPU_SET(core.0 as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: PR_SET_TIMERSLACK takes a number of nanoseconds and changes only the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    Ok(())
}

/// The kernel's number of the calling thread.
pub(super) fn thread_id() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}
