//! A frame in DPDK's memory: an mbuf, or a chain of them.
//!
//! **Ownership.** An [`MbufPtr`] is a plain pointer so that arrays of them pass to and from drivers as they
//! are; it frees nothing when dropped and cannot be copied or cloned. Whoever holds the pointer to the first
//! segment owns the frame:
//!
//! - [`RxQueue::rx`](super::RxQueue::rx) and [`TxQueue::alloc`](super::TxQueue::alloc) give ownership to the
//!   caller for as many entries as they return;
//! - [`TxQueue::tx`](super::TxQueue::tx) takes it for as many entries as it returns, which are dangling from
//!   then on; the caller keeps the others, and sends or frees them;
//! - [`MbufPtr::free`] and [`MbufPtr::append`] take it by value.
//!
//! A pointer got by [`MbufPtr::next`] or [`MbufPtr::alias`] is borrowed: it is never sent or freed.
//! Used by workers only; a frame may be freed by another worker than the one that received it.

#![expect(unsafe_code, reason = "fields of an mbuf are reached through raw pointers")]

use std::ptr;

use dpdk_sys::{self as sys, mbuf};

/// A pointer to a frame's first segment (see the module for who owns it), or null.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct MbufPtr(*mut sys::rte_mbuf);

// SAFETY: an mbuf is memory that any thread may use, one at a time, which ownership sees to; pools take
// back mbufs from any thread.
unsafe impl Send for MbufPtr {}

/// What the accessors ask. They are the hot path: nothing is checked.
///
/// # Safety
/// Every method marked unsafe asks that the pointer is not null and that its frame is owned by the caller (or
/// borrowed from an owner for as long as the call lasts), as the module describes.
impl MbufPtr {
    /// The null pointer, to fill arrays with.
    pub const NULL: Self = Self(ptr::null_mut());

    /// An array of null pointers for `rx` and `alloc` to fill.
    #[must_use]
    pub const fn array<const N: usize>() -> [Self; N] {
        [const { Self::NULL }; N]
    }

