//! The device side of two rings of a pod, in the plainest way that is fast.
#![expect(
    unsafe_code,
    reason = "the device reads and writes the rings of pods of this process through raw pointers"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use vhost::driver::poll::PollPair;
use vhost::driver::{Arena, Place};
use vhost::ring::{RingSetup, header_len};

use super::{NullConfig, NullReport};

/// Frames passed on at once.
const BURST: u16 = 32;
const USED_NO_NOTIFY: u16 = 1;

/// Both rings of a pod.
#[derive(Debug)]
pub(super) struct Device {
    receive: Ring,
    send: Ring,
}

impl Device {
    pub(super) fn new(pair: &PollPair) -> Self {
        let ring = |setup, arena: &Arc<Arena>| Ring::new(setup, Arc::clone(arena));
        Self {
            receive: ring(pair.receive.setup(), pair.receive.arena()),
            send: ring(pair.send.setup(), pair.send.arena()),
        }
    }
}

/// A ring whose fields all lie in `arena`, as the queue that laid it out says.
#[derive(Debug)]
struct Ring {
    desc: usize,
    avail: usize,
    used: usize,
    mask: u16,
    next: u16,
    header: u32,
    /// What makes an address in this process of a guest-physical one.
    offset: usize,
    /// Bounds of the arena in this process.
    bounds: (usize, usize),
    _arena: Arc<Arena>,
}

impl Ring {
    fn new(setup: RingSetup, arena: Arc<Arena>) -> Self {
        let host = arena.frontend(Place(0)).0 as usize;
        let ring = Self {
            desc: setup.desc.0 as usize,
            avail: setup.avail.0 as usize,
            used: setup.used.0 as usize,
            mask: setup.size - 1,
            next: 0,
            header: header_len(setup.features),
            offset: host.wrapping_sub(arena.guest(Place(0)).0 as usize),
            bounds: (host, host + arena.len() as usize),
            _arena: arena,
        };
        ring.word16(ring.used).store(USED_NO_NOTIFY.to_le(), Ordering::Relaxed);
        ring
    }

    #[inline(always)]
    fn waiting(&self) -> u16 {
        u16::from_le(self.word16(self.avail + 2).load(Ordering::Acquire)).wrapping_sub(self.next)
    }

    /// The entry `i` further on: its id, and address and length of its buffer.
    #[inline(always)]
    fn entry(&self, i: u16) -> (u16, u64, u32) {
        let slot = usize::from(self.next.wrapping_add(i) & self.mask);
        let id = u16::from_le(self.word16(self.avail + 4 + 2 * slot).load(Ordering::Relaxed)) & self.mask;
        let at = self.desc + 16 * usize::from(id);
        let (addr, rest) =
            (self.word64(at).load(Ordering::Relaxed), self.word64(at + 8).load(Ordering::Relaxed));
        (id, u64::from_le(addr), u64::from_le(rest) as u32)
    }

