//! Waiting for a condition with a generous deadline: the tests share two CPUs with everything that they start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that normally takes a second or less.
pub const PATIENCE: Duration = Duration::from_secs(60);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends every wait, now and later, with a panic: what was started is taken down on the way.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether [`interrupt`] was called.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Lets time pass.
pub fn pause(time: Duration) {
    attempt(time, || None::<()>);
}

/// Asks `probe` every 20 ms until it answers, and panics naming `what` after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// As [`until`], with its own deadline.
#[track_caller]
pub fn within<T>(deadline: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    attempt(deadline, probe).unwrap_or_else(|| panic!("waited {deadline:?} in vain for: {what}"))
}

/// As [`within`], but `None` when the deadline has passed.
pub fn attempt<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        assert!(!interrupted(), "interrupted");
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads `counter` until it has stood still for `still`, and gives its last value.
#[track_caller]
pub fn settled<T: PartialEq>(still: Duration, mut counter: impl FnMut() -> T) -> T {
    let end = Instant::now() + PATIENCE;
    let mut last = counter();
    let mut since = Instant::now();
    while since.elapsed() < still {
        assert!(Instant::now() < end, "counters were still moving after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
        let now = counter();
        if now != last {
            last = now;
            since = Instant::now();
        }
    }
    last
}
