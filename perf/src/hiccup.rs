//! The hiccup meter: how long a thread on a CPU is kept from running, by whatever.
//!
//! A thread that does nothing but read the clock records every gap between two readings of more than a microsecond.
//! On a CPU that another thread uses it takes half of the time: there it runs before and after, not beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Clock, pin, ticks};

/// Gaps shorter than this are not recorded, ns.
pub const LEAST_NS: u64 = 1_000;
const MOST_NS: u64 = 10_000_000_000;

/// What a meter has seen.
#[derive(Clone, Debug)]
pub struct Hiccups {
    /// The CPU.
    pub cpu: u32,
    /// Gaps over [`LEAST_NS`], ns.
    pub gaps: Histogram<u64>,
    /// Their sum, ns.
    pub stolen_ns: u64,
    /// How long it ran, seconds.
    pub seconds: f64,
}

impl Hiccups {
    /// The longest gap, ns; 0 if there was none.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        self.gaps.max()
    }

    /// The gap, ns, that a reading at a random moment meets or exceeds with probability 1 − `quantile`: gaps are
    /// weighed with their length, and the time without gaps counts as 0.
    #[must_use]
    pub fn felt_ns(&self, quantile: f64) -> u64 {
        let mut rest = (1.0 - quantile) * self.seconds * 1e9;
        let mut recorded: Vec<_> =
            self.gaps.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
        recorded.reverse();
        for (ns, count) in recorded {
            let time = ns as f64 * count as f64;
            if time >= rest {
                return ns;
            }
            rest -= time;
        }
        0
    }
}

/// A running meter.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Hiccups>>,
}

impl Meter {
    /// Starts a meter on a CPU.
    #[must_use]
    pub fn start(cpu: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let clock = Clock::calibrated();
        let thread = std::thread::spawn(move || {
            pin(cpu)?;
            Ok(watch(cpu, clock, || stopped.load(Ordering::Relaxed)))
        });
        Self { stop, thread }
    }

    /// Stops it.
    ///
    /// # Errors
    /// If its thread could not be pinned.
    pub fn stop(self) -> std::io::Result<Hiccups> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    }
}

/// Measures for so long, on each of the CPUs at once.
///
/// # Errors
/// If there is no such CPU.
pub fn measure(cpus: &[u32], duration: Duration) -> std::io::Result<Vec<Hiccups>> {
    let meters: Vec<Meter> = cpus.iter().map(|&cpu| Meter::start(cpu)).collect();
    std::thread::sleep(duration);
    meters.into_iter().map(Meter::stop).collect()
}

fn watch(cpu: u32, clock: Clock, stop: impl Fn() -> bool) -> Hiccups {
    let mut gaps = Histogram::new_with_bounds(1, MOST_NS, 3).expect("the bounds are valid");
    // Every page of the histogram is touched before it counts.
    gaps.saturating_record(MOST_NS);
    gaps.reset();
    let least = clock.in_ticks(Duration::from_nanos(LEAST_NS));
    let start = ticks();
    let (mut last, mut stolen) = (start, 0);
    while !stop() {
        let now = ticks();
        let gap = now - last;
        if gap > least {
            let ns = clock.nanoseconds(gap);
            gaps.saturating_record(ns);
            stolen += ns;
            last = ticks();
        } else {
            last = now;
        }
    }
    Hiccups { cpu, gaps, stolen_ns: stolen, seconds: clock.seconds(last - start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_cpu() -> u32 {
        let set = rustix::thread::sched_getaffinity(None).unwrap();
        (0..1024).find(|&cpu| set.is_set(cpu)).unwrap() as u32
    }

    #[test]
    fn a_rival_on_the_cpu_is_seen() {
        let cpu = some_cpu();
        let meter = Meter::start(cpu);
        let end = std::time::Instant::now() + Duration::from_millis(150);
        std::thread::spawn(move || {
            pin(cpu).unwrap();
            while std::time::Instant::now() < end {}
        })
        .join()
        .unwrap();
        let seen = meter.stop().unwrap();
        assert!(seen.longest_ns() > 100_000, "{} ns", seen.longest_ns());
        assert!(seen.seconds > 0.1);
        assert!(seen.stolen_ns as f64 <= seen.seconds * 1.01e9);
    }

    #[test]
    fn quantiles_weigh_gaps_with_their_length() {
        let mut gaps = Histogram::new_with_bounds(1, MOST_NS, 3).unwrap();
        gaps.record(1_000_000).unwrap();
        gaps.record(10_000_000).unwrap();
        let seen = Hiccups { cpu: 0, gaps, stolen_ns: 11_000_000, seconds: 1.0 };
        assert!(seen.felt_ns(0.995) >= 10_000_000);
        assert!((1_000_000..1_100_000).contains(&seen.felt_ns(0.9895)));
        assert_eq!(seen.felt_ns(0.5), 0);
    }
}
