//! Delivering frames to a guest: from frames to the buffers that it has made available.
#![expect(unsafe_code, reason = "frames are written into shared memory")]

use arrayvec::ArrayVec;

use super::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, SplitRing};
use super::{BURST, MAX_FRAME_SEGMENTS, Segment};
use crate::address::{GuestPhys, HostAddr};
use crate::fault::Fault;
use crate::guest::{self, Level, guest_copy, guest_write};

/// Frames that can be delivered: a private head each, and a body that still lies where it came from.
pub trait FrameSource {
    /// The private head of frame `i`.
    fn head(&self, i: usize) -> &[u8];
    /// What follows it.
    fn body(&self, i: usize) -> &[Segment];
    /// Bytes of both.
    fn len(&self, i: usize) -> u32;
    /// True if the memory behind the bodies vanished while it was read: nothing may be published then.
    fn poisoned(&self) -> bool;
}

/// What became of the frames that were to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Frames published.
    pub frames: u32,
    /// Their bytes, without virtio headers.
    pub bytes: u64,
    /// Frames for which the guest had no buffers.
    pub no_room: u32,
    /// Frames that its buffers cannot hold.
    pub too_small: u32,
    /// Frames lost because the ring or the memory failed.
    pub failed: u32,
}

/// Descriptors that are looked at for one frame at most: a guest cannot make its neighbours wait with long chains of
/// nothing. Enough for the longest frame in [`MAX_FRAME_SEGMENTS`] chains with a descriptor of their own for headers.
const MAX_STEPS: u32 = 1024;

/// Why one frame was not written.
enum Miss {
    NoRoom,
    TooSmall,
    Fault(Fault),
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The virtio-net header of a frame without offloads in one buffer (virtio 1.2 §5.1.6).
const PLAIN_HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

impl SplitRing {
    /// Writes the frames whose numbers `which` lists (at most [`BURST`]) into the guest's buffers, in order, and
    /// publishes them at once. A frame that does not fit is counted, never waited for.
    #[inline]
    pub fn deliver<L: Level, S: FrameSource>(&mut self, source: &S, which: &[u8]) -> Delivered {
        let mut done = Delivered::default();
        let start = self.next;
        if self.dead() {
            done.failed = which.len() as u32;
            return done;
        }
        let outcome = self.write_all::<L, S>(source, which, &mut done);
        L::done();
        if outcome.is_err() || self.poisoned() || source.poisoned() {
            // Nothing of this burst was published: the guest has never seen it.
            self.next = start;
            done = Delivered { failed: which.len() as u32, ..Delivered::default() };
            if let Err(fault) = outcome {
                self.fail(fault);
            } else if self.poisoned() {
                self.fail(Fault::MemoryVanished);
            }
            return done;
        }
        if self.next != start {
            self.publish();
        }
        done
    }

    #[inline(always)]
    fn write_all<L: Level, S: FrameSource>(
        &mut self,
        source: &S,
        which: &[u8],
        done: &mut Delivered,
    ) -> Result<(), Fault> {
        let mut rest = which;
        while let Some(&first) = rest.first() {
            let mut room = self.seen.wrapping_sub(self.next);
            if usize::from(room) < rest.len() {
                room = self.refresh()?;
            }
            if room == 0 {
                done.no_room += rest.len() as u32;
                break;
            }
            if source.len(first.into()).saturating_add(self.header) <= self.buffer_hint {
                let count = rest.len().min(usize::from(room)).min(BURST);
                let written = self.write_simple::<L, S>(source, &rest[..count], done)?;
                if written > 0 {
                    rest = &rest[written..];
                    continue;
                }
            }
            match self.write_any::<L, S>(source, first.into()) {
                Ok(()) => {
                    done.frames += 1;
                    done.bytes += u64::from(source.len(first.into()));
                }
                Err(Miss::NoRoom) => done.no_room += 1,
                Err(Miss::TooSmall) => done.too_small += 1,
                Err(Miss::Fault(fault)) => return Err(fault),
            }
            rest = &rest[1..];
        }
        Ok(())
    }

