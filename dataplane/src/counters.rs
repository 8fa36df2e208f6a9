//! Counters that one worker writes and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::clock::cycles;
use crate::drops::DropReason;
use crate::report::{PortCounters, QueueCounters, StageCycles, Traffic, WorkStage};

/// A number that one thread adds to. Readers may be a moment behind, never see it torn.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call it.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Raises to `n` if it is less; only the owning worker may call it.
    #[inline(always)]
    pub(crate) fn raise(&self, n: u64) {
        if n > self.get() {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counted at one queue pair, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct QueueTally {
    pub rx_frames: Counter,
    pub rx_bytes: Counter,
    pub tx_frames: Counter,
    pub tx_bytes: Counter,
}

/// What one worker counted at one port.
#[derive(Debug)]
pub(crate) struct PortTally {
    pub queues: Box<[QueueTally]>,
    drops: [Counter; DropReason::ALL.len()],
}

impl PortTally {
    fn new(pairs: usize) -> Self {
        Self {
            queues: (0..pairs).map(|_| QueueTally::default()).collect(),
            drops: std::array::from_fn(|_| Counter::default()),
        }
    }

    /// Counts dropped frames; nothing if there are none.
    #[inline(always)]
    pub(crate) fn drop_frames(&self, reason: DropReason, frames: u64) {
        if frames != 0 {
            self.drops[reason as usize].add(frames);
        }
    }
}

/// The tallies of all workers at one port; each worker writes its own lines.
#[derive(Debug)]
pub(crate) struct PortTallies(Box<[CachePadded<PortTally>]>);

impl PortTallies {
    pub(crate) fn new(workers: usize, pairs: usize) -> Self {
        Self((0..workers).map(|_| CachePadded::new(PortTally::new(pairs))).collect())
    }

    #[inline(always)]
    pub(crate) fn of(&self, worker: usize) -> &PortTally {
        &self.0[worker]
    }

    /// Bytes they occupy.
    pub(crate) fn memory(&self) -> u64 {
        self.0.iter().map(|t| size_of::<CachePadded<PortTally>>() + size_of_val(&*t.queues)).sum::<usize>()
            as u64
    }

    /// The sum over workers.
    pub(crate) fn sum(&self) -> PortCounters {
        let pairs = self.0.first().map_or(0, |t| t.queues.len());
        let mut queues = vec![QueueCounters::default(); pairs];
        for tally in &self.0 {
            for (sum, queue) in queues.iter_mut().zip(&tally.queues) {
                let add = |t: &mut Traffic, frames: &Counter, bytes: &Counter| {
                    t.frames += frames.get();
                    t.bytes += bytes.get();
                };
                add(&mut sum.rx, &queue.rx_frames, &queue.rx_bytes);
                add(&mut sum.tx, &queue.tx_frames, &queue.tx_bytes);
            }
        }
        let total = |reason: DropReason| self.0.iter().map(|t| t.drops[reason as usize].get()).sum::<u64>();
        let drops = DropReason::ALL.iter().map(|r| (*r, total(*r))).filter(|(_, n)| *n > 0).collect();
        PortCounters { queues, drops }
    }
}

/// What a worker counts about itself. Written by that worker, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct WorkerTally {
    /// Cycles in turns that moved frames.
    pub busy: Counter,
    /// Cycles in turns that did not, sleep included.
    pub idle: Counter,
    pub turns: Counter,
    pub frames: Counter,
    /// Longest turn that moved frames, cycles.
    pub longest: Counter,
    /// Cycles of each stage in the visits that were timed.
    stages: [Counter; WorkStage::ALL.len()],
    /// Frames of those visits.
    timed: Counter,
}

/// Every so many visits that move frames one is timed stage by stage.
const TIMED: u32 = 64;

/// Times the stages of one visit, or does nothing. Reading the clock costs more than some stages do for one frame, so
/// only some visits are timed; stages overlap in the processor, so where one ends is only as sharp as that.
pub(crate) struct Laps<'a> {
    tally: Option<&'a WorkerTally>,
    last: u64,
}

impl<'a> Laps<'a> {
    /// Begins a visit; `visits` counts those of this worker that moved frames.
    #[inline(always)]
    pub(crate) fn begin(visits: u32, tally: &'a WorkerTally) -> Self {
        let timed = visits.is_multiple_of(TIMED);
        Self { tally: timed.then_some(tally), last: if timed { cycles() } else { 0 } }
    }

    /// Ends a stage.
    #[inline(always)]
    pub(crate) fn end(&mut self, stage: WorkStage) {
        if let Some(tally) = self.tally {
            let now = cycles();
            tally.stages[stage as usize].add(now.wrapping_sub(self.last));
            self.last = now;
        }
    }

    /// Ends the visit, which moved `frames`.
    #[inline(always)]
    pub(crate) fn finish(&self, frames: usize) {
        if let Some(tally) = self.tally {
            tally.timed.add(frames as u64);
        }
    }
}

impl WorkerTally {
    /// What the timed visits took.
    pub(crate) fn stages(&self) -> Vec<StageCycles> {
        let frames = self.timed.get();
        let of = |stage: &WorkStage| StageCycles {
            stage: *stage,
            cycles: self.stages[*stage as usize].get(),
            frames,
        };
        WorkStage::ALL.iter().map(of).collect()
    }
}
