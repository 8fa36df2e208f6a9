//! Pointers to the fields of an `rte_mbuf`.
//!
//! The hot path reads and writes these fields for every frame, so they are plain loads and stores at
//! constant offsets and never a call into C. Called by the dataplane's mbuf type, from workers.

use core::ffi::c_void;

use crate::{
    SHIM_MBUF_BUF_ADDR, SHIM_MBUF_BUF_LEN, SHIM_MBUF_DATA_LEN, SHIM_MBUF_DATA_OFF, SHIM_MBUF_NB_SEGS,
    SHIM_MBUF_NEXT, SHIM_MBUF_OL_FLAGS, SHIM_MBUF_PKT_LEN, SHIM_MBUF_PORT, SHIM_MBUF_REFCNT, rte_mbuf,
};

macro_rules! field {
    ($(#[$doc:meta])* $name:ident: $type:ty = $offset:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `mbuf` points to an mbuf that a pool made. The pointer returned is valid and aligned for as long
        /// as the mbuf is not freed.
        #[inline(always)]
        #[must_use]
        pub unsafe fn $name(mbuf: *mut rte_mbuf) -> *mut $type {
            // SAFETY: the offset is that of a field of this very type, inside the mbuf.
            unsafe { mbuf.byte_add($offset).cast() }
        }
    };
}

field!(/** Start of the segment's buffer, headroom included. */ buf_addr: *mut c_void = SHIM_MBUF_BUF_ADDR);
field!(/** Where data begins, in bytes from the buffer's start. */ data_off: u16 = SHIM_MBUF_DATA_OFF);
field!(/** Number of owners. */ refcnt: u16 = SHIM_MBUF_REFCNT);
field!(/** Number of segments of the frame (in the first segment only). */ nb_segs: u16 = SHIM_MBUF_NB_SEGS);
field!(/** Port that the frame came from (in the first segment only). */ port: u16 = SHIM_MBUF_PORT);
field!(/** Offload flags (in the first segment only). */ ol_flags: u64 = SHIM_MBUF_OL_FLAGS);
field!(/** Bytes of the whole frame (in the first segment only). */ pkt_len: u32 = SHIM_MBUF_PKT_LEN);
field!(/** Bytes of data in this segment. */ data_len: u16 = SHIM_MBUF_DATA_LEN);
field!(/** Bytes of this segment's buffer, headroom included. */ buf_len: u16 = SHIM_MBUF_BUF_LEN);
field!(/** The next segment, or null. */ next: *mut rte_mbuf = SHIM_MBUF_NEXT);
