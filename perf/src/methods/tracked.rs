//! Streams of which every single frame is accounted for: sent, then seen again, or lost.
//!
//! A stream never has more frames under way than its window, which is smaller than the ring of its receiver, so that
//! a frame that the switch has taken and that does not arrive was lost by the switch and by nothing else. Frames are
//! given up only after a long silence. Unlike [`load`](crate::load) this is made to miss nothing, not to be fast.
//! Driven by the thread that measures, turn by turn, so that it can do other things between turns.

use std::time::Duration;

use crate::clock::{Clock, ticks};
use crate::pod::Pod;
use crate::traffic::Mac;

mod window;

pub use window::{Arrival, Window};

/// Frames moved at once.
const BURST: u16 = 32;

/// A turn of ours that took longer was an interruption: what came late for it was not late for the switch.
const OWN_PAUSE: Duration = Duration::from_micros(50);

/// EtherType for local experiments (IEEE Std 802, "Local Experimental Ethertype 1").
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Where sequence and mark of a stream stand in a frame.
const SEQUENCE: usize = 16;
const MARK: usize = 24;

/// One stream.
#[derive(Debug)]
pub struct Tracked {
    from: usize,
    to: usize,
    head: [u8; 64],
    mark: u64,
    window: Window,
    /// Ticks between two bursts, and when the next is due; 0: as fast as the window opens.
    interval: u64,
    due: u64,
    /// Frames of a burst.
    burst: u16,
    /// When the last frame arrived, on the clock and in the time that we ran.
    arrived: Option<(u64, u64)>,
    /// When the last frame arrived or was given up, in the time that we ran.
    heard: Option<u64>,
    gap: (u64, u64),
    /// Frames of nobody's.
    foreign: u64,
    again: u64,
}

/// What came of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames that the switch was given.
    pub sent: u64,
    /// Frames that arrived.
    pub received: u64,
    /// Frames that did not arrive and are no longer waited for.
    pub lost: u64,
    /// Frames that arrived behind a later one.
    pub reordered: u64,
    /// Frames that arrived twice.
    pub again: u64,
    /// Frames that are none of this stream's.
    pub foreign: u64,
    /// Longest time between two arrivals.
    pub longest_gap: Duration,
    /// The same, without the time in which the load generator itself did not run.
    pub longest_gap_of_switch: Duration,
}

/// Streams that are driven together.
#[derive(Debug)]
pub struct Tracking {
    streams: Vec<Tracked>,
    clock: Clock,
    patience: u64,
    last_turn: u64,
    /// Ticks in which we ran.
    ran: u64,
}

impl Tracked {
    /// A stream from one pod (by its index) to another, with at most `window` frames under way.
    #[must_use]
    pub fn new((from, source): (usize, Mac), (to, destination): (usize, Mac), window: u16) -> Self {
        let mut head = [0; 64];
        head[..6].copy_from_slice(&destination.0);
        head[6..12].copy_from_slice(&source.0);
        head[12..14].copy_from_slice(&ETHERTYPE);
        let mark = 0x7472_6163_6b65_6400 | (from as u64 & 0xff);
        Self {
            from,
            to,
            head,
            mark,
            window: Window::new(window),
            interval: 0,
            due: 0,
            burst: BURST,
            arrived: None,
            heard: None,
            gap: (0, 0),
            foreign: 0,
            again: 0,
        }
    }

    /// Sends single frames, `rate` a second, instead of as many as the window allows.
    #[must_use]
    pub fn paced(mut self, rate: f64) -> Self {
        self.interval = (Clock::calibrated().hz() / rate) as u64;
        self.burst = 1;
        self
    }

    fn send(&mut self, pod: &mut Pod, now: u64) {
        if self.window.room() < self.burst || now < self.due {
            return;
        }
        let Some(queues) = pod.queues() else { return };
        let (head, mark) = (self.head, self.mark);
        let mut sequence = self.window.next();
        let sent = queues.send.send_burst(self.burst, |slot| {
            slot.head(&head);
            slot.put::<SEQUENCE>(sequence);
            slot.put::<MARK>(mark);
            sequence += 1;
            64
        });
        self.window.sent(sent);
        self.due = now + self.interval;
    }

    /// True if anything arrived.
    fn receive(&mut self, pod: &mut Pod, now: u64, ran: u64) -> bool {
        let Some(queues) = pod.queues() else { return false };
        let (mark, window, mut own) = (self.mark, &mut self.window, 0);
        let (foreign, again) = (&mut self.foreign, &mut self.again);
        queues.receive.receive_burst::<false, _>(BURST, |frame| {
            if frame.get::<MARK>() != mark {
                *foreign += 1;
                return;
            }
            match window.arrived(frame.get::<SEQUENCE>()) {
                Arrival::Own => own += 1,
                Arrival::Again => *again += 1,
            }
        });
        if own == 0 {
            return false;
        }
        if let Some((last, last_ran)) = self.arrived {
            self.gap = (self.gap.0.max(now - last), self.gap.1.max(ran - last_ran));
        }
        (self.arrived, self.heard) = (Some((now, ran)), Some(ran));
        true
    }

    fn account(&self, clock: Clock) -> Account {
        let time = |ticks| Duration::from_nanos(clock.nanoseconds(ticks));
        Account {
            sent: self.window.next(),
            received: self.window.received(),
            lost: self.window.lost(),
            reordered: self.window.reordered(),
            again: self.again,
            foreign: self.foreign,
            longest_gap: time(self.gap.0),
            longest_gap_of_switch: time(self.gap.1),
        }
    }
}

impl Tracking {
    /// Streams whose frames are given up when none has arrived for `patience`.
    #[must_use]
    pub fn new(streams: Vec<Tracked>, patience: Duration) -> Self {
        let clock = Clock::calibrated();
        Self { streams, clock, patience: clock.in_ticks(patience), last_turn: ticks(), ran: 0 }
    }

    /// Receives and sends once on each stream. True if anything arrived.
    pub fn turn(&mut self, pods: &mut [Pod]) -> bool {
        let now = ticks();
        let took = now - self.last_turn;
        self.last_turn = now;
        self.ran += took.min(self.clock.in_ticks(OWN_PAUSE));
        let mut any = false;
        for stream in &mut self.streams {
            any |= stream.receive(&mut pods[stream.to], now, self.ran);
            stream.send(&mut pods[stream.from], now);
            // Silence counts from the first turn, and only while we looked.
            let heard = *stream.heard.get_or_insert(self.ran);
            if self.ran - heard > self.patience && stream.window.under_way() > 0 {
                stream.window.give_up();
                stream.heard = Some(self.ran);
            }
        }
        any
    }

    /// Turns for so long.
    pub fn run(&mut self, pods: &mut [Pod], time: Duration) {
        let end = ticks() + self.clock.in_ticks(time);
        while ticks() < end {
            self.turn(pods);
        }
    }

    /// Sends nothing more, and receives until every frame has arrived or is given up.
    pub fn drain(&mut self, pods: &mut [Pod]) {
        for stream in &mut self.streams {
            stream.due = u64::MAX;
        }
        while self.streams.iter().any(|stream| stream.window.under_way() > 0) {
            self.turn(pods);
        }
    }

    /// Forgets how long gaps have been until now.
    pub fn restart_gaps(&mut self) {
        for stream in &mut self.streams {
            (stream.gap, stream.arrived) = ((0, 0), None);
        }
    }

    /// Frames that arrived, all streams together.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.streams.iter().map(|stream| stream.window.received()).sum()
    }

    /// What came of each stream.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        self.streams.iter().map(|stream| stream.account(self.clock)).collect()
    }
}
