//! Sending bursts of frames.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::arena::Arena;
use super::LINE;
use super::ring::Ring;
use crate::features::Features;
use crate::ring::RingSetup;

/// Descriptors and buffers are brought near so many frames ahead.
const AHEAD: u16 = 8;

/// A transmit queue in poll mode. Its virtio headers are zero: frames without offloads.
#[derive(Debug)]
pub struct SendQueue {
    ring: Ring,
    /// Ids that are free, a circle of the ring's size: [`SendQueue::send_burst`] takes at `next_avail`, what was used
    /// is added at `next_used`. In order it is never read, as ids are positions.
    free: Box<[u16]>,
    taken: u64,
}

/// The buffer of one frame.
#[derive(Debug)]
pub struct Slot<'a> {
    frame: NonNull<u8>,
    room: u32,
    queue: PhantomData<&'a mut SendQueue>,
}

impl Slot<'_> {
    /// Writes the first 64 bytes.
    #[inline(always)]
    pub fn head(&mut self, head: &[u8; LINE]) {
        // SAFETY: a buffer has at least 64 bytes of frame, which the device does not own now.
        unsafe { self.frame.cast::<[u8; LINE]>().write(*head) };
    }

    /// Writes a number into the first 64 bytes, little-endian, at any byte.
    #[inline(always)]
    pub fn put<const AT: usize>(&mut self, value: u64) {
        const { assert!(AT + 8 <= LINE, "the number ends behind the first 64 bytes") };
        // SAFETY: as for `head`; the place was checked when this was compiled.
        unsafe { self.frame.add(AT).cast::<u64>().write_unaligned(value.to_le()) };
    }

    /// Writes a word in every line from the second to the last of a frame of `len` bytes.
    #[inline]
    pub fn touch(&mut self, len: u32, value: u64) {
        let end = (len.min(self.room) as usize).saturating_sub(7);
        for at in (LINE..end).step_by(LINE) {
            // SAFETY: the word ends within `room`; lines are aligned.
            unsafe { self.frame.add(at).cast::<u64>().write(value) };
        }
    }

    /// Writes any bytes at the front, as many as there is room for.
    pub fn write(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.room as usize);
        // SAFETY: `len` bytes lie in both, and private memory does not overlap the arena.
        unsafe { self.frame.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), len) };
    }
}

impl SendQueue {
    /// A queue of `size` entries for frames of `frame_len` bytes at most; `None` if the arena has no room.
    #[must_use]
    pub fn new(arena: &Arc<Arena>, size: u16, frame_len: u32, features: Features) -> Option<Self> {
        let ring = Ring::new(arena, size, frame_len, features)?;
        Some(Self { free: (0..size).collect(), ring, taken: 0 })
    }

    /// Takes back what the device has used, then sends up to `most` frames: `fill` writes each and returns its
    /// length (cut to the room there is). Returns how many were sent; fewer than asked for if the ring is full.
    #[inline(always)]
    pub fn send_burst<F: FnMut(&mut Slot<'_>) -> u32>(&mut self, most: u16, mut fill: F) -> u16 {
        self.reap();
        let count = most.min(self.ring.size() - self.ring.in_flight());
        if count == 0 {
            return 0;
        }
        let first = self.ring.next_avail;
        for i in 0..count.min(AHEAD) {
            self.ring.prefetch_to_write(self.id(first.wrapping_add(i)));
        }
        for i in 0..count {
            let position = first.wrapping_add(i);
            // Beyond the burst they are the next burst's.
            self.ring.prefetch_to_write(self.id(position.wrapping_add(AHEAD)));
            let id = self.id(position);
            let mut slot = Slot { frame: self.ring.frame(id), room: self.ring.room, queue: PhantomData };
            let len = fill(&mut slot).min(self.ring.room);
            self.ring.offer(position, id, len, 0);
        }
        self.ring.publish(first.wrapping_add(count));
        count
    }

    #[inline(always)]
    fn id(&self, position: u16) -> u16 {
        let slot = self.ring.wrap(position);
        if self.ring.in_order { slot } else { self.free[usize::from(slot)] }
    }

    /// Takes back what the device has used; returns how many frames. In order, the index alone says it, whether the
    /// device wrote an entry for each frame or one for many.
    #[inline(always)]
    pub fn reap(&mut self) -> u16 {
        let count = self.ring.used();
        if !self.ring.in_order {
            for i in 0..count {
                let position = self.ring.next_used.wrapping_add(i);
                let slot = self.ring.wrap(position);
                self.free[usize::from(slot)] = self.ring.used_entry(position).0;
            }
        }
        self.ring.next_used = self.ring.next_used.wrapping_add(count);
        self.taken += u64::from(count);
        count
    }

    /// Frames that the device has taken since the queue was made, as of the last reaping.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Frames sent that the device has not taken, as of the last reaping.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }

    /// Entries of the ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Bytes of the longest frame that can be sent.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.ring.room
    }

    /// Times that the device claimed to have used more than it had.
    #[must_use]
    pub fn lies(&self) -> u64 {
        self.ring.lies
    }

    /// What the device is told of the ring.
    #[must_use]
    pub fn setup(&self) -> RingSetup {
        self.ring.setup()
    }

    /// The memory it lies in.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        self.ring.arena()
    }

    pub(super) fn set_kick(&mut self, kick: OwnedFd) {
        self.ring.set_kick(kick);
    }
}
