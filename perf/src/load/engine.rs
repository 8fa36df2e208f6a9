//! The loop that sends and receives.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use vhost::driver::poll::{self, PollPair};

use super::account::Accounts;
use super::schedule::Schedule;
use super::{Load, Outcome, Pace, Stream, StreamOutcome};
use crate::clock::{Clock, ticks};
use crate::pod::Pod;
use crate::traffic::{SEQUENCE_AT, STAMP_AT, Touch};

/// Nothing came for so long: the last frames have drained, or are lost.
const QUIET: Duration = Duration::from_millis(20);
/// Draining ends then, whatever still comes.
const DRAIN: Duration = Duration::from_secs(2);
/// Heads are brought near so many frames ahead: prefetchers of the CPU stop at page borders.
const AHEAD: usize = 32;
/// The longest latency that can be told, ns.
const LATENCY_MOST: u64 = 10_000_000_000;

/// What a stream's sender knows.
#[derive(Debug)]
struct Sender<'a> {
    stream: Stream<'a>,
    /// Entry of the head table that comes next.
    cursor: usize,
    schedule: Option<Schedule>,
    /// Frames given up, of those under way ([`Load::in_flight`]).
    given_up: u64,
}

/// A load under way. `FULL`: every line is touched; `STAMPS`: frames carry the time.
pub(super) struct Engine<'a, const FULL: bool, const STAMPS: bool> {
    load: &'a Load<'a>,
    pods: Vec<Option<&'a mut PollPair>>,
    /// Streams by pod that sends: their indexes.
    senders: Vec<Sender<'a>>,
    by_pod: Vec<Vec<usize>>,
    accounts: Accounts,
    latency: Option<Histogram<u64>>,
    clock: Clock,
    quiet: u64,
    /// When a frame came last, ticks.
    last_received: u64,
}

