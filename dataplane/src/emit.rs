//! Sending: frames are grouped by the port that receives them, and each group is written and published at once.
//!
//! A receiver that cannot take a frame is a counted drop at that receiver and holds nobody up. A ring that another
//! worker holds is tried once more when the rest of the burst has been sent.

mod device;
mod flood;
mod spread;

use arrayvec::ArrayVec;
use vhost::guest::Level;
use vhost::ring::{BURST, Delivered, DeviceRing, FrameSource};

use crate::burst::{Burst, FLOOD, Sending};
use crate::counters::PortTally;
use crate::dpdk::MbufPtr;
use crate::drops::DropReason;
use crate::outlet::Unavailable;
use crate::pipeline::Stage;
use crate::port::Exit;
use crate::snapshot::{PortEntry, Snapshot};

pub(crate) use flood::Floods;

/// Numbers of frames of a burst.
type Frames = ArrayVec<u8, BURST>;

/// All of them.
const ALL_FRAMES: [u8; BURST] = {
    let mut all = [0; BURST];
    let mut i = 0;
    while i < BURST {
        all[i] = i as u8;
        i += 1;
    }
    all
};

/// A group that found its ring taken.
struct Waiting {
    slot: u16,
    pair: u16,
    frames: Frames,
}

/// Where the bodies of a burst lie.
pub(crate) enum Source<'a> {
    /// In a guest's memory, behind this ring.
    Guest(&'a DeviceRing),
    /// In these mbufs; one that is sent on as it is, is taken out.
    Mbufs(&'a mut [MbufPtr; BURST]),
    /// Nowhere: the heads are all.
    Own,
}

impl Source<'_> {
    fn poisoned(&self) -> bool {
        match self {
            Self::Guest(ring) => ring.poisoned(),
            Self::Mbufs(_) | Self::Own => false,
        }
    }
}

/// One burst on its way out.
pub(crate) struct Emission<'a> {
    pub stage: &'a Stage<'a>,
    pub snapshot: &'a Snapshot,
    pub worker: usize,
    pub burst: &'a Burst,
    pub source: Source<'a>,
}

