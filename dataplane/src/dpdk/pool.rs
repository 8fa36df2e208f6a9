//! A port's pool of mbufs.
//!
//! Each port has its own: a port that starves cannot starve another, and closing it gives everything back.
//! Frames on their way out of another port keep the pool of a closed port alive a little longer; such pools
//! wait in [`Eal`](crate::eal::Eal) as [`RetiredPool`]s. Used by the control thread.

#![expect(unsafe_code, reason = "calls into DPDK's C interface")]

use std::ffi::{CString, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dpdk_sys as sys;

use super::DpdkError;
use crate::eal::{self, Eal, MemoryKind};

/// Mbufs that each worker keeps at hand from each pool. A cache grows to one and a half times this.
pub(super) const CACHE: u32 = 128;
/// Bytes of data in an ordinary buffer, behind the headroom.
pub(super) const DATA_ROOM: u32 = 2048;
/// Bytes in front of the data.
pub(super) const HEADROOM: u32 = sys::SHIM_PKTMBUF_HEADROOM;
/// The most one buffer can hold: its length is a 16-bit number.
pub(super) const DATA_ROOM_MAX: u32 = u16::MAX as u32 - HEADROOM - 63;

/// DPDK's word for "whatever node".
const ANY_NODE: c_int = sys::SHIM_SOCKET_ID_ANY;
/// What a page of memory is on every machine this runs on; smaller steps would only be slower.
const PAGE: usize = 4096;

/// How long a pool must have been whole before it is freed. DPDK counts an mbuf as returned a moment before
/// the thread that returns it is done with the pool.
const SETTLE: Duration = Duration::from_millis(20);

/// Pools are told apart by number: port names may be longer than DPDK's.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An mbuf pool. Freed only as a [`RetiredPool`].
#[derive(Debug)]
pub(super) struct Pool {
    raw: NonNull<sys::rte_mempool>,
    bytes: u64,
}

// SAFETY: a pool may be used from any thread; that is what it is for.
unsafe impl Send for Pool {}
// SAFETY: as above; every operation on a pool is safe to run concurrently.
unsafe impl Sync for Pool {}

/// Bytes that a pool of `frames` takes from EAL's memory.
fn bytes_needed(frames: u32, data_room: u32) -> u64 {
    let buffer = u16::try_from(data_room + HEADROOM).unwrap_or(u16::MAX);
    // SAFETY: arithmetic.
    let each = unsafe { sys::shim_mbuf_pool_bytes_per_frame(buffer) };
    // SAFETY: arithmetic.
    let fixed = unsafe { sys::shim_mbuf_pool_fixed_bytes() };
    // The free list is a ring of pointers, a power of two of them.
    let ring = u64::from((frames + 1).next_power_of_two()) * 8;
    u64::from(frames) * u64::from(each) + u64::from(fixed) + ring + 2 * PAGE as u64
}

/// Whether a pool would fit; bytes that it needs and bytes that are free.
pub(super) fn check(eal: &Eal, frames: u32, data_room: u32) -> Result<(u64, u64), DpdkError> {
    let needed = bytes_needed(frames, data_room);
    let mut free = eal.memory().free_bytes();
    if needed > free && eal.has_retired() {
        // The pools of ports closed just now are about to be freed.
        sleep(SETTLE);
        free = eal.memory().free_bytes();
    }
    if needed > free { Err(DpdkError::Memory { needed, free }) } else { Ok((needed, free)) }
}

impl Pool {
    /// Makes a pool near `node`, if it fits.
    pub(super) fn new(eal: &Eal, frames: u32, data_room: u32, node: c_int) -> Result<Self, DpdkError> {
        let (needed, free) = check(eal, frames, data_room)?;
        let refused = || DpdkError::Memory { needed, free };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("podswitch-{number}")).expect("no zero byte in it");
        let buffer = u16::try_from(data_room + HEADROOM).map_err(|_| refused())?;
        let make = |node| {
            // SAFETY: EAL runs; the name is copied.
            let raw = unsafe { sys::rte_pktmbuf_pool_create(name.as_ptr(), frames, CACHE, 0, buffer, node) };
            NonNull::new(raw)
        };
        // Memory of another node is slower but works.
        let (raw, _) =
            eal::log::record(|| make(node).or_else(|| (node != ANY_NODE).then(|| make(ANY_NODE))?));
        let pool = Self { raw: raw.ok_or_else(refused)?, bytes: needed };
        if eal.memory_kind() != MemoryKind::HugePages {
            pool.touch();
        }
        Ok(pool)
    }

    pub(super) fn raw(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// Bytes taken from EAL's memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Mbufs in use: in a driver's rings, with workers, or on their way.
    pub(super) fn in_use(&self) -> u32 {
        // SAFETY: the pool lives.
        let (size, free) =
            unsafe { (sys::shim_pool_size(self.raw()), sys::rte_mempool_avail_count(self.raw())) };
        size.saturating_sub(free)
    }

    /// Ordinary memory appears at the first write to it. Workers must not take those faults, so all of it is
    /// written here, before anybody uses the pool.
    fn touch(&self) {
        extern "C" fn touch_object(
            _pool: *mut sys::rte_mempool,
            pages: *mut c_void,
            object: *mut c_void,
            _index: u32,
        ) {
            // SAFETY: `length` bytes from the object on are its own, nobody uses the pool yet, and a byte is
            // written back as it was read.
            unsafe { touch_range(object.cast(), *pages.cast::<usize>()) };
        }

        let mut length = self.object_bytes();
        // SAFETY: the pool lives; the callback gets `length` by pointer and does not keep it.
        unsafe {
            sys::rte_mempool_obj_iter(self.raw(), Some(touch_object), (&raw mut length).cast());
            touch_range(self.raw().cast(), sys::shim_mbuf_pool_fixed_bytes() as usize);
        }
    }

    fn object_bytes(&self) -> usize {
        // SAFETY: the pool lives.
        unsafe { sys::shim_pool_object_bytes(self.raw()) as usize }
    }
}

/// Writes to each page of a range without changing it.
///
/// # Safety
/// The range is writable memory that nobody else uses.
unsafe fn touch_range(start: *mut u8, length: usize) {
    for offset in (0..length).step_by(PAGE).chain(length.checked_sub(1)) {
        // SAFETY: inside the range.
        unsafe {
            let byte = start.add(offset);
            byte.write_volatile(byte.read_volatile());
        }
    }
}

/// The pool of a closed port.
#[derive(Debug)]
pub(crate) struct RetiredPool {
    pool: Pool,
    /// Since when all mbufs are back.
    whole_since: Option<Instant>,
}

impl RetiredPool {
    /// # Safety
    /// No queue uses the pool any more: nothing can take mbufs from it.
    pub(super) unsafe fn new(pool: Pool) -> Self {
        Self { pool, whole_since: None }
    }

    /// Frees the pool if all its mbufs came back some time ago; says whether it did. Once it says so, the
    /// value is only good to be dropped.
    pub(crate) fn try_free(&mut self) -> bool {
        if self.pool.in_use() != 0 {
            self.whole_since = None;
            return false;
        }
        if self.whole_since.get_or_insert_with(Instant::now).elapsed() < SETTLE {
            return false;
        }
        // SAFETY: no mbuf is out, none can go out, and whoever returned the last is long done. The caller
        // drops this value.
        unsafe { sys::rte_mempool_free(self.pool.raw()) };
        true
    }
}