impl<'a, const FULL: bool, const STAMPS: bool> Engine<'a, FULL, STAMPS> {
    pub(super) fn new(pods: &'a mut [Pod], load: &'a Load<'a>) -> Self {
        static RUN: AtomicU8 = AtomicU8::new(0);
        let clock = Clock::calibrated();
        let count = load.streams.len();
        let schedule = |i| match load.pace {
            Pace::Closed => None,
            Pace::Rate(rate) => {
                let ticks_each = clock.hz() * count as f64 / rate.max(1e-3);
                Some(Schedule::new(ticks() + (ticks_each * i as f64 / count as f64) as u64, ticks_each))
            }
        };
        let senders = load.streams.iter().enumerate().map(|(i, &stream)| Sender {
            stream,
            cursor: 0,
            schedule: schedule(i),
            given_up: 0,
        });
        let mut by_pod = vec![Vec::new(); pods.len()];
        load.streams.iter().enumerate().for_each(|(i, stream)| by_pod[stream.from].push(i));
        let to = load.streams.iter().map(|stream| {
            assert!(stream.to < pods.len(), "a stream goes to pod {}, which there is not", stream.to);
            stream.to
        });
        let accounts = Accounts::new(to, RUN.fetch_add(1, Ordering::Relaxed));
        fill_detached(pods, load, &accounts);
        Self {
            accounts,
            senders: senders.collect(),
            by_pod,
            pods: pods.iter_mut().map(Pod::queues).collect(),
            load,
            latency: STAMPS.then(new_histogram),
            clock,
            quiet: clock.in_ticks(QUIET),
            last_received: ticks(),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        let malformed = self.malformed();
        let warm_until = ticks() + self.clock.in_ticks(self.load.warm_up);
        self.send_until(warm_until);
        let begin = ticks();
        self.begin_window(begin);
        let turns = self.send_until(begin + self.clock.in_ticks(self.load.window));
        let end = ticks();
        self.accounts.end_window();
        let short_of_pace = self.short_of_pace(end);
        self.drain();
        let by_stream = self.accounts.outcomes(&self.untaken());
        let sum = |of: fn(&StreamOutcome) -> u64| by_stream.iter().map(of).sum();
        Outcome {
            sent: sum(|s| s.sent),
            received: sum(|s| s.received),
            bytes: sum(|s| s.bytes),
            lost: sum(|s| s.lost),
            reordered: sum(|s| s.reordered),
            foreign: self.accounts.foreign(),
            seconds: self.clock.seconds(end - begin),
            longest_gap_ns: self.clock.nanoseconds(turns.longest),
            short_of_pace,
            malformed: self.malformed() - malformed,
            idle: turns.idle as f64 / turns.all.max(1) as f64,
            latency: self.latency,
            by_stream,
        }
    }

    fn begin_window(&mut self, now: u64) {
        self.accounts.begin_window();
        let schedules = self.senders.iter_mut().filter_map(|sender| sender.schedule.as_mut());
        let count = self.load.streams.len() as f64;
        schedules.enumerate().for_each(|(i, schedule)| schedule.restart(now, i as f64 / count));
    }

    /// Sends and receives until then.
    fn send_until(&mut self, end: u64) -> Turns {
        let mut turns = Turns::default();
        let mut now = ticks();
        while now < end {
            let mut moved = 0;
            for pod in 0..self.pods.len() {
                moved += self.send(pod, now);
                moved += self.receive(pod);
            }
            let after = ticks();
            turns.longest = turns.longest.max(after - now);
            turns.all += 1;
            turns.idle += u64::from(moved == 0);
            now = after;
        }
        turns
    }

    /// Sends what is to be sent from one pod; returns how many frames went.
    #[inline(always)]
    fn send(&mut self, pod: usize, now: u64) -> u32 {
        let Some(queues) = &mut self.pods[pod] else { return 0 };
        let mut moved = 0;
        for &i in &self.by_pod[pod] {
            let sender = &mut self.senders[i];
            let mut count = self.load.burst;
            if let Some(schedule) = &sender.schedule {
                count = schedule.behind(now).min(count.into()) as u16;
            }
            if let Some(most) = self.load.in_flight {
                let under_way = self.accounts.under_way(i).saturating_sub(sender.given_up);
                if under_way + u64::from(self.load.burst) > u64::from(most) {
                    if now.saturating_sub(self.last_received) > self.quiet {
                        sender.given_up += under_way;
                    }
                    count = 0;
                }
            }
            if count == 0 {
                queues.send.reap();
                continue;
            }
            let sent = sender.burst::<FULL, STAMPS>(queues, count, self.accounts.sequence(i), now);
            self.accounts.sent(i, sent);
            moved += u32::from(sent);
        }
        moved
    }

    /// Receives what has come to one pod; returns how many frames came.
    #[inline(always)]
    fn receive(&mut self, pod: usize) -> u32 {
        let Some(queues) = &mut self.pods[pod] else { return 0 };
        let (accounts, latency, clock) = (&mut self.accounts, &mut self.latency, self.clock);
        // Read once a burst, when its first frame is seen: all of it has come by then.
        let mut now = 0;
        let frames = queues.receive.receive_burst::<FULL, _>(self.load.burst, |frame| {
            let sequence = frame.get::<SEQUENCE_AT>();
            let counts = accounts.received(pod, sequence, frame.get::<56>(), frame.len());
            if STAMPS && counts {
                if now == 0 {
                    now = ticks();
                }
                let ns = clock.nanoseconds(now.saturating_sub(frame.get::<STAMP_AT>()));
                if let Some(latency) = latency {
                    latency.saturating_record(ns);
                }
            }
        });
        if self.load.in_flight.is_some() && frames > 0 {
            self.last_received = ticks();
        }
        frames.into()
    }

    /// Sends nothing more, and receives until nothing comes.
    fn drain(&mut self) {
        let (start, most) = (ticks(), self.clock.in_ticks(DRAIN));
        let mut last = start;
        loop {
            let before = self.accounts.total();
            // What was taken before we look has been delivered, or is lost: the other way round a frame delivered
            // in between would be taken and not received.
            for queues in self.pods.iter_mut().flatten() {
                queues.send.reap();
            }
            for pod in 0..self.pods.len() {
                self.receive(pod);
            }
            let now = ticks();
            if self.accounts.total() != before {
                last = now;
            }
            if now - last > self.quiet || now - start > most {
                return;
            }
        }
    }

    /// Frames of each stream that the switch never took. Where several streams share a ring, what is left in it is
    /// said of the last of them.
    fn untaken(&self) -> Vec<u64> {
        let mut untaken = vec![0; self.senders.len()];
        for (streams, queues) in self.by_pod.iter().zip(&self.pods) {
            if let (Some(&last), Some(queues)) = (streams.last(), queues) {
                untaken[last] = queues.send.in_flight().into();
            }
        }
        untaken
    }

    /// Up to a burst a stream may just not have been put yet.
    fn short_of_pace(&self, end: u64) -> f64 {
        let schedules = self.senders.iter().filter_map(|sender| sender.schedule.as_ref());
        let (mut due, mut short) = (0, 0);
        for schedule in schedules {
            due += schedule.due(end);
            short += schedule.behind(end).saturating_sub(self.load.burst.into());
        }
        short as f64 / due.max(1) as f64
    }

    fn malformed(&self) -> u64 {
        let lies = |queues: &PollPair| queues.receive.malformed() + queues.send.lies();
        self.pods.iter().flatten().map(|queues| lies(queues)).sum()
    }
}

/// Turns of the loop.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    all: u64,
    /// Those that moved nothing.
    idle: u64,
    /// The longest, ticks.
    longest: u64,
}

