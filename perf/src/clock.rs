//! Time in ticks of the CPU's time stamp counter, calibrated against the system's clock.
//!
//! A tick costs a few nanoseconds to read and is the same on all cores (`constant_tsc`, `nonstop_tsc`), so that a
//! stamp written by one thread means the same to another. Elsewhere than on x86-64 a tick is a nanosecond.
#![expect(
    unsafe_code,
    reason = "reading the time stamp counter is an unsafe function in the standard library"
)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The counter now, ticks.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction and Linux lets user mode use it.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// What a tick is worth.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: f64,
}

impl Clock {
    /// The calibrated clock. The first call of the process takes a tenth of a second.
    #[must_use]
    pub fn calibrated() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(Self::calibrate)
    }

    fn calibrate() -> Self {
        let (start, begin) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(100));
        let (elapsed, end) = (start.elapsed(), ticks());
        Self { hz: (end - begin) as f64 / elapsed.as_secs_f64() }
    }

    /// Ticks a second.
    #[must_use]
    pub fn hz(self) -> f64 {
        self.hz
    }

    /// Nanoseconds that so many ticks take.
    #[inline(always)]
    #[must_use]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        (ticks as f64 * 1e9 / self.hz) as u64
    }

    /// Seconds that so many ticks take.
    #[must_use]
    pub fn seconds(self, ticks: u64) -> f64 {
        ticks as f64 / self.hz
    }

    /// Ticks in a duration.
    #[must_use]
    pub fn in_ticks(self, duration: Duration) -> u64 {
        (duration.as_secs_f64() * self.hz) as u64
    }
}

/// Pins the calling thread to one CPU.
///
/// # Errors
/// If there is no such CPU, or this process may not use it.
pub fn pin(cpu: u32) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if cpu as usize >= rustix::thread::CpuSet::MAX_CPU {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    set.set(cpu as usize);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_agree_with_the_system() {
        let clock = Clock::calibrated();
        let (start, begin) = (Instant::now(), ticks());
        while start.elapsed() < Duration::from_millis(20) {}
        let seconds = clock.seconds(ticks() - begin);
        assert!((0.0199..0.2).contains(&seconds), "{seconds}");
        let ns = clock.nanoseconds(clock.in_ticks(Duration::from_micros(1000)));
        assert!((999_000..=1_000_000).contains(&ns), "{ns}");
    }

    #[test]
    fn a_thread_is_pinned() {
        let now = || rustix::thread::sched_getaffinity(None).unwrap();
        let cpu = (0..64).find(|&cpu| now().is_set(cpu)).unwrap();
        let before = now();
        pin(cpu as u32).unwrap();
        assert_eq!(now().count(), 1);
        rustix::thread::sched_setaffinity(None, &before).unwrap();
        assert!(pin(100_000).is_err());
    }
}
