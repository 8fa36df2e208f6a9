//! How far apart the two CPUs are.
//!
//! On a guest the hypervisor moves virtual CPUs: to two threads of one core, to two cores that share a cache, to two
//! sockets. Every cache line that a pod and the switch exchange travels that way, so that the same switch is three times
//! as fast in one place as in another. What is measured is a word that two threads pass to and fro.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::clock::{Clock, pin, ticks};

/// Round trips that are timed together.
const TRIPS: u64 = 50;
/// Time for one reading. A switch that polls on the other CPU leaves it some of the time only, a few milliseconds in a
/// row; the shortest of many readings is one that nobody interrupted.
const READING: Duration = Duration::from_millis(16);
/// Readings of which the usual distance is the median, and the time between them.
const READINGS: usize = 40;
const BETWEEN: Duration = Duration::from_millis(40);
/// Two distances are of one kind if neither is more than so many times the other.
const ALIKE: f64 = 1.5;

/// A word on its way, and the way back.
#[derive(Default)]
struct Wire {
    there: CachePadded<AtomicU64>,
    back: CachePadded<AtomicU64>,
    stop: AtomicBool,
}

/// Nanoseconds that a word takes to the CPU `other` and back to this thread's, which is pinned.
///
/// # Errors
/// What the system says when a thread cannot be pinned there.
pub fn round_trip(other: u32) -> io::Result<f64> {
    let wire = Wire::default();
    let shortest = std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(other, &wire));
        let shortest = shortest(&wire, || echo.is_finished());
        wire.stop.store(true, Ordering::Relaxed);
        echo.join().map_err(|_| io::Error::other("the other thread panicked"))??;
        Ok::<u64, io::Error>(shortest)
    })?;
    Ok(shortest as f64 / TRIPS as f64 / Clock::calibrated().hz() * 1e9)
}

fn echo(cpu: u32, wire: &Wire) -> io::Result<()> {
    pin(cpu)?;
    let mut last = 0;
    while !wire.stop.load(Ordering::Relaxed) {
        let word = wire.there.load(Ordering::Acquire);
        if word != last {
            last = word;
            wire.back.store(word, Ordering::Release);
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// Ticks of the shortest [`TRIPS`] in a row.
fn shortest(wire: &Wire, gone: impl Fn() -> bool) -> u64 {
    let (begin, mut word, mut shortest) = (Instant::now(), 0, u64::MAX);
    while (begin.elapsed() < READING || shortest == u64::MAX) && !gone() {
        let start = ticks();
        for _ in 0..TRIPS {
            word += 1;
            wire.there.store(word, Ordering::Release);
            while wire.back.load(Ordering::Acquire) != word && !gone() {
                std::hint::spin_loop();
            }
        }
        shortest = shortest.min(ticks() - start);
    }
    shortest
}

/// Where the CPUs usually are during this run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    other: u32,
    /// Nanoseconds to and fro.
    pub nanoseconds: f64,
}

impl Usual {
    /// Watches for some seconds; `other` is the switch's CPU, on which nothing else should run meanwhile.
    ///
    /// # Errors
    /// As [`round_trip`].
    pub fn watch(other: u32) -> io::Result<Self> {
        let mut readings = Vec::with_capacity(READINGS);
        for _ in 0..READINGS {
            readings.push(round_trip(other)?);
            std::thread::sleep(BETWEEN);
        }
        readings.sort_by(f64::total_cmp);
        Ok(Self { other, nanoseconds: readings[READINGS / 2] })
    }

    /// Whether the CPUs are as far apart now.
    #[must_use]
    pub fn holds(&self) -> bool {
        round_trip(self.other).is_ok_and(|now| self.like(now))
    }

    fn like(&self, now: f64) -> bool {
        now <= self.nanoseconds * ALIKE && self.nanoseconds <= now * ALIKE
    }

    /// Waits until they are, at most `patience`. Returns how long that took.
    pub fn wait(&self, patience: Duration) -> Duration {
        let begin = Instant::now();
        while !self.holds() && begin.elapsed() < patience {}
        begin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_some_time_and_a_lost_cpu_is_said() {
        let cpus = crate::peers::parse_list(&crate::machine::allowed_cpus());
        let (Some(&mine), Some(&other)) = (cpus.first(), cpus.last()) else { panic!("no CPU") };
        if mine == other {
            println!("SKIPPED: one CPU alone");
            return;
        }
        std::thread::spawn(move || {
            pin(mine).unwrap();
            let time = round_trip(other).unwrap();
            assert!(time > 0.0 && time.is_finite(), "{time}");
            assert!(round_trip(100_000).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn distances_of_a_kind_are_alike() {
        let usual = Usual { other: 0, nanoseconds: 90.0 };
        assert!(usual.like(90.0) && usual.like(70.0) && usual.like(130.0));
        assert!(!usual.like(45.0), "two threads of one core");
        assert!(!usual.like(480.0), "two sockets");
    }
}
