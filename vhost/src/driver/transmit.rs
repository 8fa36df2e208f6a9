//! Sending frames: a ring on which the driver transmits, with a buffer for each of its entries.

use arrayvec::ArrayVec;

use std::sync::Arc;

use super::arena::{Arena, Place};
use super::split::{Buffer, DriverRing, RingFull};
use crate::features::Features;
use crate::ring::header_len;

/// Buffers that one chain has at most.
pub(super) const MAX_PIECES: usize = 64;
const TABLE_LEN: u64 = 16 * MAX_PIECES as u64;

/// How header and frame are laid out in descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Lengths of the pieces before the last, which takes the rest. Empty: one descriptor. At most 63.
    pub cuts: &'a [u32],
    /// Through an indirect table.
    pub indirect: bool,
}

impl Shape<'_> {
    /// Header and frame in one descriptor.
    pub const SINGLE: Shape<'static> = Shape { cuts: &[], indirect: false };
    /// The header of 12 bytes in a descriptor of its own.
    pub const HEADER_APART: Shape<'static> = Shape { cuts: &[12], indirect: false };
    /// As [`Shape::HEADER_APART`], through an indirect table.
    pub const INDIRECT: Shape<'static> = Shape { cuts: &[12], indirect: true };
}

/// Cuts `len` bytes at `at` into buffers of `shape`; cuts beyond the end are left out.
pub(super) fn pieces(at: Place, len: u32, shape: Shape<'_>, writable: bool) -> ArrayVec<Buffer, MAX_PIECES> {
    let mut pieces = ArrayVec::new();
    let mut done = 0;
    for &cut in shape.cuts.iter().take(MAX_PIECES - 1) {
        if cut >= len - done {
            break;
        }
        pieces.push(Buffer { at: at.plus(done.into()), len: cut, writable });
        done += cut;
    }
    pieces.push(Buffer { at: at.plus(done.into()), len: len - done, writable });
    pieces
}

/// A transmit queue.
#[derive(Debug)]
pub struct Transmit {
    ring: DriverRing,
    header: usize,
    buffers: Place,
    buffer_len: u64,
    tables: Place,
    /// Buffers that are not with the device.
    idle: Vec<u32>,
}

impl Transmit {
    /// A queue of `size` entries whose frames have at most `frame_len` bytes; `None` if the arena has no room.
    #[must_use]
    pub fn new(arena: &Arc<Arena>, size: u16, frame_len: u32, features: Features) -> Option<Self> {
        let header = header_len(features);
        let buffer_len = u64::from(frame_len + header).next_multiple_of(64);
        Some(Self {
            ring: DriverRing::new(arena, size, features)?,
            header: header as usize,
            buffers: arena.allocate(buffer_len * u64::from(size), 64)?,
            buffer_len,
            tables: arena.allocate(TABLE_LEN * u64::from(size), TABLE_LEN)?,
            idle: (0..u32::from(size)).rev().collect(),
        })
    }

    /// Adds a frame with an empty virtio header. Not seen by the device before [`Transmit::publish`].
    ///
    /// # Errors
    /// [`RingFull`] if no buffer or not enough descriptors are free, even after reaping; the frame is not sent.
    ///
    /// # Panics
    /// If the frame is longer than the queue was made for.
    #[inline]
    pub fn send(&mut self, frame: &[u8], shape: Shape<'_>) -> Result<(), RingFull> {
        self.send_with(&[0; 12][..self.header], frame, shape)
    }

    /// As [`Transmit::send`], with a header of the caller's: any bytes, any length.
    ///
    /// # Errors
    /// As [`Transmit::send`].
    ///
    /// # Panics
    /// If header and frame are longer than the queue was made for.
    pub fn send_with(&mut self, header: &[u8], frame: &[u8], shape: Shape<'_>) -> Result<(), RingFull> {
        if self.idle.is_empty() {
            self.reap();
        }
        let slot = self.idle.pop().ok_or(RingFull)?;
        let at = self.buffers.plus(self.buffer_len * u64::from(slot));
        let len = header.len() + frame.len();
        assert!(len as u64 <= self.buffer_len, "a frame of {} bytes in buffers for fewer", frame.len());
        let arena = self.ring.arena();
        arena.write(at, header);
        arena.write(at.plus(header.len() as u64), frame);
        let pieces = pieces(at, len as u32, shape, false);
        let table = self.tables.plus(TABLE_LEN * u64::from(slot));
        self.add(&pieces, shape.indirect.then_some(table), slot).inspect_err(|_| self.idle.push(slot))
    }

    fn add(&mut self, pieces: &[Buffer], table: Option<Place>, slot: u32) -> Result<(), RingFull> {
        let add = |ring: &mut DriverRing| match table {
            Some(table) => ring.add_indirect(pieces, table, slot),
            None => ring.add(pieces, slot),
        };
        add(&mut self.ring).or_else(|RingFull| {
            self.reap();
            add(&mut self.ring)
        })
    }

    /// Shows the device what was sent. True if it wants to be kicked.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes back buffers that the device has used; returns how many.
    pub fn reap(&mut self) -> usize {
        let before = self.idle.len();
        while let Some(used) = self.ring.reap() {
            self.idle.push(used.token);
        }
        self.idle.len() - before
    }

    /// Frames sent and not yet taken back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::from(self.ring.in_flight())
    }

    /// Forgets what is in flight, as a driver does that resets its device.
    pub fn reset(&mut self) {
        self.ring.reset();
        self.idle.clear();
        self.idle.extend((0..u32::from(self.ring.size())).rev());
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
