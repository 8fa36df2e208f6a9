//! Taking what a guest has sent: from available entries to pieces of checked memory.
#![expect(unsafe_code, reason = "descriptors are read from shared memory")]

use super::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Desc, SplitRing};
use super::{BURST, Chain, Chains, MAX_FRAME, MAX_FRAME_SEGMENTS, Segment};
use crate::address::HostAddr;
use crate::fault::Fault;
use crate::guest;

/// A visit ends with the frame that brings it to so many bytes: what one guest can make one turn cost.
const VISIT_BYTES: u32 = 512 << 10;

/// Where a chain is being read from: the ring's own table, or one that a descriptor points to.
struct Table {
    at: HostAddr,
    len: u32,
}

/// What is known of a chain while it is walked.
struct Walk {
    chain: Chain,
    /// Bytes of the virtio header still to be passed over.
    header: u32,
    /// Bytes of frame found, wide enough never to wrap.
    bytes: u64,
    fits: bool,
}

impl SplitRing {
    /// Takes up to `most` frames (at most [`BURST`]) that the guest has sent into `out`, which is cleared first.
    /// Reads no byte of the frames themselves. They must be given back with [`SplitRing::complete`] in the same
    /// turn, after the last look at them.
    ///
    /// A chain that holds no frame (shorter than the header, or too many pieces) is an entry of length 0. A lie
    /// in the ring takes it out of service ([`SplitRing::dead`]) and yields nothing.
    #[inline(always)]
    pub fn take(&mut self, out: &mut Chains, most: usize) -> usize {
        out.clear();
        if self.dead() {
            return 0;
        }
        match self.try_take(out, most.min(BURST)) {
            Ok(count) => count,
            Err(fault) => {
                self.fail(fault);
                out.clear();
                self.taken = 0;
                0
            }
        }
    }

    #[inline(always)]
    fn try_take(&mut self, out: &mut Chains, most: usize) -> Result<usize, Fault> {
        let waiting = usize::from(self.refresh()?).min(most);
        if waiting == 0 {
            self.taken = 0;
            return Ok(0);
        }
        for i in 0..waiting {
            let head = self.head(self.next.wrapping_add(i as u16))?;
            self.heads[i] = head;
            self.prefetch_desc(head);
        }
        let (mut taken, mut bytes) = self.take_single(out, waiting);
        while taken < waiting && out.has_room() && bytes < VISIT_BYTES {
            // SAFETY: `head` checked the index against the ring's size; the table lies in the mapping.
            let desc = unsafe { Self::read_desc(self.desc, self.heads[taken]) };
            if let Some(segment) = self.single(desc) {
                let mut chain = out.open();
                out.push_segment(&mut chain, segment);
                out.close(chain);
                bytes += desc.len;
            } else {
                bytes += self.walk(self.heads[taken], out)?;
            }
            taken += 1;
        }
        self.taken = taken;
        Ok(taken)
    }

    /// Takes frames into an empty burst while each is one descriptor, the common case. Returns how many and their bytes.
    #[inline(always)]
    fn take_single(&self, out: &mut Chains, waiting: usize) -> (usize, u32) {
        let (mut taken, mut bytes) = (0, 0);
        for (i, &head) in self.heads.iter().enumerate().take(waiting) {
            // SAFETY: `head` checked the index against the ring's size; the table lies in the mapping.
            let desc = unsafe { Self::read_desc(self.desc, head) };
            let Some(segment) = self.single(desc) else { break };
            out.set(i, segment);
            bytes += desc.len;
            taken = i + 1;
            if bytes >= VISIT_BYTES {
                break;
            }
        }
        out.hold(taken);
        (taken, bytes)
    }

    /// The frame in a descriptor that holds all of it, in one region; it is brought near.
    #[inline(always)]
    fn single(&self, desc: Desc) -> Option<Segment> {
        if desc.flags != 0 || desc.len <= self.header || desc.len > MAX_FRAME {
            return None;
        }
        let at = self.memory.translate(desc.addr, u64::from(desc.len))?.add(self.header as usize);
        let len = desc.len - self.header;
        guest::prefetch(at);
        if len > 64 {
            guest::prefetch(at.add(64));
        }
        Some(Segment { at, len })
    }