impl Sender<'_> {
    #[inline(always)]
    fn burst<const FULL: bool, const STAMPS: bool>(
        &mut self,
        queues: &mut PollPair,
        count: u16,
        mut sequence: u64,
        now: u64,
    ) -> u16 {
        let (table, start) = (self.stream.heads, self.cursor);
        let mut cursor = start;
        let (schedule, full) = (self.schedule, FULL && self.stream.spec.touch == Touch::Full);
        let sent = queues.send.send_burst(count, |slot| {
            let head = table.head(cursor);
            poll::prefetch(table.head(cursor + AHEAD));
            slot.head(&head.0);
            slot.put::<SEQUENCE_AT>(sequence);
            if STAMPS {
                let stamp = schedule.map_or(now, |schedule| schedule.time_of((cursor - start) as u64));
                slot.put::<STAMP_AT>(stamp);
            }
            let len = head.frame_len();
            if full {
                slot.touch(len, sequence);
            }
            sequence += 1;
            cursor += 1;
            len
        });
        self.cursor = cursor;
        if let Some(schedule) = &mut self.schedule {
            schedule.advance(sent);
        }
        sent
    }
}

/// Gives pods whose device may write nothing frames to find, so that receiving them costs what it always costs. Not
/// after addresses were taught: a device that does write may have a last such frame waiting, and this would overwrite it
/// with one that counts.
fn fill_detached(pods: &mut [Pod], load: &Load<'_>, accounts: &Accounts) {
    if load.learn {
        return;
    }
    for (i, stream) in load.streams.iter().enumerate() {
        let pod = &mut pods[stream.to];
        let mut head = stream.heads.head(0).0;
        let sequence = accounts.sequence(i) | 1 << 39;
        head[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&sequence.to_le_bytes());
        head[STAMP_AT..STAMP_AT + 8].copy_from_slice(&ticks().to_le_bytes());
        if let (true, Some(queues)) = (pod.is_detached(), pod.queues()) {
            queues.receive.prefill(&head);
        }
    }
}

/// A histogram of latencies, all its pages touched.
fn new_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, LATENCY_MOST, 3).expect("the bounds are valid");
    histogram.saturating_record(LATENCY_MOST);
    histogram.reset();
    histogram
}
