//! What a change to others costs: frames lost between two ports while a hundred others come, change and go.
//!
//! Two streams between two ports, every frame accounted for ([`tracked`](super::tracked)), on the calling thread; the
//! changes ([`churn`]) on another. On a machine of two CPUs that one and podswitch's control threads share the CPU of
//! the load, which slows the load down and loses nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::MethodError;
use super::bed::mac;
use super::tracked::{Account, Tracked, Tracking};
use crate::clock::pin;
use crate::peers::{Cpus, PodswitchApi, RunningPodswitch};
use crate::pod::Pod;

mod churn;

use churn::Churn;
pub use churn::{CONNECTED, Changed, NETWORKS, PORTS};

/// Frames of a stream under way: a quarter of the ring of a pod.
const WINDOW: u16 = 256;

/// A frame that has not arrived after this much of our own running time is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least this long, and at least one whole round.
    pub time: Duration,
    /// Memory of pods that come and go in hugepages.
    pub huge: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Reconfiguration {
    /// Each stream's account: there and back.
    pub streams: Vec<Account>,
    /// What was changed beside them.
    pub changed: Changed,
    /// What the switch says that it dropped at the two ports meanwhile, as (port, reason, frames).
    pub drops: Vec<(String, String, u64)>,
    /// How long it took.
    pub time: Duration,
    /// Time in it that the worker was kept from running by another thread on its CPU: what of a gap is not the
    /// switch's.
    pub worker_waited: Duration,
    /// The worker's longest turn since its start.
    pub longest_turn: Duration,
}

impl Reconfiguration {
    /// Frames that the switch took and did not deliver.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.streams.iter().map(|stream| stream.lost).sum()
    }
}

/// Streams between the first two ports of `pods` (in network 0 of the layout) while others are changed.
///
/// # Errors
/// If the API refuses a change, or no frame comes through before it begins.
pub fn reconfigure(
    switch: &RunningPodswitch,
    pods: &mut [Pod],
    settings: Settings,
    cpus: &Cpus,
) -> Result<Reconfiguration, MethodError> {
    let mut tracking = Tracking::new(there_and_back(WINDOW, |stream| stream), PATIENCE);
    tracking.run(pods, Duration::from_millis(200));
    if tracking.received() == 0 {
        return Err(MethodError::Silent { what: "before the changes", seconds: 0.2 });
    }
    tracking.restart_gaps();
    let churn = Churn {
        api: PodswitchApi::connect(&switch.api_socket())?,
        directory: switch.directory(),
        measured: &PodswitchApi::network(0),
        worker: cpus.switch,
        huge: settings.huge,
    };
    let (before, waited) = (switch.api().drops()?, worker(switch.api())?.0);
    let begin = Instant::now();
    let stop = AtomicBool::new(false);
    let changed = std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            // Where it cannot be pinned it runs where we do.
            let _ = pin(cpus.control);
            churn.run(&stop)
        });
        while !changes.is_finished() {
            tracking.run(pods, Duration::from_millis(1));
            stop.store(begin.elapsed() >= settings.time, Ordering::Relaxed);
            // Where it shares our CPU, each call of the API would wait for our time slice to end.
            std::thread::yield_now();
        }
        changes.join().unwrap_or(Err(MethodError::Beside))
    })?;
    let time = begin.elapsed();
    tracking.drain(pods);
    let drops = since(&before, switch.api().drops()?);
    let (waited_after, longest_turn) = worker(switch.api())?;
    Ok(Reconfiguration {
        streams: tracking.accounts(),
        changed,
        drops,
        time,
        worker_waited: waited_after.saturating_sub(waited),
        longest_turn,
    })
}

/// How long workers waited for their CPUs since they started, and the longest turn of any.
fn worker(api: &PodswitchApi) -> Result<(Duration, Duration), MethodError> {
    let workers = api.workers()?.workers;
    let waited = workers.iter().map(|worker| worker.waiting_ns).sum();
    let turn = workers.iter().map(|worker| worker.longest_turn_ns).max().unwrap_or(0);
    Ok((Duration::from_nanos(waited), Duration::from_nanos(turn)))
}

/// Streams both ways between the first two pods.
pub(super) fn there_and_back(window: u16, shape: impl Fn(Tracked) -> Tracked) -> Vec<Tracked> {
    let stream = |from: usize, to: usize| shape(Tracked::new((from, mac(from)), (to, mac(to)), window));
    vec![stream(0, 1), stream(1, 0)]
}

/// What was dropped after `before`.
fn since(before: &[(String, String, u64)], after: Vec<(String, String, u64)>) -> Vec<(String, String, u64)> {
    let earlier = |port: &str, reason: &str| {
        before.iter().find(|(p, r, _)| p == port && r == reason).map_or(0, |(_, _, frames)| *frames)
    };
    let new = |(port, reason, frames): (String, String, u64)| {
        let frames = frames.saturating_sub(earlier(&port, &reason));
        (frames > 0).then_some((port, reason, frames))
    };
    after.into_iter().filter_map(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_since_the_beginning() {
        let drop = |port: &str, reason: &str, frames| (port.to_owned(), reason.to_owned(), frames);
        let before = [drop("a", "x", 3), drop("b", "x", 1)];
        let after = vec![drop("a", "x", 5), drop("a", "y", 2), drop("b", "x", 1)];
        assert_eq!(since(&before, after), [drop("a", "x", 2), drop("a", "y", 2)]);
    }
}