    /// Returns what [`SplitRing::take`] took last to the guest.
    #[inline(always)]
    pub fn complete(&mut self) {
        if self.taken == 0 || self.dead() {
            return;
        }
        if self.in_order {
            // One entry, naming the last buffer, returns all up to it (virtio 1.2 §2.7.9).
            self.write_used(self.next, self.heads[self.taken - 1], 0);
        } else {
            for (i, &head) in self.heads.iter().enumerate().take(self.taken) {
                self.write_used(self.next.wrapping_add(i as u16), head, 0);
            }
        }
        self.next = self.next.wrapping_add(self.taken as u16);
        self.taken = 0;
        if self.poisoned() {
            self.fail(Fault::MemoryVanished);
            return;
        }
        self.publish();
    }

    /// Reads a chain of any shape into `out`.
    #[inline(never)]
    fn walk(&self, head: u16, out: &mut Chains) -> Result<u32, Fault> {
        let mut walk = Walk { chain: out.open(), header: self.header, bytes: 0, fits: true };
        let own = Table { at: self.desc, len: u32::from(self.mask) + 1 };
        self.walk_table(&own, head, true, &mut walk, out)?;
        if walk.fits && walk.chain.count > 0 {
            out.close(walk.chain);
        } else {
            out.close_empty(walk.chain);
        }
        Ok(walk.chain.len)
    }

    fn walk_table(
        &self,
        table: &Table,
        first: u16,
        may_be_indirect: bool,
        walk: &mut Walk,
        out: &mut Chains,
    ) -> Result<(), Fault> {
        let mut index = first;
        for _ in 0..table.len.min(MAX_FRAME_SEGMENTS as u32 + 2) {
            if u32::from(index) >= table.len {
                return Err(Fault::NextOutOfRange);
            }
            // SAFETY: the index is below the table's length; both kinds of table were checked to lie in the mapping.
            let desc = unsafe { Self::read_desc(table.at, index) };
            if desc.flags & DESC_INDIRECT != 0 {
                if !may_be_indirect || desc.flags & DESC_NEXT != 0 {
                    return Err(Fault::IndirectInvalid);
                }
                return self.walk_table(&self.indirect_table(desc)?, 0, false, walk, out);
            }
            if desc.flags & DESC_WRITE != 0 {
                return Err(Fault::DirectionWrong);
            }
            self.add_buffer(desc, walk, out)?;
            if desc.flags & DESC_NEXT == 0 {
                return Ok(());
            }
            index = desc.next;
        }
        if table.len <= MAX_FRAME_SEGMENTS as u32 + 2 {
            return Err(Fault::ChainTooLong);
        }
        walk.fits = false;
        Ok(())
    }

    /// Checks an indirect descriptor and finds its table (virtio 1.2 §2.7.5.3).
    fn indirect_table(&self, desc: Desc) -> Result<Table, Fault> {
        if !self.indirect
            || desc.len == 0
            || !desc.len.is_multiple_of(16)
            || desc.len / 16 > u32::from(self.mask) + 1
        {
            return Err(Fault::IndirectInvalid);
        }
        let at = self.memory.translate(desc.addr, u64::from(desc.len)).ok_or(Fault::AddressOutOfRange)?;
        if !at.0.is_multiple_of(8) {
            return Err(Fault::IndirectInvalid);
        }
        Ok(Table { at, len: desc.len / 16 })
    }

    /// Adds one buffer to a chain, passing over the virtio header, in as many pieces as regions it spans.
    fn add_buffer(&self, desc: Desc, walk: &mut Walk, out: &mut Chains) -> Result<(), Fault> {
        let skipped = walk.header.min(desc.len);
        walk.header -= skipped;
        let mut addr = desc.addr.0.checked_add(u64::from(skipped)).ok_or(Fault::AddressOutOfRange)?;
        let mut left = u64::from(desc.len - skipped);
        walk.bytes += left;
        if walk.bytes > u64::from(MAX_FRAME) {
            return Err(Fault::LengthOverflow);
        }
        while left > 0 {
            let (at, len) = self
                .memory
                .translate_prefix(crate::address::GuestPhys(addr), left)
                .ok_or(Fault::AddressOutOfRange)?;
            if walk.fits && !out.push_segment(&mut walk.chain, Segment { at, len: len as u32 }) {
                walk.fits = false;
            }
            addr = addr.wrapping_add(len);
            left -= len;
        }
        Ok(())
    }
}
