//! The memory of a split ring (virtio 1.2 §2.7) and of its buffers, through raw pointers.
//!
//! Invariants, which [`Ring::new`] establishes and nothing changes: `desc`, `avail` and `used` point to a descriptor
//! table, an available and a used ring of `mask + 1` entries, aligned as the specification asks, and `frames` to the
//! first of as many buffers, `stride` bytes apart, each with `room` (at least 64) bytes of frame and the line of the
//! header before it; all lie in `arena`, which lives as long. Positions and ids are taken modulo the size before
//! they index anything.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::super::arena::{Arena, Place};
use super::{LINE, stride};
use crate::features::Features;
use crate::ring::{RingSetup, header_len};

/// Descriptor flag: the device writes the buffer.
pub(super) const WRITE: u16 = 2;
const AVAIL_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;
/// DPDK places the used ring at a page of its own.
const PAGE: u64 = 4096;

/// A ring with one buffer an entry.
#[derive(Debug)]
pub(super) struct Ring {
    desc: NonNull<u8>,
    avail: NonNull<u8>,
    used: NonNull<u8>,
    frames: NonNull<u8>,
    stride: usize,
    /// As wide as an address, and so never loaded together with an index that was just stored.
    mask: usize,
    /// Every id is its position modulo the size, for ever (virtio 1.2 §2.7.9).
    pub in_order: bool,
    /// Bytes of the virtio header.
    pub header: u32,
    /// Bytes of frame that a buffer has room for.
    pub room: u32,
    /// Next available index; published by [`Ring::publish`].
    pub next_avail: u16,
    /// Next used index to be looked at.
    pub next_used: u16,
    /// Available index when the device was last woken.
    kicked_at: u16,
    /// Guest-physical address of the header of buffer 0.
    guest: u64,
    kick: Option<OwnedFd>,
    /// Used indexes that cannot be.
    pub lies: u64,
    setup: RingSetup,
    arena: Arc<Arena>,
}

// SAFETY: the pointers point into a mapping that `arena` keeps alive, whichever thread has the ring.
unsafe impl Send for Ring {}

impl Ring {
    /// Lays out a ring of `size` entries with buffers of `room` bytes of frame; `None` if the arena has no room.
    pub(super) fn new(arena: &Arc<Arena>, size: u16, room: u32, features: Features) -> Option<Self> {
        if !size.is_power_of_two() {
            return None;
        }
        let (entries, header, stride) = (u64::from(size), header_len(features), stride(room));
        let desc = arena.allocate(16 * entries + 6 + 2 * entries, PAGE)?;
        let avail = desc.plus(16 * entries);
        let used = arena.allocate(6 + 8 * entries, PAGE)?;
        let buffers = arena.allocate(stride as u64 * entries, LINE as u64)?;
        let frames = buffers.plus(LINE as u64);
        let pointer = |at: Place| NonNull::new(arena.frontend(at).0 as *mut u8);
        let ring = Self {
            desc: pointer(desc)?,
            avail: pointer(avail)?,
            used: pointer(used)?,
            frames: pointer(frames)?,
            stride,
            mask: usize::from(size) - 1,
            in_order: features.contains(Features::IN_ORDER),
            header,
            room: room.max(LINE as u32),
            next_avail: 0,
            next_used: 0,
            kicked_at: 0,
            guest: arena.guest(frames).0 - u64::from(header),
            kick: None,
            lies: 0,
            setup: RingSetup {
                size,
                desc: arena.frontend(desc),
                avail: arena.frontend(avail),
                used: arena.frontend(used),
                base: 0,
                features,
            },
            arena: Arc::clone(arena),
        };
        ring.word16(ring.avail, 0).store(AVAIL_NO_INTERRUPT.to_le(), Ordering::Relaxed);
        (0..size).for_each(|id| ring.enter(id, id));
        Some(ring)
    }