    /// The common case: each frame into one buffer of one descriptor. Stops at the first frame that is not like
    /// that, and returns how many were written.
    #[inline(always)]
    fn write_simple<L: Level, S: FrameSource>(
        &mut self,
        source: &S,
        which: &[u8],
        done: &mut Delivered,
    ) -> Result<usize, Fault> {
        let mut heads = [0u16; BURST];
        let mut places = [HostAddr(0); BURST];
        for (i, head) in heads.iter_mut().enumerate().take(which.len()) {
            *head = self.head(self.next.wrapping_add(i as u16))?;
            self.prefetch_desc(*head);
        }
        let mut fit = 0;
        for (i, &frame) in which.iter().enumerate() {
            // SAFETY: `head` checked the index against the ring's size; the table lies in the mapping.
            let desc = unsafe { Self::read_desc(self.desc, heads[i]) };
            let len = source.len(frame.into()) + self.header;
            if desc.flags != DESC_WRITE {
                break;
            }
            self.buffer_hint = desc.len;
            if desc.len < len {
                break;
            }
            // The whole buffer must be shared, not only the part that is used: lies do not wait for long frames.
            let Some(at) = self.memory.translate(desc.addr, u64::from(desc.len)) else { break };
            guest::prefetch_write(at);
            guest::prefetch_write(at.add(64));
            places[i] = at;
            fit += 1;
        }
        let mut bytes = 0;
        for (i, &frame) in which[..fit].iter().enumerate() {
            let (frame, header) = (usize::from(frame), self.header as usize);
            let head = source.head(frame);
            let mut at = places[i].add(header);
            // SAFETY: the buffer was translated for at least header and frame; the header is at most 12 bytes.
            unsafe {
                // A length that the compiler knows is two moves.
                if header == PLAIN_HEADER.len() {
                    guest_write::<L>(places[i], PLAIN_HEADER.as_ptr(), PLAIN_HEADER.len());
                } else {
                    guest_write::<L>(places[i], PLAIN_HEADER.as_ptr(), header);
                }
                guest_write::<L>(at, head.as_ptr(), head.len());
            }
            at = at.add(head.len());
            for piece in source.body(frame) {
                // SAFETY: the pieces of the body add up to the frame's length, which fits in the buffer; the
                // sender's ring checked that each lies in its mapping.
                unsafe { guest_copy::<L>(at, piece.at, piece.len as usize) };
                at = at.add(piece.len as usize);
            }
            let len = source.len(frame);
            self.write_used(self.next.wrapping_add(i as u16), heads[i], len + self.header);
            bytes += u64::from(len);
        }
        self.next = self.next.wrapping_add(fit as u16);
        done.frames += fit as u32;
        done.bytes += bytes;
        Ok(fit)
    }

    /// Any case: one frame into chains of any shape, merged if that was negotiated.
    #[inline(never)]
    fn write_any<L: Level, S: FrameSource>(&mut self, source: &S, frame: usize) -> Result<(), Miss> {
        let need = u64::from(source.len(frame) + self.header);
        let mut pieces = Pieces::new();
        let mut chains = 0u16;
        let mut held = 0u64;
        let mut steps = MAX_STEPS;
        let mut lens = ArrayVec::<(u16, u32), MAX_FRAME_SEGMENTS>::new();
        while held < need {
            if self.seen.wrapping_sub(self.next) == chains && self.refresh()? == chains {
                return Err(Miss::NoRoom);
            }
            if chains > 0 && !self.mergeable || usize::from(chains) == MAX_FRAME_SEGMENTS {
                return Err(Miss::TooSmall);
            }
            let head = self.head(self.next.wrapping_add(chains))?;
            let room = self.collect(head, need - held, &mut pieces, &mut steps)?;
            if room == 0 || (chains == 0 && room < u64::from(self.header)) {
                return Err(Miss::TooSmall);
            }
            let part = room.min(need - held);
            lens.push((head, part as u32));
            held += part;
            chains += 1;
        }
        let mut header = PLAIN_HEADER;
        header[10..12].copy_from_slice(&chains.to_le_bytes());
        let mut cursor = Cursor { pieces: &pieces, at: 0, offset: 0 };
        cursor.write::<L>(&header[..self.header as usize]);
        cursor.write::<L>(source.head(frame));
        for piece in source.body(frame) {
            cursor.copy::<L>(*piece);
        }
        for (i, (head, len)) in lens.iter().enumerate() {
            self.write_used(self.next.wrapping_add(i as u16), *head, *len);
        }
        self.next = self.next.wrapping_add(chains);
        Ok(())
    }

