//! The split ring (virtio 1.2 §2.7), driver side.
//!
//! Buffers are added, published once for many, and reaped when the device has used them. Whoever adds a chain
//! gives it a token and gets it back with the length that the device wrote.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::arena::{Arena, Place};
use crate::features::Features;
use crate::ring::RingSetup;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;
const DESC_LEN: u64 = 16;

/// One buffer of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where it lies.
    pub at: Place,
    /// Bytes.
    pub len: u32,
    /// True if the device writes it.
    pub writable: bool,
}

/// A chain that the device has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What was given when it was added.
    pub token: u32,
    /// Bytes that the device wrote; 0 for all but the last of a batch that an in-order device used at once.
    pub len: u32,
}

/// There are not enough free descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring has not enough free descriptors")]
pub struct RingFull;

/// A split ring that this process drives.
#[derive(Debug)]
pub struct DriverRing {
    arena: Arc<Arena>,
    desc: Place,
    avail: Place,
    used: Place,
    size: u16,
    features: Features,
    /// Next available index to be written; published by [`DriverRing::publish`].
    next_avail: u16,
    /// Next used index to be read.
    next_used: u16,
    /// Free descriptors, first and last, linked through `links`. First in, first out: an in-order ring is used
    /// from front to back by itself (virtio 1.2 §2.7.9).
    free_head: u16,
    free_tail: u16,
    free: u16,
    links: Vec<u16>,
    /// For each head in flight: its token and how many descriptors its chain has.
    tokens: Vec<(u32, u16)>,
    /// In-order only: tokens of a batch that one used entry returned, still to be handed out up to this index.
    batch_end: u16,
    batch_len: u32,
}

impl DriverRing {
    /// Lays a ring of `size` entries (a power of two) out in `arena`; `None` if there is no room.
    #[must_use]
    pub fn new(arena: &Arc<Arena>, size: u16, features: Features) -> Option<Self> {
        let entries = u64::from(size);
        let mut ring = Self {
            desc: arena.allocate(DESC_LEN * entries, 64)?,
            avail: arena.allocate(6 + 2 * entries, 64)?,
            used: arena.allocate(6 + 8 * entries, 64)?,
            arena: Arc::clone(arena),
            size,
            features,
            next_avail: 0,
            next_used: 0,
            free_head: 0,
            free_tail: 0,
            free: 0,
            links: vec![0; size.into()],
            tokens: vec![(0, 0); size.into()],
            batch_end: 0,
            batch_len: 0,
        };
        ring.reset();
        Some(ring)
    }

    /// Forgets everything in flight and begins at index 0, as a driver does that resets its device.
    pub fn reset(&mut self) {
        (self.next_avail, self.next_used, self.batch_end) = (0, 0, 0);
        self.arena.word16(self.avail.plus(2)).store(0, Ordering::Relaxed);
        self.arena.word16(self.used).store(0, Ordering::Relaxed);
        self.arena.word16(self.used.plus(2)).store(0, Ordering::Release);
        for (i, link) in self.links.iter_mut().enumerate() {
            *link = i as u16 + 1;
        }
        (self.free_head, self.free_tail, self.free) = (0, self.size - 1, self.size);
    }

    /// What the device is told of it, on behalf of `SET_VRING_NUM`, `_ADDR` and `_BASE`.
    #[must_use]
    pub fn setup(&self) -> RingSetup {
        RingSetup {
            size: self.size,
            desc: self.arena.frontend(self.desc),
            avail: self.arena.frontend(self.avail),
            used: self.arena.frontend(self.used),
            base: 0,
            features: self.features,
        }
    }

