//! Receiving frames: a ring on which the device writes, kept filled with buffers.

use std::sync::Arc;

use super::arena::{Arena, Place};
use super::split::{DriverRing, Used};
use super::transmit::{MAX_PIECES, Shape, pieces};
use crate::features::Features;
use crate::ring::header_len;

const TABLE_LEN: u64 = 16 * MAX_PIECES as u64;

/// What came with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The virtio header; the last two bytes are 0 where the header has ten.
    pub header: [u8; 12],
    /// Buffers that the frame took.
    pub buffers: u16,
}

/// A receive queue.
#[derive(Debug)]
pub struct Receive {
    ring: DriverRing,
    header: usize,
    buffers: Place,
    buffer_len: u32,
    stride: u64,
    tables: Place,
    cuts: Vec<u32>,
    indirect: bool,
    count: u16,
    /// Frames that came, and pieces of frames that the device broke the rules with.
    received: u64,
    malformed: u64,
}

impl Receive {
    /// A queue of `size` entries, filled with as many buffers of `buffer_len` bytes (virtio header included) as
    /// it has descriptors for, each laid out as `shape` says; `None` if the arena has no room.
    #[must_use]
    pub fn new(
        arena: &Arc<Arena>,
        size: u16,
        buffer_len: u32,
        shape: Shape<'_>,
        features: Features,
    ) -> Option<Self> {
        let ring = DriverRing::new(arena, size, features)?;
        let per_buffer =
            if shape.indirect { 1 } else { pieces(Place(0), buffer_len, shape, true).len() as u16 };
        let count = size / per_buffer;
        let stride = u64::from(buffer_len).next_multiple_of(64);
        let mut queue = Self {
            ring,
            header: header_len(features) as usize,
            buffers: arena.allocate(stride * u64::from(count), 64)?,
            buffer_len,
            stride,
            tables: arena.allocate(TABLE_LEN * u64::from(count), TABLE_LEN)?,
            cuts: shape.cuts.to_vec(),
            indirect: shape.indirect,
            count,
            received: 0,
            malformed: 0,
        };
        queue.refill();
        Some(queue)
    }

    fn refill(&mut self) {
        for slot in 0..u32::from(self.count) {
            self.give(slot);
        }
        self.ring.publish();
    }

    /// Gives a buffer to the device. It is there because it was given before, or never.
    fn give(&mut self, slot: u32) {
        let shape = Shape { cuts: &self.cuts, indirect: self.indirect };
        let pieces = pieces(self.place(slot), self.buffer_len, shape, true);
        let table = self.tables.plus(TABLE_LEN * u64::from(slot));
        let given = match self.indirect {
            true => self.ring.add_indirect(&pieces, table, slot),
            false => self.ring.add(&pieces, slot),
        };
        given.expect("there are as many descriptors as the buffers need");
    }

    fn place(&self, slot: u32) -> Place {
        self.buffers.plus(self.stride * u64::from(slot))
    }

    /// Takes the next frame that has come: its bytes replace what `frame` holds. Buffers go back to the device
    /// with the next [`Receive::publish`].
    ///
    /// A device that breaks the rules (a frame that is not all there, lengths beyond buffers) is counted in
    /// [`Receive::malformed`] and the frame is left out.
    pub fn receive(&mut self, frame: &mut Vec<u8>) -> Option<Received> {
        loop {
            let first = self.ring.reap()?;
            frame.clear();
            match self.read_frame(first, frame) {
                Some(received) => {
                    self.received += 1;
                    return Some(received);
                }
                None => self.malformed += 1,
            }
        }
    }

    fn read_frame(&mut self, first: Used, frame: &mut Vec<u8>) -> Option<Received> {
        let mut header = [0; 12];
        let place = self.place(first.token);
        if first.len < self.header as u32 || first.len > self.buffer_len {
            self.give(first.token);
            return None;
        }
        self.ring.arena().read(place, &mut header[..self.header]);
        let body = first.len as usize - self.header;
        self.ring.arena().append_to(place.plus(self.header as u64), body, frame);
        self.give(first.token);
        let merged = self.header == 12 && self.ring.features().contains(Features::MRG_RXBUF);
        let buffers = if merged { u16::from_le_bytes([header[10], header[11]]) } else { 1 };
        for _ in 1..buffers {
            let next = self.ring.reap()?;
            let len = next.len.min(self.buffer_len) as usize;
            self.ring.arena().append_to(self.place(next.token), len, frame);
            self.give(next.token);
        }
        (buffers > 0).then_some(Received { header, buffers })
    }

    /// Takes and forgets everything that has come, without reading it; returns how many buffers. For a load
    /// generator that only counts.
    pub fn discard(&mut self) -> usize {
        let mut count = 0;
        while let Some(used) = self.ring.reap() {
            self.give(used.token);
            count += 1;
        }
        count
    }

    /// Shows the device the buffers that were given back. True if it wants to be kicked.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Frames received whole.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames with which the device broke the rules.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Buffers in the queue, free or used.
    #[must_use]
    pub fn buffers(&self) -> u16 {
        self.count
    }

    /// Forgets what is in flight and fills the queue again, as a driver does that resets its device.
    pub fn reset(&mut self) {
        self.ring.reset();
        self.refill();
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &DriverRing {
        &self.ring
    }

    /// The ring, to be driven by hand.
    pub fn ring_mut(&mut self) -> &mut DriverRing {
        &mut self.ring
    }
}
