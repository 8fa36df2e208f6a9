//! A poll-mode driver of split rings, for the load generator: what DPDK's virtio driver does to memory, and no more.
//!
//! The queues beside this module take chains of any shape and one frame a call; a generator that must outrun the
//! switch it measures cannot afford that. Here a ring has one buffer an entry, laid out as DPDK lays out its own: the
//! frame begins at a cache line and its virtio header ends the line before. Calls move whole bursts: one read of the
//! used index, one store of the available index, interrupts suppressed. Frames are written and read through
//! closures, so that nothing is copied that the caller does not want copied.
//!
//! The queues trust their device, but its lies harm nothing: ids are taken modulo the ring's size, lengths are cut to
//! the buffer, and a used index out of range is passed over and counted. Each queue belongs to one thread.
#![expect(
    unsafe_code,
    reason = "rings and buffers in shared memory are read and written through raw pointers that `Ring` bounds"
)]

mod receive;
mod ring;
mod send;

use std::os::fd::OwnedFd;
use std::sync::Arc;

pub use receive::{ReceiveQueue, Received};
pub use send::{SendQueue, Slot};

use super::arena::Arena;
use crate::features::Features;
use crate::ring::RingSetup;

/// Entries that one call moves at most, merged frames excepted.
pub const MOST: u16 = 64;
/// Bytes that DPDK keeps free in front of a frame and counts as part of a buffer.
pub const HEADROOM: u32 = 128;
/// Bytes of every frame that are written and read: one cache line. Shorter frames still have a buffer of a line.
pub const LINE: usize = 64;

/// Brings a cache line near, to be read.
#[inline(always)]
pub fn prefetch<T>(at: &T) {
    ring::prefetch(std::ptr::from_ref(at).cast());
}

/// A queue pair in poll mode.
#[derive(Debug)]
pub struct PollPair {
    /// Frames that go to the device.
    pub send: SendQueue,
    /// Frames that come from the device.
    pub receive: ReceiveQueue,
}

impl PollPair {
    /// A pair of rings of `size` entries (a power of two) for frames of `frame_len` bytes at most, with receive
    /// buffers of `receive_len` bytes, [`HEADROOM`] included; `None` if the arena has no room.
    #[must_use]
    pub fn new(
        arena: &Arc<Arena>,
        size: u16,
        frame_len: u32,
        receive_len: u32,
        features: Features,
    ) -> Option<Self> {
        Some(Self {
            receive: ReceiveQueue::new(arena, size, receive_len, features)?,
            send: SendQueue::new(arena, size, frame_len, features)?,
        })
    }

    /// Bytes of an arena that a pair needs.
    #[must_use]
    pub fn memory(size: u16, frame_len: u32, receive_len: u32) -> u64 {
        let buffers = stride(frame_len) + stride(receive_len.saturating_sub(HEADROOM));
        u64::from(size) * (buffers as u64 + 2 * 26) + 8 * 4096
    }

    /// What the device is told of both rings, the receive ring first.
    #[must_use]
    pub fn setups(&self) -> [RingSetup; 2] {
        [self.receive.setup(), self.send.setup()]
    }

    /// Gives the rings the descriptors with which to wake the device where it asks for that.
    pub(super) fn set_kicks(&mut self, receive: OwnedFd, send: OwnedFd) {
        self.receive.set_kick(receive);
        self.send.set_kick(send);
    }
}

/// Bytes from one buffer to the next: the line of the header and those of the frame, an odd number of lines so that
/// the first lines of buffers spread over all sets of the caches.
fn stride(frame: u32) -> usize {
    let lines = 1 + (frame as usize).div_ceil(LINE).max(1);
    (lines | 1) * LINE
}

#[cfg(test)]
mod tests;