    pub(super) fn setup(&self) -> RingSetup {
        self.setup
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    pub(super) fn set_kick(&mut self, kick: OwnedFd) {
        self.kick = Some(kick);
    }

    #[inline(always)]
    pub(super) fn size(&self) -> u16 {
        self.setup.size
    }

    #[inline(always)]
    pub(super) fn wrap(&self, position: u16) -> u16 {
        position & self.mask as u16
    }

    /// Entries that the device has, or has used and nobody has looked at.
    #[inline(always)]
    pub(super) fn in_flight(&self) -> u16 {
        self.next_avail.wrapping_sub(self.next_used)
    }

    /// How many entries the device has used since `next_used`. Wakes it if it sleeps and something is new for it.
    ///
    /// The flag is read before the index is, and not again after a store behind a fence: a device that fell asleep
    /// meanwhile is woken by the next call, which a polling caller makes at once.
    #[inline(always)]
    pub(super) fn used(&mut self) -> u16 {
        let flags = u16::from_le(self.word16(self.used, 0).load(Ordering::Relaxed));
        let index = u16::from_le(self.word16(self.used, 2).load(Ordering::Acquire));
        if flags & USED_NO_NOTIFY == 0 && self.kicked_at != self.next_avail {
            self.wake();
        }
        let count = index.wrapping_sub(self.next_used);
        if count > self.in_flight() {
            self.lies += 1;
            return 0;
        }
        count
    }

    #[cold]
    #[inline(never)]
    fn wake(&mut self) {
        self.kicked_at = self.next_avail;
        if let Some(kick) = &self.kick {
            crate::fault::wake_eventfd(kick);
        }
    }

    /// Id and length in the used entry at `position`.
    #[inline(always)]
    pub(super) fn used_entry(&self, position: u16) -> (u16, u32) {
        let at = 4 + 8 * (usize::from(position) & self.mask);
        let len = u32::from_le(self.word32(self.used, at + 4).load(Ordering::Relaxed));
        if self.in_order {
            return (self.wrap(position), len);
        }
        let id = u32::from_le(self.word32(self.used, at).load(Ordering::Relaxed));
        (self.wrap(id as u16), len)
    }

    /// Writes descriptor `id` for a buffer with `len` bytes of frame, and enters it as available at `position`, from
    /// `next_avail` on. The caller counts positions itself: an index that every frame stores and loads again waits
    /// for the stores to memory before it, which come from another core's cache.
    #[inline(always)]
    pub(super) fn offer(&self, position: u16, id: u16, len: u32, flags: u16) {
        let id = usize::from(id) & self.mask;
        let addr = self.guest + (self.stride * id) as u64;
        let rest = u64::from(len + self.header) | u64::from(flags) << 32;
        self.word64(self.desc, 16 * id).store(addr.to_le(), Ordering::Relaxed);
        self.word64(self.desc, 16 * id + 8).store(rest.to_le(), Ordering::Relaxed);
        if !self.in_order {
            self.enter(position, id as u16);
        }
    }

    /// Writes an available entry, where it is not there already: a line that both sides only read stays with both.
    #[inline(always)]
    fn enter(&self, position: u16, id: u16) {
        let entry = self.word16(self.avail, 4 + 2 * (usize::from(position) & self.mask));
        if entry.load(Ordering::Relaxed) != id.to_le() {
            entry.store(id.to_le(), Ordering::Relaxed);
        }
    }

    /// Shows the device everything offered before `position`.
    #[inline(always)]
    pub(super) fn publish(&mut self, position: u16) {
        self.next_avail = position;
        self.word16(self.avail, 2).store(self.next_avail.to_le(), Ordering::Release);
    }

    /// The frame of buffer `id`: `room` bytes, with the line of the header before it.
    #[inline(always)]
    pub(super) fn frame(&self, id: u16) -> NonNull<u8> {
        // SAFETY: by the module's invariant there are `mask + 1` buffers, `stride` bytes apart.
        unsafe { self.frames.add(self.stride * (usize::from(id) & self.mask)) }
    }

    /// Brings near what is read of buffer `id` first: the end of its header and its first line.
    #[inline(always)]
    pub(super) fn prefetch_frame(&self, id: u16) {
        let frame = self.frame(id).as_ptr();
        prefetch(frame.wrapping_sub(LINE));
        prefetch(frame);
    }

    /// Brings descriptor `id` near, to be written.
    #[inline(always)]
    pub(super) fn prefetch_descriptor(&self, id: u16) {
        prefetch_write(self.desc.as_ptr().wrapping_add(16 * (usize::from(id) & self.mask)));
    }

    /// Brings descriptor and first line of buffer `id` near, to be written.
    #[inline(always)]
    pub(super) fn prefetch_to_write(&self, id: u16) {
        self.prefetch_descriptor(id);
        prefetch_write(self.frame(id).as_ptr());
    }

    #[inline(always)]
    fn word16(&self, base: NonNull<u8>, at: usize) -> &AtomicU16 {
        // SAFETY: callers pass a field of this ring's own parts, inside them and aligned by the module's invariant.
        unsafe { AtomicU16::from_ptr(base.add(at).as_ptr().cast()) }
    }

    #[inline(always)]
    fn word32(&self, base: NonNull<u8>, at: usize) -> &AtomicU32 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU32::from_ptr(base.add(at).as_ptr().cast()) }
    }

    #[inline(always)]
    fn word64(&self, base: NonNull<u8>, at: usize) -> &AtomicU64 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU64::from_ptr(base.add(at).as_ptr().cast()) }
    }
}

#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can see, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Brings a line near and takes it from other cores. Written out, as the compiler makes a plain prefetch of its own
/// intrinsic unless told of the CPU; then the store would have to ask the other core a second time.
#[inline(always)]
pub(super) fn prefetch_write(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as for `prefetch`; a 64-bit CPU that does not know the instruction passes over it.
    unsafe {
        std::arch::asm!("prefetchw [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
