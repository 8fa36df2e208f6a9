//! Load between pods: closed loop or paced, counted and timed.
//!
//! One thread, which the caller has pinned, drives all pods of a load both ways.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::pod::Pod;
use crate::traffic::{HeadTable, TrafficSpec};

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
    /// Share of the frames due in the window that could not be put, as the rings were full.
    pub short_of_pace: f64,
    /// Each stream's own.
    pub by_stream: Vec<StreamOutcome>,
}

/// Runs a load on the calling thread.
///
/// # Panics
/// If a stream names a pod that there is not.
#[must_use]
pub fn run(_pods: &mut [Pod], load: &Load<'_>) -> Outcome {
    Outcome { by_stream: vec![StreamOutcome::default(); load.streams.len()], ..Outcome::default() }
}