    /// The memory it lies in.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// What was negotiated.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// Descriptors that are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Chains that the device has and has not yet returned, or that were returned and not yet reaped.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.next_avail.wrapping_sub(self.next_used)
    }

    /// Adds a chain of `buffers`, one descriptor each. Not seen by the device before [`DriverRing::publish`].
    ///
    /// # Errors
    /// [`RingFull`] if there are fewer free descriptors than buffers, or no buffers.
    #[inline]
    pub fn add(&mut self, buffers: &[Buffer], token: u32) -> Result<(), RingFull> {
        let count = buffers.len() as u16;
        if buffers.is_empty() || buffers.len() > usize::from(self.free) {
            return Err(RingFull);
        }
        let head = self.free_head;
        let mut index = head;
        for (i, buffer) in buffers.iter().enumerate() {
            let next = self.links[usize::from(index)];
            let more = if i + 1 < buffers.len() { NEXT } else { 0 };
            let at = self.desc.plus(DESC_LEN * u64::from(index));
            self.write_desc(at, buffer, more, if more == 0 { 0 } else { next });
            index = next;
        }
        self.take(head, index, count, token);
        Ok(())
    }

    /// Adds a chain of `buffers` through an indirect table, which is written at `table` (a multiple of 16, with
    /// 16 bytes for each buffer).
    ///
    /// # Errors
    /// [`RingFull`] if there is no free descriptor, or no buffers.
    pub fn add_indirect(&mut self, buffers: &[Buffer], table: Place, token: u32) -> Result<(), RingFull> {
        if buffers.is_empty() || self.free == 0 {
            return Err(RingFull);
        }
        for (i, buffer) in buffers.iter().enumerate() {
            let next = if i + 1 < buffers.len() { i as u16 + 1 } else { 0 };
            let more = if next == 0 { 0 } else { NEXT };
            self.write_desc(table.plus(DESC_LEN * i as u64), buffer, more, next);
        }
        let head = self.free_head;
        let whole = Buffer { at: table, len: DESC_LEN as u32 * buffers.len() as u32, writable: false };
        self.write_desc(self.desc.plus(DESC_LEN * u64::from(head)), &whole, INDIRECT, 0);
        let next = self.links[usize::from(head)];
        self.take(head, next, 1, token);
        Ok(())
    }

    /// Takes `count` descriptors from the free list and enters `head` in the available ring.
    #[inline(always)]
    fn take(&mut self, head: u16, next_free: u16, count: u16, token: u32) {
        self.free_head = next_free;
        self.free -= count;
        self.tokens[usize::from(head)] = (token, count);
        let slot = self.slot(self.next_avail);
        self.arena.word16(self.avail.plus(4 + 2 * slot)).store(head.to_le(), Ordering::Relaxed);
        self.next_avail = self.next_avail.wrapping_add(1);
    }

    #[inline(always)]
    fn write_desc(&self, at: Place, buffer: &Buffer, flags: u16, next: u16) {
        let flags = flags | if buffer.writable { WRITE } else { 0 };
        let rest = u64::from(buffer.len) | u64::from(flags) << 32 | u64::from(next) << 48;
        self.arena.word64(at).store(self.arena.guest(buffer.at).0.to_le(), Ordering::Relaxed);
        self.arena.word64(at.plus(8)).store(rest.to_le(), Ordering::Relaxed);
    }

    /// Shows the device everything added. True if it wants to be kicked.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.arena.word16(self.avail.plus(2)).store(self.next_avail.to_le(), Ordering::Release);
        // The device clears its flag and then looks at the index; without the fence both could miss each other.
        fence(Ordering::SeqCst);
        let flags = u16::from_le(self.arena.word16(self.used).load(Ordering::Relaxed));
        flags & USED_NO_NOTIFY == 0
    }

    /// Says whether the device should notify this driver when it uses buffers.
    pub fn want_interrupts(&mut self, wanted: bool) {
        let flags = if wanted { 0 } else { AVAIL_NO_INTERRUPT };
        self.arena.word16(self.avail).store(flags.to_le(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The next chain that the device has used, if there is one.
    #[inline]
    pub fn reap(&mut self) -> Option<Used> {
        if self.next_used != self.batch_end {
            return Some(self.reap_batched());
        }
        let published = u16::from_le(self.arena.word16(self.used.plus(2)).load(Ordering::Acquire));
        if published == self.next_used {
            return None;
        }
        let at = self.used.plus(4 + 8 * self.slot(self.next_used));
        let id = u32::from_le(self.arena.word32(at).load(Ordering::Relaxed));
        let len = u32::from_le(self.arena.word32(at.plus(4)).load(Ordering::Relaxed));
        let id = u16::try_from(id)
            .ok()
            .filter(|id| *id < self.size)
            .expect("the device returns what it was given");
        if self.features.contains(Features::IN_ORDER) {
            self.open_batch(id, len);
            return Some(self.reap_batched());
        }
        self.next_used = self.next_used.wrapping_add(1);
        self.batch_end = self.next_used;
        Some(self.give_back(id, len))
    }

    /// In order, one entry may return everything up to the chain it names (virtio 1.2 §2.7.9).
    fn open_batch(&mut self, last: u16, len: u32) {
        self.batch_end = self.next_used;
        loop {
            assert!(self.batch_end != self.next_avail, "the device returned a chain that it was not given");
            let head = self.head_at(self.batch_end);
            self.batch_end = self.batch_end.wrapping_add(1);
            if head == last {
                break;
            }
        }
        self.batch_len = len;
    }

    fn reap_batched(&mut self) -> Used {
        let head = self.head_at(self.next_used);
        self.next_used = self.next_used.wrapping_add(1);
        let len = if self.next_used == self.batch_end { self.batch_len } else { 0 };
        self.give_back(head, len)
    }

    #[inline(always)]
    fn give_back(&mut self, head: u16, len: u32) -> Used {
        let (token, count) = self.tokens[usize::from(head)];
        let mut last = head;
        for _ in 1..count {
            last = self.links[usize::from(last)];
        }
        if self.free == 0 {
            self.free_head = head;
        } else {
            self.links[usize::from(self.free_tail)] = head;
        }
        self.free_tail = last;
        self.free += count;
        Used { token, len }
    }

    fn head_at(&self, position: u16) -> u16 {
        let slot = self.slot(position);
        u16::from_le(self.arena.word16(self.avail.plus(4 + 2 * slot)).load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn slot(&self, position: u16) -> u64 {
        u64::from(position & (self.size - 1))
    }

    /// The ring's fields as they lie in memory, for tests that lie.
    #[must_use]
    pub fn raw(&self) -> RawRing<'_> {
        RawRing(self)
    }
}

/// Writes whatever it is told to into a ring, past all bookkeeping.
#[derive(Clone, Copy, Debug)]
pub struct RawRing<'a>(&'a DriverRing);

impl RawRing<'_> {
    /// Writes descriptor `index`: a guest-physical address, a length, flags (1 next, 2 write, 4 indirect), next.
    pub fn descriptor(&self, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.descriptor_at(self.0.desc.plus(DESC_LEN * u64::from(index)), addr, len, flags, next);
    }

    /// Writes a descriptor anywhere, as in an indirect table.
    pub fn descriptor_at(&self, at: Place, addr: u64, len: u32, flags: u16, next: u16) {
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        self.0.arena.word64(at).store(addr.to_le(), Ordering::Relaxed);
        self.0.arena.word64(at.plus(8)).store(rest.to_le(), Ordering::Relaxed);
    }

    /// Writes the head of an available entry; `position` is taken modulo the ring's size.
    pub fn available(&self, position: u16, head: u16) {
        let at = self.0.avail.plus(4 + 2 * self.0.slot(position));
        self.0.arena.word16(at).store(head.to_le(), Ordering::Relaxed);
    }

    /// Publishes an available index.
    pub fn available_index(&self, index: u16) {
        self.0.arena.word16(self.0.avail.plus(2)).store(index.to_le(), Ordering::Release);
    }

    /// The available index as published.
    #[must_use]
    pub fn published(&self) -> u16 {
        u16::from_le(self.0.arena.word16(self.0.avail.plus(2)).load(Ordering::Acquire))
    }

    /// The device's used index.
    #[must_use]
    pub fn used_index(&self) -> u16 {
        u16::from_le(self.0.arena.word16(self.0.used.plus(2)).load(Ordering::Acquire))
    }

    /// Overwrites the device's used index, as a driver does that wants to confuse a restarted device.
    pub fn set_used_index(&self, index: u16) {
        self.0.arena.word16(self.0.used.plus(2)).store(index.to_le(), Ordering::Release);
    }

    /// Used entry at `position`: id and length.
    #[must_use]
    pub fn used_entry(&self, position: u16) -> (u32, u32) {
        let at = self.0.used.plus(4 + 8 * self.0.slot(position));
        let word = |at| u32::from_le(self.0.arena.word32(at).load(Ordering::Relaxed));
        (word(at), word(at.plus(4)))
    }
}