impl Emission<'_> {
    /// Sends every frame of the burst that was not dropped.
    #[inline(always)]
    pub(crate) fn send<L: Level>(mut self, floods: &mut Floods) {
        let mut waiting: ArrayVec<Waiting, BURST> = ArrayVec::new();
        let count = self.burst.count();
        if let Some(&first) = self.burst.out[..count].first()
            && first < FLOOD
            && self.burst.out[..count].iter().all(|out| *out == first)
        {
            // Traffic comes in runs: mostly a burst is one group.
            self.send_to_port::<L>(first, &ALL_FRAMES[..count], &mut waiting, true);
            self.send_waiting::<L>(&waiting);
            return;
        }
        let mut left: u32 = 0;
        for i in 0..self.burst.count() {
            if self.burst.out[i] <= FLOOD {
                left |= 1 << i;
            }
        }
        while left != 0 {
            let out = self.burst.out[left.trailing_zeros() as usize];
            let mut group = Frames::new();
            let mut rest = left;
            while rest != 0 {
                let i = rest.trailing_zeros();
                rest &= rest - 1;
                if self.burst.out[i as usize] == out {
                    group.push(i as u8);
                    left &= !(1 << i);
                }
            }
            if out == FLOOD {
                self.flood::<L>(&group, floods, &mut waiting);
            } else {
                self.send_to_port::<L>(out, &group, &mut waiting, true);
            }
        }
        self.send_waiting::<L>(&waiting);
    }

    /// Tries groups once more that found their ring taken.
    #[inline(always)]
    fn send_waiting<L: Level>(&mut self, waiting: &[Waiting]) {
        for group in waiting {
            if let Some(port) = self.snapshot.port(group.slot)
                && self.send_to_pair::<L>(port, group.pair, &group.frames, false) == Err(Unavailable::Busy)
            {
                let tally = port.shared.tallies.of(self.worker);
                tally.drop_frames(DropReason::RxRingBusy, group.frames.len() as u64);
            }
        }
    }

    /// Sends frames to one port, if its settings let it receive them.
    #[inline(always)]
    fn send_to_port<L: Level>(
        &mut self,
        slot: u16,
        frames: &[u8],
        waiting: &mut ArrayVec<Waiting, BURST>,
        alone: bool,
    ) {
        let Some(port) = self.snapshot.port(slot) else { return };
        let tally = port.shared.tallies.of(self.worker);
        if !port.admin_up {
            tally.drop_frames(DropReason::ReceiverAdminDown, frames.len() as u64);
            return;
        }
        let mut fit = Frames::new();
        let mut frames = frames;
        if port.max_frame != u32::MAX {
            let short = |i: &u8| self.burst.frame_len(usize::from(*i)) <= port.max_frame;
            if !frames.iter().all(short) {
                fit.extend(frames.iter().copied().filter(short));
                tally.drop_frames(DropReason::ReceiverMtu, (frames.len() - fit.len()) as u64);
                frames = &fit;
            }
        }
        let open = port.shared.open.load(std::sync::atomic::Ordering::Relaxed);
        if open.count_ones() > 1 {
            for (pair, frames) in spread::by_flow(self.burst, frames, open) {
                self.try_pair::<L>(port, slot, pair, &frames, waiting, alone);
            }
        } else {
            let pair = if open == 0 { 0 } else { open.trailing_zeros() as u16 };
            self.try_pair::<L>(port, slot, pair, frames, waiting, alone);
        }
    }

    #[inline(always)]
    fn try_pair<L: Level>(
        &mut self,
        port: &PortEntry,
        slot: u16,
        pair: u16,
        frames: &[u8],
        waiting: &mut ArrayVec<Waiting, BURST>,
        alone: bool,
    ) {
        match self.send_to_pair::<L>(port, pair, frames, alone) {
            Ok(()) => {}
            Err(Unavailable::Closed) => {
                let tally = port.shared.tallies.of(self.worker);
                tally.drop_frames(DropReason::ReceiverDown, frames.len() as u64);
            }
            Err(Unavailable::Busy) => {
                let late = frames.len() as u64;
                let frames = frames.iter().copied().collect();
                if waiting.try_push(Waiting { slot, pair, frames }).is_err() {
                    port.shared.tallies.of(self.worker).drop_frames(DropReason::RxRingBusy, late);
                }
            }
        }
    }

    /// Writes frames to one queue pair. `alone`: nobody else receives them, so that an mbuf may be sent on as it is.
    #[inline(always)]
    fn send_to_pair<L: Level>(
        &mut self,
        port: &PortEntry,
        pair: u16,
        frames: &[u8],
        alone: bool,
    ) -> Result<(), Unavailable> {
        let outlet = port.shared.outlets.get(usize::from(pair)).ok_or(Unavailable::Closed)?;
        let tally = port.shared.tallies.of(self.worker);
        let (burst, source) = (self.burst, &mut self.source);
        let done = outlet.with(|exit| match exit {
            Exit::Guest(ring) if ring.enabled() => {
                let poisoned = || source.poisoned();
                let done = ring.deliver::<L, _>(&Sending { burst, poisoned: &poisoned }, frames);
                Some((done, DropReason::RxRingFull))
            }
            Exit::Guest(_) => None,
            Exit::Device(queue) => {
                let nobody = || false;
                let sending = Sending { burst, poisoned: &nobody };
                let sent = device::send::<L, _>(queue, &sending, source, frames, alone);
                tally.drop_frames(DropReason::NoMbuf, sent.no_mbuf.into());
                Some((sent.delivered, DropReason::TxQueueFull))
            }
        })?;
        let Some((done, full)) = done else { return Err(Unavailable::Closed) };
        // If the sender's memory vanished while it was read, what was lost is the sender's affair.
        let loser = if self.source.poisoned() { self.stage.tally } else { tally };
        account(tally, pair, &done, full, loser);
        Ok(())
    }
}

/// Counts what became of frames at the receiver.
#[inline(always)]
fn account(receiver: &PortTally, pair: u16, done: &Delivered, full: DropReason, loser: &PortTally) {
    let queue = &receiver.queues[usize::from(pair)];
    if done.frames > 0 {
        queue.tx_frames.add(done.frames.into());
        queue.tx_bytes.add(done.bytes);
    }
    receiver.drop_frames(full, done.no_room.into());
    receiver.drop_frames(DropReason::RxBufferTooSmall, done.too_small.into());
    if done.failed > 0 {
        let reason =
            if std::ptr::eq(loser, receiver) { DropReason::ReceiverFaulted } else { DropReason::BadChain };
        loser.drop_frames(reason, done.failed.into());
    }
}

/// Bytes of all the frames listed.
fn bytes_of(source: &impl FrameSource, frames: &[u8]) -> u64 {
    frames.iter().map(|i| u64::from(source.len(usize::from(*i)))).sum()
}
