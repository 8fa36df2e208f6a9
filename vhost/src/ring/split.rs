//! The split ring (virtio 1.2 §2.7), device side: its place in memory, its indexes and its descriptors.
//!
//! Every field that the driver can write is read once into a local and checked there. The worker that owns the
//! ring calls [`SplitRing::take`] and [`SplitRing::complete`] on rings on which the guest sends, and
//! [`SplitRing::deliver`] on rings on which it receives.
#![expect(unsafe_code, reason = "ring fields are read and written in shared memory")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::{BURST, RingSetup, header_len};
use crate::address::{GuestPhys, HostAddr};
use crate::fault::{Fault, FaultCell};
use crate::features::Features;
use crate::guest;
use crate::memory::GuestMemory;
use crate::notify::Call;

/// Descriptor flag: the chain goes on at `next`.
pub(crate) const DESC_NEXT: u16 = 1;
/// Descriptor flag: the device writes the buffer.
pub(crate) const DESC_WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors.
pub(crate) const DESC_INDIRECT: u16 = 4;
/// Available-ring flag: the driver does not want to be notified.
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Used-ring flag: the device polls and needs no kicks.
const USED_NO_NOTIFY: u16 = 1;

/// A descriptor, read once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desc {
    pub addr: GuestPhys,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

/// A split ring that the device serves. It has one owner at a time (see [`crate::owner`]).
pub struct SplitRing {
    // Read by the owner on every visit.
    pub(super) desc: HostAddr,
    avail: HostAddr,
    used: HostAddr,
    pub(super) mask: u16,
    /// Next entry of the available ring to be looked at; also the next used index, as everything taken is
    /// returned in the same turn and in order.
    pub(super) next: u16,
    /// What the available index was when it was last read.
    pub(super) seen: u16,
    pub(super) header: u32,
    pub(super) indirect: bool,
    pub(super) mergeable: bool,
    pub(super) in_order: bool,
    dead: bool,
    /// Length of the last receive buffer that was a single descriptor: what the next ones are likely to hold.
    pub(super) buffer_hint: u32,
    pub(super) memory: Arc<GuestMemory>,
    enabled: Arc<AtomicBool>,
    fault: FaultCell,
    call: Call,
    /// Heads that were taken and not yet returned.
    pub(super) heads: [u16; BURST],
    pub(super) taken: usize,
    setup: RingSetup,
}

// SAFETY: the addresses point into mappings that `memory` keeps alive, whichever thread owns the ring.
unsafe impl Send for SplitRing {}