    /// Takes the pointer out, leaving null.
    #[inline(always)]
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::NULL)
    }

    /// A second pointer to the same segment, borrowed: to walk or build a chain from.
    #[inline(always)]
    #[must_use]
    pub fn alias(&self) -> Self {
        Self(self.0)
    }

    /// True for the null pointer.
    #[inline(always)]
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// DPDK's pointer. Ownership stays with `self`.
    #[inline(always)]
    #[must_use]
    pub fn as_raw(&self) -> *mut sys::rte_mbuf {
        self.0
    }

    /// First byte of data in this segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn data(&self) -> *mut u8 {
        // SAFETY: the caller's promise; data_off lies inside the buffer.
        unsafe { (*mbuf::buf_addr(self.0)).cast::<u8>().add(usize::from(*mbuf::data_off(self.0))) }
    }

    /// Bytes of data in this segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn data_len(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { usize::from(*mbuf::data_len(self.0)) }
    }

    /// The bytes of this segment.
    ///
    /// # Safety
    /// See [`MbufPtr`]; and nobody writes to the segment while the slice lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn segment(&self) -> &[u8] {
        // SAFETY: data and data_len describe initialised memory of the segment's buffer.
        unsafe { std::slice::from_raw_parts(self.data(), self.data_len()) }
    }

    /// Bytes of the whole frame. On the first segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn pkt_len(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { *mbuf::pkt_len(self.0) as usize }
    }

    /// Number of segments. On the first segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn nb_segs(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { usize::from(*mbuf::nb_segs(self.0)) }
    }

    /// Offload flags, as the driver set them. On the first segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn ol_flags(&self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { *mbuf::ol_flags(self.0) }
    }

    /// Clears the offload flags: asks the device that sends the frame for nothing. A received frame carries
    /// flags of its receiver, so this comes before every `tx` of one.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    pub unsafe fn clear_ol_flags(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { *mbuf::ol_flags(self.0) = 0 };
    }

    /// The next segment, borrowed; null after the last.
    ///
    /// # Safety
    /// See [`MbufPtr`]. What is returned is neither freed nor sent, and not used after the frame was.
    #[inline(always)]
    #[must_use]
    pub unsafe fn next(&self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(*mbuf::next(self.0)) }
    }

    /// Free bytes in front of the data of this segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn headroom(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { usize::from(*mbuf::data_off(self.0)) }
    }

    /// Free bytes behind the data of this segment.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn tailroom(&self) -> usize {
        // SAFETY: the caller's promise; data lies inside the buffer.
        unsafe { self.buf_len() - usize::from(*mbuf::data_off(self.0)) - self.data_len() }
    }

    /// Bytes of this segment's buffer, headroom included.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn buf_len(&self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { usize::from(*mbuf::buf_len(self.0)) }
    }

    /// Moves the start of data: by `count` bytes forward if positive (the front is cut off), else backward
    /// into the headroom. Lengths of segment and frame follow. On the first segment.
    ///
    /// # Safety
    /// See [`MbufPtr`]. Forward at most `data_len`, backward at most `headroom`; bytes that come in from the
    /// headroom are written before the frame is read or sent.
    #[inline(always)]
    pub unsafe fn move_front(&mut self, count: isize) {
        // SAFETY: the caller's promise; sums stay in range because data stays inside the buffer.
        unsafe {
            let (offset, length) = (mbuf::data_off(self.0), mbuf::data_len(self.0));
            *offset = (*offset).wrapping_add_signed(count as i16);
            *length = (*length).wrapping_sub(count as u16);
            let total = mbuf::pkt_len(self.0);
            *total = (*total).wrapping_sub(count as u32);
        }
    }

    /// Sets the bytes of data in this segment. The frame's length is set apart.
    ///
    /// # Safety
    /// See [`MbufPtr`]. The data fits the buffer and is written before the frame is read or sent.
    #[inline(always)]
    pub unsafe fn set_data_len(&mut self, length: u16) {
        // SAFETY: the caller's promise.
        unsafe { *mbuf::data_len(self.0) = length };
    }

    /// Sets the bytes of the whole frame. On the first segment.
    ///
    /// # Safety
    /// See [`MbufPtr`]. It is the sum of the segments when the frame is sent.
    #[inline(always)]
    pub unsafe fn set_pkt_len(&mut self, length: u32) {
        // SAFETY: the caller's promise.
        unsafe { *mbuf::pkt_len(self.0) = length };
    }

    /// Sets the length of a frame of one segment.
    ///
    /// # Safety
    /// As [`MbufPtr::set_data_len`]; the frame has one segment.
    #[inline(always)]
    pub unsafe fn set_len(&mut self, length: u16) {
        // SAFETY: the caller's promise.
        unsafe {
            self.set_data_len(length);
            self.set_pkt_len(u32::from(length));
        }
    }

    /// Adds one more segment behind `last`, the frame's last segment (at first the frame's own
    /// [`alias`](Self::alias)); counts it, and adds its bytes to the frame's length. Returns the new last
    /// segment, borrowed. For frames larger than one buffer.
    ///
    /// # Safety
    /// See [`MbufPtr`]. `segment` is owned, of one segment, with its `data_len` set.
    #[inline(always)]
    pub unsafe fn append(&mut self, last: &Self, segment: Self) -> Self {
        // SAFETY: the caller's promise. The new segment's own `next` is null: it came so from its pool.
        unsafe {
            *mbuf::next(last.0) = segment.0;
            *mbuf::nb_segs(self.0) += 1;
            *mbuf::pkt_len(self.0) += u32::from(*mbuf::data_len(segment.0));
        }
        segment
    }

    /// Gives the frame, all segments of it, back to its pool.
    ///
    /// # Safety
    /// See [`MbufPtr`]; the frame is owned.
    #[inline(always)]
    pub unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe { sys::shim_mbuf_free(self.0) };
    }

    /// Gives frames back to their pools in one go. Null pointers among them are passed over. All are null
    /// afterwards.
    ///
    /// # Safety
    /// See [`MbufPtr`]; the frames are owned.
    #[inline]
    pub unsafe fn free_all(mbufs: &mut [Self]) {
        // SAFETY: the caller's promise; `MbufPtr` is a pointer to an mbuf in memory; DPDK skips null.
        unsafe { sys::rte_pktmbuf_free_bulk(mbufs.as_mut_ptr().cast(), mbufs.len() as u32) };
        mbufs.fill_with(|| Self::NULL);
    }

    /// What DPDK finds wrong with the frame, if anything. Slow; for tests.
    ///
    /// # Safety
    /// See [`MbufPtr`].
    #[must_use]
    pub unsafe fn check(&self) -> Option<&'static str> {
        let mut reason = ptr::null();
        // SAFETY: the caller's promise; reasons are static strings.
        unsafe {
            if sys::shim_mbuf_check(self.0, 1, &raw mut reason) == 0 {
                return None;
            }
            Some(std::ffi::CStr::from_ptr(reason).to_str().unwrap_or("unsound"))
        }
    }
}
