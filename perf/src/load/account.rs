//! What is known of each stream: what was sent, what has come, and what is missing.

use super::StreamOutcome;
use crate::traffic::{MAGIC, MAGIC_AT};

const NUMBER_BITS: u32 = 40;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// The mark as it is read: as the upper six bytes of the line's last word.
const MARK: u64 = {
    let [a, b, c, d, e, f] = MAGIC;
    u64::from_le_bytes([0, 0, a, b, c, d, e, f])
};
const MARK_MASK: u64 = !0xffff;
const _: () = assert!(MAGIC_AT == 58);

/// One stream's counts.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Account {
    /// Stream and run, in the upper bits of every sequence number.
    tag: u64,
    /// Pod that receives.
    to: usize,
    /// Frames sent: the number of the next.
    pub(super) sent: u64,
    /// First number of the window; before the window, and so of no frame, the greatest.
    window: u64,
    /// The number after the greatest that has come.
    expected: u64,
    /// Frames that have come.
    pub(super) received: u64,
    bytes: u64,
    /// Of those, frames of the window.
    of_window: u64,
    reordered: u64,
    /// What had come when the window began: frames, bytes, out of order.
    before: [u64; 3],
    /// What had come when the window ended.
    after: [u64; 3],
}

/// The accounts of all streams.
#[derive(Debug)]
pub(super) struct Accounts {
    run: u64,
    streams: Vec<Account>,
    foreign: u64,
}

impl Accounts {
    /// Accounts of streams to these pods. `run` distinguishes them from those of the runs before.
    pub(super) fn new(to: impl Iterator<Item = usize>, run: u8) -> Self {
        let run = u64::from(run);
        let account = |(stream, to)| Account {
            tag: (stream as u64) << 48 | run << NUMBER_BITS,
            to,
            sent: 0,
            window: u64::MAX,
            expected: 0,
            received: 0,
            bytes: 0,
            of_window: 0,
            reordered: 0,
            before: [0; 3],
            after: [0; 3],
        };
        Self { run, streams: to.enumerate().map(account).collect(), foreign: 0 }
    }

    /// The sequence number from which the next frames of a stream count on.
    #[inline(always)]
    pub(super) fn sequence(&self, stream: usize) -> u64 {
        let account = &self.streams[stream];
        account.tag | account.sent
    }

    /// Accounts for `count` frames sent.
    #[inline(always)]
    pub(super) fn sent(&mut self, stream: usize, count: u16) {
        self.streams[stream].sent += u64::from(count);
    }

    /// Frames of a stream that were sent and have not come.
    #[inline(always)]
    pub(super) fn under_way(&self, stream: usize) -> u64 {
        self.streams[stream].sent.saturating_sub(self.streams[stream].received)
    }

    /// Accounts for a frame of `len` bytes that came to a pod. True if it is one of the window's.
    #[inline(always)]
    pub(super) fn received(&mut self, pod: usize, sequence: u64, last_word: u64, len: u32) -> bool {
        let (stream, number) = ((sequence >> 48) as usize, sequence & NUMBER);
        let ours = last_word & MARK_MASK == MARK && sequence >> NUMBER_BITS & 0xff == self.run;
        match self.streams.get_mut(stream) {
            Some(account) if ours && account.to == pod => {
                account.received += 1;
                account.bytes += u64::from(len);
                if number < account.expected {
                    account.reordered += 1;
                } else {
                    account.expected = number + 1;
                }
                let counts = number >= account.window;
                account.of_window += u64::from(counts);
                counts
            }
            _ => {
                self.foreign += u64::from(last_word & MARK_MASK != LEARN_MARK);
                false
            }
        }
    }

    /// From now on frames belong to the window.
    pub(super) fn begin_window(&mut self) {
        self.foreign = 0;
        for account in &mut self.streams {
            account.window = account.sent;
            account.before = account.now();
        }
    }

    /// What comes from now on came too late to count for the rate.
    pub(super) fn end_window(&mut self) {
        for account in &mut self.streams {
            account.after = account.now();
        }
    }

    /// The streams' outcomes; `untaken` is the number of each one's frames that the switch never took.
    pub(super) fn outcomes(&self, untaken: &[u64]) -> Vec<StreamOutcome> {
        self.streams.iter().zip(untaken).map(|(account, &untaken)| account.outcome(untaken)).collect()
    }

    /// Frames since the window began that belong to no stream, or came to another pod than their stream's.
    pub(super) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Frames that have come, of all streams.
    pub(super) fn total(&self) -> u64 {
        self.streams.iter().map(|account| account.received).sum()
    }
}

/// The mark of frames that only teach an address, which are nobody's loss.
const LEARN_MARK: u64 = {
    let [a, b, c, d, e, f] = crate::traffic::LEARN_MAGIC;
    u64::from_le_bytes([0, 0, a, b, c, d, e, f])
};

impl Account {
    fn now(&self) -> [u64; 3] {
        [self.received, self.bytes, self.reordered]
    }

    fn outcome(&self, untaken: u64) -> StreamOutcome {
        // What was not taken is the last that was sent; all of it may lie before the window if nothing was taken.
        let sent = self.sent.saturating_sub(self.window).saturating_sub(untaken);
        StreamOutcome {
            sent,
            received: self.after[0] - self.before[0],
            bytes: self.after[1] - self.before[1],
            lost: sent.saturating_sub(self.of_window),
            reordered: self.reordered - self.before[2],
        }
    }
}
