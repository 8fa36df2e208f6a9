//! Load between pods: closed loop or paced, counted and timed.
//!
//! One thread, which the caller has pinned, drives all pods of a load both ways: it visits each in turn, sends on it
//! and receives from it. Every frame carries the number of its stream, of the run and of itself, so that what is lost
//! is known frame by frame: after the window nothing is sent, and what does not come while the last frames drain
//! (until none came for 20 ms) is lost, unless the switch never took it from the sender's ring.
//!
//! A paced load is an open loop. Frame `k` of a stream is due at a moment that depends on nothing but `k` and the
//! rate, and its stamp is that moment, not the one at which it went: a switch or generator that stalls makes all
//! frames late that were due meanwhile, and the histogram shows each of them (no coordinated omission). Frames that
//! find the ring full stay due; those still due when the window ends are the share by which the pace was missed.

mod account;
mod engine;
mod learn;
mod schedule;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::pod::Pod;
use crate::traffic::{HeadTable, Touch, TrafficSpec};

/// Frames from one pod to another.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// Index of the pod that sends.
    pub from: usize,
    /// Index of the pod that receives.
    pub to: usize,
    /// Heads of the frames.
    pub heads: &'a HeadTable,
    /// What is sent; `heads` was made from the like of it.
    pub spec: &'a TrafficSpec,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the rings take it.
    Closed,
    /// Frames a second, sum of all streams.
    Rate(f64),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// Who sends what to whom.
    pub streams: Vec<Stream<'a>>,
    /// How fast.
    pub pace: Pace,
    /// Sending without counting before the window.
    pub warm_up: Duration,
    /// The measured time.
    pub window: Duration,
    /// Frames sent and received at once, at most; 1 to 64.
    pub burst: u16,
    /// Before anything, every destination address sends frames backwards, so that a learning switch knows it.
    pub learn: bool,
    /// Frames of a stream that are under way at most; the sender then sends whole bursts only. Frames that have not
    /// come after 20 ms are given up.
    pub in_flight: Option<u32>,
}

impl<'a> Load<'a> {
    /// A closed loop of these streams: learns, warms up for 0.1 s, measures for 1 s, in bursts of 32.
    #[must_use]
    pub fn new(streams: Vec<Stream<'a>>) -> Self {
        Self {
            streams,
            pace: Pace::Closed,
            warm_up: Duration::from_millis(100),
            window: Duration::from_secs(1),
            burst: 32,
            learn: true,
            in_flight: None,
        }
    }
}

/// What came of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOutcome {
    /// Frames of the window that the switch took.
    pub sent: u64,
    /// Frames that arrived in the window.
    pub received: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames of the window that the switch took and never delivered.
    pub lost: u64,
    /// Frames that came behind a later one of their stream.
    pub reordered: u64,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Frames of the window that the switch took.
    pub sent: u64,
    /// Frames that arrived in the window.
    pub received: u64,
    /// Their bytes, virtio headers not included.
    pub bytes: u64,
    /// Frames of the window that the switch took and never delivered, by sequence numbers, after draining.
    pub lost: u64,
    /// Frames that came behind a later one of their stream, or twice.
    pub reordered: u64,
    /// Frames that are none of this load's, or came to another pod than theirs.
    pub foreign: u64,
    /// The window as it was.
    pub seconds: f64,
    /// Latency, ns, if asked for.
    pub latency: Option<Histogram<u64>>,
    /// Longest turn of the generator's own loop, ns.
    pub longest_gap_ns: u64,
    /// Share of the frames due in the window that were not put, as rings were full or the generator was too slow.
    pub short_of_pace: f64,
    /// Frames with which the switch broke the rules of the rings, in the whole run.
    pub malformed: u64,
    /// Share of the turns of the generator's loop, within the window, that moved nothing.
    pub idle: f64,
    /// Each stream's own.
    pub by_stream: Vec<StreamOutcome>,
}

/// Runs a load on the calling thread. A pod to which no switch is connected sends and receives nothing.
///
/// # Panics
/// If a stream names a pod that there is not.
#[must_use]
pub fn run(pods: &mut [Pod], load: &Load<'_>) -> Outcome {
    if load.learn {
        learn::learn(pods, load);
    }
    let full = load.streams.iter().any(|stream| stream.spec.touch == Touch::Full);
    let stamps = load.streams.iter().any(|stream| stream.spec.stamps);
    match (full, stamps) {
        (false, false) => engine::Engine::<false, false>::new(pods, load).run(),
        (false, true) => engine::Engine::<false, true>::new(pods, load).run(),
        (true, false) => engine::Engine::<true, false>::new(pods, load).run(),
        (true, true) => engine::Engine::<true, true>::new(pods, load).run(),
    }
}

#[cfg(test)]
mod tests;
