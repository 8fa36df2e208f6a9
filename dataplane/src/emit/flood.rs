//! Frames for every port of a network.
//!
//! To few receivers they are sent like any other, straight from the sender's memory. To many (more than
//! [`DIRECT_RECEIVERS`], or more than [`DIRECT_BYTES`] in total) a frame is copied once into private memory of the
//! worker and delivered over later turns, so that no turn becomes long and no guest buffer is held.
#![expect(unsafe_code, reason = "bodies are copied out of shared memory")]

use arrayvec::ArrayVec;
use vhost::address::HostAddr;
use vhost::guest::{Level, guest_read};
use vhost::ring::{BURST, FrameSource, MAX_FRAME, Segment};

use super::{Emission, Frames, Waiting, account, bytes_of};
use crate::burst::Sending;
use crate::drops::DropReason;
use crate::ids::NetworkId;
use crate::outlet::Unavailable;
use crate::port::Exit;
use crate::snapshot::Snapshot;

/// Receivers that are served within the turn.
const DIRECT_RECEIVERS: usize = 8;

/// Bytes that are written for one group of frames within the turn.
const DIRECT_BYTES: u64 = 256 << 10;

/// Frames that can wait for receivers.
const BACKLOG: usize = 256;

/// Bytes of all frames that wait.
const ARENA: usize = 1 << 20;

/// Receivers that one waiting frame is sent to in one turn.
const RECEIVERS_A_TURN: usize = 8;

/// A frame that was copied and still has receivers to go.
struct Copy {
    network: u16,
    /// The network's number, which is never used again, unlike its place in the snapshot.
    id: NetworkId,
    /// Slot of the sender, which does not receive it.
    sender: u16,
    /// Receivers with a lower slot have been served.
    next: u16,
    at: usize,
    len: u32,
}

/// Frames of one worker that wait for receivers. All memory is taken at start.
pub(crate) struct Floods {
    copies: std::collections::VecDeque<Copy>,
    arena: Box<[u8]>,
    /// Where the next frame is put; frames lie in the order in which they were copied.
    end: usize,
}

impl Floods {
    pub(crate) fn new() -> Self {
        Self {
            copies: std::collections::VecDeque::with_capacity(BACKLOG),
            arena: vec![0; ARENA].into(),
            end: 0,
        }
    }

    /// True if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// A free place for `len` bytes, if there is one.
    fn place(&mut self, len: usize) -> Option<usize> {
        if self.copies.len() == BACKLOG {
            return None;
        }
        let Some(first) = self.copies.front().map(|c| c.at) else {
            self.end = len;
            return Some(0);
        };
        // The frames in use lie from `first` to `end`, perhaps around the end of the arena.
        let at = if self.end > first && self.end + len > ARENA { 0 } else { self.end };
        let free_until = if at <= first && !(at == self.end && self.end > first) { first } else { ARENA };
        // One byte stays free, so that a full arena and an empty one differ.
        (at + len < free_until).then(|| {
            self.end = at + len;
            at
        })
    }

    /// Sends waiting frames to some more of their receivers. Returns how many were delivered.
    pub(crate) fn work<L: Level>(&mut self, snapshot: &Snapshot, worker: usize) -> usize {
        let mut delivered = 0;
        // One frame a turn: the oldest. The others keep their order behind it.
        let Some(copy) = self.copies.front_mut() else { return 0 };
        let network = snapshot.network(copy.network).filter(|n| n.id == copy.id);
        let mut finished = true;
        if let Some(network) = network {
            let source = Private { bytes: &self.arena[copy.at..copy.at + copy.len as usize] };
            let first = network.members.partition_point(|slot| *slot < copy.next);
            let mut rest = network.members[first..].iter().copied().filter(|slot| *slot != copy.sender);
            for slot in rest.by_ref().take(RECEIVERS_A_TURN) {
                copy.next = slot + 1;
                delivered += usize::from(source.to::<L>(snapshot, slot, worker));
            }
            finished = rest.next().is_none();
        }
        if finished {
            self.copies.pop_front();
        }
        L::done();
        delivered
    }
}

/// A frame that lies in private memory whole.
struct Private<'a> {
    bytes: &'a [u8],
}

impl FrameSource for Private<'_> {
    fn head(&self, _: usize) -> &[u8] {
        self.bytes
    }

    fn body(&self, _: usize) -> &[Segment] {
        &[]
    }

    fn len(&self, _: usize) -> u32 {
        self.bytes.len() as u32
    }

    fn poisoned(&self) -> bool {
        false
    }
}

