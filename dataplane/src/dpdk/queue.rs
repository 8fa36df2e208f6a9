//! A port's receive and transmit queues: the hot path.
//!
//! A queue belongs to one worker: it can be sent there and not shared, and there is one of each. Nothing here
//! allocates from the heap, logs, or (with drivers of real devices) enters the kernel.

#![expect(unsafe_code, reason = "calls into DPDK's C interface for each burst")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use dpdk_sys as sys;

use super::MbufPtr;
use super::device::Device;

/// The most frames one call moves. More is not refused: what is beyond is not looked at.
pub const MAX_BURST: usize = 64;

/// A receive queue and the transmit queue of the same number.
#[derive(Debug)]
pub struct QueuePair {
    /// Receives.
    pub rx: RxQueue,
    /// Transmits.
    pub tx: TxQueue,
}

/// A receive queue. The port stays open while it lives.
#[derive(Debug)]
pub struct RxQueue {
    device: Arc<Device>,
    port: u16,
    queue: u16,
    _one_thread: PhantomData<Cell<()>>,
}

/// A transmit queue. The port stays open while it lives.
#[derive(Debug)]
pub struct TxQueue {
    device: Arc<Device>,
    port: u16,
    queue: u16,
    pool: *mut sys::rte_mempool,
    _one_thread: PhantomData<Cell<()>>,
}

// SAFETY: the pool is usable from any thread, and lives as long as `device`.
unsafe impl Send for TxQueue {}

pub(super) fn pair(device: &Arc<Device>, queue: u16) -> QueuePair {
    let (port, pool) = (device.port(), device.pool().raw());
    QueuePair {
        rx: RxQueue { device: device.clone(), port, queue, _one_thread: PhantomData },
        tx: TxQueue { device: device.clone(), port, queue, pool, _one_thread: PhantomData },
    }
}

impl RxQueue {
    /// Receives up to `out.len()` frames, at most [`MAX_BURST`]; returns how many. Those entries of `out` are
    /// overwritten, and the caller owns the frames.
    #[inline]
    pub fn rx(&mut self, out: &mut [MbufPtr]) -> usize {
        let room = out.len().min(MAX_BURST) as u16;
        // SAFETY: the port is started and has this queue as long as `device` lives; nobody else uses the
        // queue; `MbufPtr` is a pointer to an mbuf in memory, and `room` of them may be written.
        let count = unsafe { sys::shim_rx_burst(self.port, self.queue, out.as_mut_ptr().cast(), room) };
        usize::from(count)
    }

    /// Number of this queue in its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// The NUMA node that serves it best, if there is a difference.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.device.numa_node
    }
}

impl TxQueue {
    /// Takes `out.len()` empty mbufs (one segment, no data, all headroom) from the port's pool, at most
    /// [`MAX_BURST`]: all of them, or none if the pool has not that many. Returns how many; the caller owns
    /// them.
    #[inline]
    pub fn alloc(&mut self, out: &mut [MbufPtr]) -> usize {
        let count = out.len().min(MAX_BURST);
        // SAFETY: the pool lives as long as `device`; `count` pointers may be written.
        let done = unsafe { sys::shim_mbuf_alloc_bulk(self.pool, out.as_mut_ptr().cast(), count as u32) };
        if done == 0 { count } else { 0 }
    }

    /// Sends frames, at most [`MAX_BURST`]; returns how many the device took, which are its own from then on.
    /// The caller keeps the others.
    ///
    /// A frame of more than one segment is only for ports that [take them](TxQueue::multi_segs).
    ///
    /// # Safety
    /// The caller owns the frames, none is null, and the lengths in each are right. Afterwards it does not
    /// touch those that were taken.
    #[inline]
    pub unsafe fn tx(&mut self, mbufs: &[MbufPtr]) -> usize {
        let count = mbufs.len().min(MAX_BURST) as u16;
        // SAFETY: as for receiving, and by the caller's promise. The array itself is only read.
        let taken =
            unsafe { sys::shim_tx_burst(self.port, self.queue, mbufs.as_ptr().cast_mut().cast(), count) };
        usize::from(taken)
    }

    /// Lets the device give back mbufs of frames that it has sent, without sending any: for idle turns, after
    /// which nothing of another port is held here.
    #[inline]
    pub fn reclaim(&mut self) {
        // SAFETY: the queue is ours. Drivers without the function say so, which is no harm.
        unsafe { sys::rte_eth_tx_done_cleanup(self.port, self.queue, 0) };
    }

    /// Whether a frame may lie in several segments.
    #[must_use]
    pub fn multi_segs(&self) -> bool {
        self.device.multi_segs
    }

    /// Bytes of data that an empty mbuf of this port holds.
    #[must_use]
    pub fn segment_room(&self) -> usize {
        self.device.segment_room
    }

    /// Number of this queue in its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }
}