    /// Adds the writable pieces of a chain to `pieces` until `need` bytes are there; returns what was added. Looks at
    /// no more than `budget` descriptors, and takes off what it looked at.
    fn collect(&self, head: u16, need: u64, pieces: &mut Pieces, budget: &mut u32) -> Result<u64, Miss> {
        let (mut table, mut len, mut index) = (self.desc, u32::from(self.mask) + 1, head);
        let mut nested = false;
        let mut found = 0u64;
        let mut steps = 0;
        while steps < len {
            if u32::from(index) >= len {
                return Err(Fault::NextOutOfRange.into());
            }
            *budget = budget.checked_sub(1).ok_or(Miss::TooSmall)?;
            // SAFETY: the index is below the table's length; both kinds of table were checked to lie in the mapping.
            let desc = unsafe { Self::read_desc(table, index) };
            if desc.flags & DESC_INDIRECT != 0 {
                if nested
                    || !self.indirect
                    || desc.flags & DESC_NEXT != 0
                    || desc.len == 0
                    || !desc.len.is_multiple_of(16)
                {
                    return Err(Fault::IndirectInvalid.into());
                }
                let at = self.memory.translate(desc.addr, desc.len.into()).ok_or(Fault::AddressOutOfRange)?;
                if !at.0.is_multiple_of(8) || desc.len / 16 > u32::from(self.mask) + 1 {
                    return Err(Fault::IndirectInvalid.into());
                }
                (table, len, index, nested, steps) = (at, desc.len / 16, 0, true, 0);
                continue;
            }
            if desc.flags & DESC_WRITE == 0 {
                return Err(Fault::DirectionWrong.into());
            }
            let (mut addr, mut left) = (desc.addr.0, u64::from(desc.len).min(need - found));
            while left > 0 {
                let (at, part) =
                    self.memory.translate_prefix(GuestPhys(addr), left).ok_or(Fault::AddressOutOfRange)?;
                if pieces.try_push(Segment { at, len: part as u32 }).is_err() {
                    return Err(Miss::TooSmall);
                }
                addr = addr.checked_add(part).ok_or(Fault::AddressOutOfRange)?;
                left -= part;
                found += part;
            }
            if found == need || desc.flags & DESC_NEXT == 0 {
                return Ok(found);
            }
            index = desc.next;
            steps += 1;
        }
        Err(Fault::ChainTooLong.into())
    }
}

/// The writable pieces that one frame is spread over.
type Pieces = ArrayVec<Segment, MAX_FRAME_SEGMENTS>;

/// A place in a list of pieces that are filled one after the other.
struct Cursor<'a> {
    pieces: &'a [Segment],
    at: usize,
    offset: u32,
}

impl Cursor<'_> {
    /// The next place and how many of `want` bytes fit there.
    fn next(&mut self, want: u32) -> Option<(HostAddr, u32)> {
        let piece = self.pieces.get(self.at)?;
        let place = piece.at.add(self.offset as usize);
        let part = want.min(piece.len - self.offset);
        self.offset += part;
        if self.offset == piece.len {
            self.at += 1;
            self.offset = 0;
        }
        Some((place, part))
    }

    fn write<L: Level>(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some((place, part)) = self.next(bytes.len() as u32) else { return };
            // SAFETY: the piece was translated for at least `part` bytes at this offset; `bytes` is private.
            unsafe { guest_write::<L>(place, bytes.as_ptr(), part as usize) };
            bytes = &bytes[part as usize..];
        }
    }

    fn copy<L: Level>(&mut self, mut from: Segment) {
        while from.len > 0 {
            let Some((place, part)) = self.next(from.len) else { return };
            // SAFETY: the piece was translated for at least `part` bytes at this offset; the sender's ring checked
            // that `from` lies in its mapping.
            unsafe { guest_copy::<L>(place, from.at, part as usize) };
            from = Segment { at: from.at.add(part as usize), len: from.len - part };
        }
    }
}