    #[inline(always)]
    fn give_back(&self, i: u16, id: u16, len: u32) {
        let at = self.used + 4 + 8 * usize::from(self.next.wrapping_add(i) & self.mask);
        self.word32(at).store(u32::from(id).to_le(), Ordering::Relaxed);
        self.word32(at + 4).store(len.to_le(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn publish(&mut self, count: u16) {
        self.next = self.next.wrapping_add(count);
        self.word16(self.used + 2).store(self.next.to_le(), Ordering::Release);
    }

    /// The buffer at a guest-physical address, in this process.
    #[inline(always)]
    fn buffer(&self, addr: u64, len: u32) -> *mut u8 {
        let host = (addr as usize).wrapping_add(self.offset);
        assert!(
            host >= self.bounds.0 && host.checked_add(len as usize).is_some_and(|end| end <= self.bounds.1),
            "a pod of this process named a buffer outside its memory"
        );
        host as *mut u8
    }

    #[inline(always)]
    fn word16(&self, at: usize) -> &AtomicU16 {
        // SAFETY: all callers name a field of the ring, which lies aligned in the arena's mapping.
        unsafe { AtomicU16::from_ptr(at as *mut u16) }
    }

    #[inline(always)]
    fn word32(&self, at: usize) -> &AtomicU32 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU32::from_ptr(at as *mut u32) }
    }

    #[inline(always)]
    fn word64(&self, at: usize) -> &AtomicU64 {
        // SAFETY: as for `word16`.
        unsafe { AtomicU64::from_ptr(at as *mut u64) }
    }
}

/// Passes up to a burst from one pod to the other.
#[inline(always)]
pub(super) fn pass(from: &mut Device, to: &mut Device, config: NullConfig, report: &mut NullReport) {
    let (from, to) = (&mut from.send, &mut to.receive);
    let frames = from.waiting().min(BURST);
    let room = if frames == 0 { 0 } else { to.waiting() };
    let (mut taken, mut filled) = (0, 0);
    while taken < frames && filled < room {
        let (id, addr, len) = from.entry(taken);
        if config.lose_one_in > 0
            && (report.frames + report.lost).is_multiple_of(u64::from(config.lose_one_in))
        {
            report.lost += 1;
        } else {
            let (slot, buffer, buffer_len) = to.entry(filled);
            let need = len - from.header + to.header;
            if need > buffer_len {
                let Some(buffers) = merged(from, (addr, len), to, filled, room - filled, config.copy) else {
                    break;
                };
                filled += buffers;
            } else {
                if config.copy {
                    copy(from, (addr, len), to, buffer);
                }
                to.give_back(filled, slot, need);
                filled += 1;
            }
            report.frames += 1;
        }
        from.give_back(taken, id, 0);
        taken += 1;
    }
    if filled > 0 {
        to.publish(filled);
    }
    if taken > 0 {
        from.publish(taken);
    }
}

/// Copies a frame behind a header of one buffer.
#[inline(always)]
fn copy(from: &Ring, (addr, len): (u64, u32), to: &Ring, buffer: u64) {
    let frame = len - from.header;
    let source = from.buffer(addr + u64::from(from.header), frame);
    let target = to.buffer(buffer, to.header + frame);
    // SAFETY: both ranges were checked to lie in their arenas, which are different mappings.
    unsafe {
        target.write_bytes(0, to.header as usize);
        target.add(10).cast::<u16>().write_unaligned(1u16.to_le());
        target.add(to.header as usize).copy_from_nonoverlapping(source, frame as usize);
    }
}

/// Passes a frame on that takes several buffers; how many, or `None` if there are not as many.
#[inline(never)]
fn merged(from: &Ring, (addr, len): (u64, u32), to: &Ring, first: u16, room: u16, copy: bool) -> Option<u16> {
    let mut left = len - from.header + to.header;
    let mut buffers = 0;
    while left > 0 {
        let (_, _, buffer_len) = (buffers < room).then(|| to.entry(first + buffers))?;
        left -= left.min(buffer_len.max(1));
        buffers += 1;
    }
    let (mut left, mut source) =
        (len - from.header, from.buffer(addr, len).wrapping_add(from.header as usize));
    for i in 0..buffers {
        let (id, buffer, buffer_len) = to.entry(first + i);
        let header = if i == 0 { to.header } else { 0 };
        let part = left.min(buffer_len - header);
        let target = to.buffer(buffer, buffer_len);
        // SAFETY: both ranges were checked to lie in their arenas, which are different mappings.
        unsafe {
            if i == 0 {
                target.add(10).cast::<u16>().write_unaligned(buffers.to_le());
            }
            if copy {
                target.add(header as usize).copy_from_nonoverlapping(source, part as usize);
            }
        }
        to.give_back(first + i, id, part + header);
        left -= part;
        source = source.wrapping_add(part as usize);
    }
    Some(buffers)
}