impl std::fmt::Debug for SplitRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitRing")
            .field("size", &self.size())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl SplitRing {
    /// Checks that the ring lies wholly in `memory`, is aligned, and goes on from the used index found there.
    ///
    /// `enabled` is what `SET_VRING_ENABLE` last said; the session changes it while the ring is lent out.
    ///
    /// # Errors
    /// [`Fault::RingInvalid`] if size, alignment or place are not valid.
    pub fn new(
        memory: Arc<GuestMemory>,
        setup: RingSetup,
        enabled: Arc<AtomicBool>,
        fault: FaultCell,
        call: Call,
    ) -> Result<Self, Fault> {
        if !setup.size.is_power_of_two() || setup.size > 32_768 {
            return Err(Fault::RingInvalid);
        }
        let entries = u64::from(setup.size);
        let place = |at, len, align: usize| {
            memory
                .translate_frontend(at, len)
                .filter(|host| host.0.is_multiple_of(align))
                .ok_or(Fault::RingInvalid)
        };
        let desc = place(setup.desc, 16 * entries, 16)?;
        // Flags and index, the entries, and the field for event indexes (virtio 1.2 §2.7.6, §2.7.8).
        let avail = place(setup.avail, 6 + 2 * entries, 2)?;
        let used = place(setup.used, 6 + 8 * entries, 4)?;
        // SAFETY: both fields lie in the used ring, whose place and alignment were just checked; `memory` keeps
        // the mapping.
        let next = unsafe {
            guest::store_u16(used, USED_NO_NOTIFY);
            guest::load_u16_acquire(used.add(2))
        };
        Ok(Self {
            desc,
            avail,
            used,
            mask: setup.size - 1,
            next,
            seen: next,
            header: header_len(setup.features),
            indirect: setup.features.contains(Features::INDIRECT_DESC),
            mergeable: setup.features.contains(Features::MRG_RXBUF),
            in_order: setup.features.contains(Features::IN_ORDER),
            dead: false,
            buffer_hint: u32::MAX,
            memory,
            enabled,
            fault,
            call,
            heads: [0; BURST],
            taken: 0,
            setup,
        })
    }

    /// The index from which a driver must go on (`GET_VRING_BASE`).
    #[must_use]
    pub fn base(&self) -> u16 {
        self.next
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::from(self.mask) + 1
    }

    /// An address in the ring's own memory: to ask the kernel which NUMA node it is on, and for nothing else.
    #[must_use]
    pub fn place(&self) -> HostAddr {
        self.desc
    }

    /// What the session gave; to build the ring again on another memory table.
    #[must_use]
    pub fn setup(&self) -> RingSetup {
        self.setup
    }

    /// What `SET_VRING_ENABLE` last said.
    #[inline(always)]
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// True once a lie was found in it, or its memory vanished: it is not served any more.
    #[inline(always)]
    #[must_use]
    pub fn dead(&self) -> bool {
        self.dead
    }

    /// True once a page of the memory behind it was found missing.
    #[inline(always)]
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.memory.poisoned()
    }

    /// Takes the ring out of service and tells the control thread why.
    #[cold]
    pub fn fail(&mut self, fault: Fault) {
        self.dead = true;
        // A vanished page reads as zeros: every other complaint is then only its consequence.
        self.fault.raise(if self.memory.poisoned() { Fault::MemoryVanished } else { fault });
    }

    /// Reads the available index and says how many entries are waiting.
    #[inline(always)]
    pub(super) fn refresh(&mut self) -> Result<u16, Fault> {
        // SAFETY: the index is the second field of the available ring, whose place was checked.
        self.seen = unsafe { guest::load_u16_acquire(self.avail.add(2)) };
        let waiting = self.seen.wrapping_sub(self.next);
        if waiting > self.mask.wrapping_add(1) { Err(Fault::AvailIndexJumped) } else { Ok(waiting) }
    }

    /// The head in entry `position` of the available ring.
    #[inline(always)]
    pub(super) fn head(&self, position: u16) -> Result<u16, Fault> {
        let slot = usize::from(position & self.mask);
        // SAFETY: `slot` is less than the ring's size, so the entry lies in the available ring.
        let head = unsafe { guest::load_u16(self.avail.add(4 + 2 * slot)) };
        if head > self.mask { Err(Fault::HeadOutOfRange) } else { Ok(head) }
    }

    /// Reads descriptor `index` of the table at `table`; `index` must be below the table's length.
    ///
    /// # Safety
    /// The whole table lies in the mapping, and is aligned to eight.
    #[inline(always)]
    pub(super) unsafe fn read_desc(table: HostAddr, index: u16) -> Desc {
        let at = table.add(16 * usize::from(index));
        // SAFETY: the entry lies in the table, which is mapped and aligned as the caller promises.
        let (addr, rest) = unsafe { (guest::load_u64(at), guest::load_u64(at.add(8))) };
        Desc {
            addr: GuestPhys(addr),
            len: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        }
    }

    /// Writes entry `position` of the used ring.
    #[inline(always)]
    pub(super) fn write_used(&self, position: u16, head: u16, len: u32) {
        let at = self.used.add(4 + 8 * usize::from(position & self.mask));
        // SAFETY: the entry lies in the used ring, whose place and alignment (4) were checked.
        unsafe {
            guest::store_u32(at, u32::from(head));
            guest::store_u32(at.add(4), len);
        }
    }

    /// Publishes everything used before `next`, and tells the guest if it wants to be told.
    #[inline(always)]
    pub(super) fn publish(&mut self) {
        // SAFETY: the index is the second field of the used ring, the flags the first of the available ring.
        let flags = unsafe {
            guest::store_u16_release(self.used.add(2), self.next);
            // The driver clears its flag and then looks at the index; we do it the other way round. Without the
            // fence both could miss each other.
            fence(Ordering::SeqCst);
            guest::load_u16(self.avail)
        };
        if flags & AVAIL_NO_INTERRUPT == 0 {
            self.call.mark();
        }
    }

    /// Brings descriptor `head` near.
    #[inline(always)]
    pub(super) fn prefetch_desc(&self, head: u16) {
        guest::prefetch(self.desc.add(16 * usize::from(head)));
    }
}