impl Private<'_> {
    /// Delivers it to one port; what cannot be delivered is counted there.
    fn to<L: Level>(&self, snapshot: &Snapshot, slot: u16, worker: usize) -> bool {
        let Some(port) = snapshot.port(slot).filter(|p| p.admin_up) else { return false };
        let tally = port.shared.tallies.of(worker);
        if self.bytes.len() as u32 > port.max_frame {
            tally.drop_frames(DropReason::ReceiverMtu, 1);
            return false;
        }
        let open = port.shared.open.load(std::sync::atomic::Ordering::Relaxed);
        if open == 0 {
            return false;
        }
        let pair = open.trailing_zeros() as u16;
        let done = port.shared.outlets[usize::from(pair)].with(|exit| match exit {
            Exit::Guest(ring) if ring.enabled() => {
                Some((ring.deliver::<L, _>(self, &[0]), DropReason::RxRingFull))
            }
            Exit::Guest(_) => None,
            Exit::Device(queue) => {
                let sent = super::device::send_one::<L>(queue, self);
                tally.drop_frames(DropReason::NoMbuf, sent.no_mbuf.into());
                Some((sent.delivered, DropReason::TxQueueFull))
            }
        });
        match done {
            Ok(Some((done, full))) => {
                account(tally, pair, &done, full, tally);
                done.frames > 0
            }
            Err(Unavailable::Busy) => {
                tally.drop_frames(DropReason::RxRingBusy, 1);
                false
            }
            Ok(None) | Err(Unavailable::Closed) => false,
        }
    }
}

impl Emission<'_> {
    /// Sends frames to every other running port of the network.
    #[cold]
    pub(super) fn flood<L: Level>(
        &mut self,
        frames: &Frames,
        floods: &mut Floods,
        waiting: &mut ArrayVec<Waiting, BURST>,
    ) {
        let stage = self.stage;
        let runs = |slot: &u16| {
            *slot != stage.slot
                && self.snapshot.port(*slot).is_some_and(|p| {
                    p.admin_up && p.shared.open.load(std::sync::atomic::Ordering::Relaxed) != 0
                })
        };
        let receivers = stage.network.members.iter().copied().filter(runs);
        let count = receivers.clone().count();
        if count == 0 {
            stage.tally.drop_frames(DropReason::NoDestination, frames.len() as u64);
            return;
        }
        let nobody = || false;
        let bytes = bytes_of(&Sending { burst: self.burst, poisoned: &nobody }, frames);
        if count <= DIRECT_RECEIVERS && bytes * count as u64 <= DIRECT_BYTES {
            let receivers: ArrayVec<u16, DIRECT_RECEIVERS> = receivers.collect();
            for slot in receivers {
                self.send_to_port::<L>(slot, frames, waiting, count == 1);
            }
            return;
        }
        for &i in frames {
            if !self.copy::<L>(usize::from(i), floods) {
                for slot in stage.network.members.iter().copied().filter(runs) {
                    if let Some(port) = self.snapshot.port(slot) {
                        port.shared.tallies.of(self.worker).drop_frames(DropReason::FloodBacklog, 1);
                    }
                }
            }
        }
    }

    /// Copies frame `i` into private memory, to be sent later. `false` if there is no room.
    fn copy<L: Level>(&mut self, i: usize, floods: &mut Floods) -> bool {
        let len = self.burst.frame_len(i);
        if len > MAX_FRAME {
            return false;
        }
        let Some(at) = floods.place(len as usize) else { return false };
        let place = &mut floods.arena[at..at + len as usize];
        let head = self.burst.head(i);
        place[..head.len()].copy_from_slice(head);
        let mut filled = head.len();
        for piece in self.burst.chains.segments(i) {
            let to = place[filled..filled + piece.len as usize].as_mut_ptr();
            // SAFETY: the piece was checked when it was taken; `to` has room for it, as it was sliced so.
            unsafe { guest_read::<L>(to, HostAddr(piece.at.0), piece.len as usize) };
            filled += piece.len as usize;
        }
        L::done();
        if self.source.poisoned() {
            return false;
        }
        floods.copies.push_back(Copy {
            network: self.stage.port.network,
            id: self.stage.network.id,
            sender: self.stage.slot,
            next: 0,
            at,
            len,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(at: usize, len: usize) -> Copy {
        Copy { network: 0, id: NetworkId(0), sender: 0, next: 0, at, len: len as u32 }
    }

    #[test]
    fn places_never_overlap() {
        let mut floods = Floods::new();
        let mut seed = 12345u64;
        let mut refused = 0;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let len = (seed >> 33) as usize % 65_000 + 1;
            match floods.place(len) {
                Some(at) => {
                    assert!(at + len <= ARENA);
                    for other in &floods.copies {
                        let apart = at + len <= other.at || other.at + other.len as usize <= at;
                        assert!(apart, "{at}+{len} and {}+{}", other.at, other.len);
                    }
                    floods.copies.push_back(copy(at, len));
                }
                None => refused += 1,
            }
            if seed >> 60 < 7 {
                floods.copies.pop_front();
            }
        }
        assert!(refused > 0, "the arena was never full");
    }
}
