//! Measurements that other programs disturbed are repeated.
//!
//! So are those during which the hypervisor moved a CPU: they were made on another machine, so to speak (see
//! [`crate::distance`]). The kernel says of every thread how long it wanted to run and had to wait. Where the generator
//! or the switch's worker waited for more than a small share of a measurement, something else ran on its CPU; the
//! measurement is made again, a few times and as long as the plan has time for it, and the least disturbed one counts.
//! The rule is the same for every switch, knows nothing of the result, and how often it was applied is in the report.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::distance::Usual;

/// A share of the time spent waiting above which a measurement of rates is made again.
pub(super) const DISTURBED: f64 = 0.02;
/// The same for latencies, of which the last in a thousand is looked at.
pub(super) const DELAYED: f64 = 0.002;
/// A measurement is made at most so often.
pub(super) const TRIES: usize = 5;
/// Time to wait for the CPUs to come back to where they usually are, before each.
const PATIENCE: Duration = Duration::from_secs(3);

/// A measurement and how it was disturbed.
#[derive(Debug)]
pub(super) struct Shot<T> {
    /// What came of the one that counts.
    pub result: T,
    /// Share of its time in which the generator or the worker waited for its CPU.
    pub waited: f64,
    /// The CPUs were not where they usually are.
    pub moved: bool,
    /// How many were made.
    pub tries: usize,
    /// What the others took.
    pub spent: Duration,
}

/// Measures until nobody disturbs it for more than the share `most`, or `tries` times, and waits before each of several
/// for the usual place. `failed` ends it at once: a failure is a result too.
pub(super) fn calmest<T>(
    switch: Option<u32>,
    (most, most_tries): (f64, usize),
    usual: Option<Usual>,
    failed: impl Fn(&T) -> bool,
    mut measure: impl FnMut() -> T,
) -> Shot<T> {
    let mut best: Option<Shot<T>> = None;
    let mut spent = Duration::ZERO;
    for tries in 1..=most_tries.max(1) {
        let patience = if most_tries > 1 { PATIENCE } else { Duration::ZERO };
        let wait = usual.map_or(Duration::ZERO, |usual| usual.wait(patience));
        // Whoever waited to the end does not know whether it was worth while.
        let elsewhere = usual.is_some_and(|usual| wait >= patience && !usual.holds());
        spent += wait;
        let (before, begin) = (Times::of(switch), Instant::now());
        let result = measure();
        let took = begin.elapsed();
        let waited = before.waited(&Times::of(switch), took.as_nanos() as f64);
        let moved = elsewhere || usual.is_some_and(|usual| !usual.holds());
        let done = (waited <= most && !moved) || failed(&result);
        if best.as_ref().is_none_or(|best| (moved, waited) < (best.moved, best.waited)) {
            best = Some(Shot { result, waited, moved, tries, spent });
        }
        if let Some(best) = &mut best {
            (best.tries, best.spent) = (tries, spent);
        }
        spent += took;
        if done {
            break;
        }
    }
    best.expect("at least one was made")
}

/// Nanoseconds on a CPU and waiting for one.
type Time = (u64, u64);

/// Of the calling thread and the threads of a switch, by their ids.
struct Times {
    own: Time,
    switch: HashMap<String, Time>,
}

impl Times {
    fn of(switch: Option<u32>) -> Self {
        let own = read(Path::new("/proc/thread-self")).unwrap_or_default();
        let tasks = switch.and_then(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok());
        let thread =
            |entry: std::fs::DirEntry| Some((entry.file_name().into_string().ok()?, read(&entry.path())?));
        let switch = tasks.into_iter().flatten().flatten().filter_map(thread).collect();
        Self { own, switch }
    }

    /// The larger share of the generator and of the switch's thread that ran most, which is its worker.
    fn waited(&self, after: &Self, nanoseconds: f64) -> f64 {
        let since =
            |before: Time, after: Time| (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
        let threads = after
            .switch
            .iter()
            .map(|(id, time)| since(self.switch.get(id).copied().unwrap_or_default(), *time));
        let worker = threads.max_by_key(|(ran, _)| *ran).unwrap_or_default();
        since(self.own, after.own).1.max(worker.1) as f64 / nanoseconds
    }
}

fn read(thread: &Path) -> Option<Time> {
    let text = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_ran_most_is_the_worker() {
        let times = |own, switch: &[(&str, Time)]| Times {
            own,
            switch: switch.iter().map(|(id, time)| ((*id).to_owned(), *time)).collect(),
        };
        let before = times((0, 0), &[("worker", (100, 10)), ("control", (0, 0))]);
        let after = times((900, 20), &[("worker", (1000, 60)), ("control", (5, 900))]);
        // The control thread waits behind the generator all the time; that disturbs nothing.
        assert!((before.waited(&after, 1000.0) - 0.05).abs() < 1e-9);
        let after = times((900, 70), &[("worker", (1000, 60))]);
        assert!((before.waited(&after, 1000.0) - 0.07).abs() < 1e-9);
    }

    #[test]
    fn a_failure_is_not_repeated() {
        let mut made = 0;
        let shot = calmest(
            None,
            (DISTURBED, TRIES),
            None,
            |result: &Result<(), ()>| result.is_err(),
            || {
                made += 1;
                Err(())
            },
        );
        assert_eq!((made, shot.tries), (1, 1));
        assert!(shot.result.is_err());
    }

    #[test]
    fn the_least_disturbed_counts() {
        // Two threads on one CPU: each waits for the other half of the time.
        let cpu = crate::peers::parse_list(&crate::machine::allowed_cpus())[0];
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (tries, waited) = std::thread::scope(|scope| {
            scope.spawn(|| {
                crate::clock::pin(cpu).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let shot = scope
                .spawn(|| {
                    crate::clock::pin(cpu).unwrap();
                    calmest(
                        None,
                        (DISTURBED, TRIES),
                        None,
                        |_| false,
                        || {
                            let begin = Instant::now();
                            while begin.elapsed().as_millis() < 100 {}
                        },
                    )
                })
                .join()
                .unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            (shot.tries, shot.waited)
        });
        assert_eq!(tries, TRIES);
        assert!(waited > DISTURBED, "{waited}");
    }
}
