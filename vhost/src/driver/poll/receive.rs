//! Receiving bursts of frames.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::arena::Arena;
use super::ring::{Ring, WRITE};
use super::{HEADROOM, LINE, MOST};
use crate::features::Features;
use crate::ring::RingSetup;

/// A receive queue in poll mode, always full of buffers but for those being looked at.
#[derive(Debug)]
pub struct ReceiveQueue {
    ring: Ring,
    mergeable: bool,
    malformed: u64,
    /// Entries of the burst being looked at.
    entries: [(u16, u32); MOST as usize],
}

/// A frame that has come.
#[derive(Debug)]
pub struct Received<'a> {
    frame: NonNull<u8>,
    len: u32,
    buffers: u16,
    queue: PhantomData<&'a ReceiveQueue>,
}

impl Received<'_> {
    /// Bytes of the whole frame, virtio header not included.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True if the frame has no bytes.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Buffers that it takes.
    #[inline(always)]
    #[must_use]
    pub fn buffers(&self) -> u16 {
        self.buffers
    }

    /// A number in the first 64 bytes, little-endian. Behind the end of a shorter frame it is whatever lies there.
    #[inline(always)]
    #[must_use]
    pub fn get<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= LINE, "the number ends behind the first 64 bytes") };
        // SAFETY: a buffer has at least 64 bytes; the device has used it, and does not write it again before it is given back.
        u64::from_le(unsafe { self.frame.add(AT).cast::<u64>().read_unaligned() })
    }
}

impl ReceiveQueue {
    /// A queue of `size` entries, each with a buffer of `receive_len` bytes, [`HEADROOM`] included; `None` if the
    /// arena has no room.
    #[must_use]
    pub fn new(arena: &Arc<Arena>, size: u16, receive_len: u32, features: Features) -> Option<Self> {
        let room = receive_len.checked_sub(HEADROOM).filter(|room| *room >= LINE as u32)?;
        let ring = Ring::new(arena, size, room, features)?;
        let mergeable = features.contains(Features::MRG_RXBUF);
        let mut queue = Self { ring, mergeable, malformed: 0, entries: [(0, 0); MOST as usize] };
        (0..size).for_each(|id| queue.ring.offer(id, id, room, WRITE));
        queue.ring.publish(size);
        Some(queue)
    }

    /// Takes the frames in up to `most` (at most [`MOST`]) used entries, shows each to `frame`, and gives the
    /// buffers back at once. With `FULL`, reads a word of every line of each frame. Returns the number of frames.
    ///
    /// A merged frame of which not all buffers have come is left for later. What breaks the rules is counted in
    /// [`ReceiveQueue::malformed`] and left out.
    #[inline(always)]
    pub fn receive_burst<const FULL: bool, F: FnMut(&Received<'_>)>(
        &mut self,
        most: u16,
        mut frame: F,
    ) -> u16 {
        let waiting = self.ring.used();
        let count = waiting.min(most).min(MOST);
        if count == 0 {
            return 0;
        }
        let (first, offered) = (self.ring.next_used, self.ring.next_avail);
        for i in 0..count {
            let entry = self.ring.used_entry(first.wrapping_add(i));
            self.ring.prefetch_frame(entry.0);
            self.ring.prefetch_descriptor(entry.0);
            self.entries[usize::from(i)] = entry;
        }
        let (mut i, mut frames) = (0, 0);
        while i < count {
            let (id, len) = self.entries[usize::from(i)];
            let at = self.ring.frame(id);
            let buffers = if self.mergeable { Self::buffers(at) } else { 1 };
            if buffers != 1 {
                if buffers > waiting - i && buffers <= self.ring.size() {
                    break;
                }
                let (used, len) = self.merged::<FULL>(first.wrapping_add(i), buffers);
                i += used;
                if let Some(len) = len {
                    frame(&Received { frame: at, len, buffers, queue: PhantomData });
                    frames += 1;
                }
                // Offered only now that the frame was looked at.
                self.give_back(first.wrapping_add(i - used), offered.wrapping_add(i - used), used);
                continue;
            }
            if len < self.ring.header {
                self.malformed += 1;
            } else {
                let len = (len - self.ring.header).min(self.ring.room);
                if FULL {
                    Self::read_all(at, len);
                }
                frame(&Received { frame: at, len, buffers: 1, queue: PhantomData });
                frames += 1;
            }
            self.ring.offer(offered.wrapping_add(i), id, self.ring.room, WRITE);
            i += 1;
        }
        self.ring.next_used = first.wrapping_add(i);
        if i > 0 {
            self.ring.publish(offered.wrapping_add(i));
        }
        frames
    }

    /// `num_buffers`, the last two bytes of the virtio header, which ends where the frame begins.
    #[inline(always)]
    fn buffers(frame: NonNull<u8>) -> u16 {
        // SAFETY: the line before a frame belongs to its buffer.
        u16::from_le(unsafe { frame.sub(2).cast::<u16>().read_volatile() })
    }

    /// A frame of several buffers that begins at `position`, all of which have come: how many entries it takes, and
    /// its length unless it is malformed.
    #[inline(never)]
    fn merged<const FULL: bool>(&mut self, position: u16, buffers: u16) -> (u16, Option<u32>) {
        if buffers == 0 || buffers > self.ring.size() {
            self.malformed += 1;
            return (1, None);
        }
        let mut whole = 0;
        for i in 0..buffers {
            let (id, len) = self.ring.used_entry(position.wrapping_add(i));
            let at = self.ring.frame(id);
            // The header lies before the first frame byte, in every buffer: what follows the first begins there.
            let len = len.min(self.ring.room + self.ring.header);
            let skipped = if i == 0 { self.ring.header } else { 0 };
            if FULL {
                Self::read_all(at, len.saturating_sub(self.ring.header));
            }
            whole += len.saturating_sub(skipped);
        }
        (buffers, Some(whole))
    }

    fn give_back(&self, position: u16, offered: u16, count: u16) {
        for i in 0..count {
            let (id, _) = self.ring.used_entry(position.wrapping_add(i));
            self.ring.offer(offered.wrapping_add(i), id, self.ring.room, WRITE);
        }
    }

    #[inline]
    fn read_all(frame: NonNull<u8>, len: u32) {
        for at in (0..len as usize).step_by(LINE) {
            // SAFETY: the frame lies in its buffer, whose end is a multiple of a line.
            unsafe { frame.add(at).cast::<u64>().read_volatile() };
        }
    }

    /// Writes `head`, with a virtio header of one buffer before it, into every buffer, for devices that write nothing.
    /// Only while the device is idle.
    pub fn prefill(&mut self, head: &[u8; LINE]) {
        for id in 0..self.ring.size() {
            let at = self.ring.frame(id);
            // SAFETY: a buffer has at least 64 bytes of frame, and the line before.
            unsafe {
                at.sub(2).cast::<u16>().write(1u16.to_le());
                at.cast::<[u8; LINE]>().write(*head);
            }
        }
    }

    /// Frames with which the device broke the rules, and used indexes that cannot be.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed + self.ring.lies
    }

    /// Entries of the ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.ring.size()
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
