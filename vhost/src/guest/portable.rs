//! Copies by relaxed atomic bytes and words: what Miri and other architectures use.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::Level;

/// Relaxed atomic accesses, eight bytes at a time where both sides are aligned alike.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Level for Portable {
    const NAME: &'static str = "portable";

    #[inline]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let mut done = 0;
        while done < len {
            let (to, from) = (dst.wrapping_add(done), src.wrapping_add(done));
            if len - done >= 8 && (to as usize | from as usize).is_multiple_of(8) {
                // SAFETY: eight bytes are left on both sides and both addresses are multiples of eight.
                unsafe {
                    let word = AtomicU64::from_ptr(from as *mut u64).load(Ordering::Relaxed);
                    AtomicU64::from_ptr(to.cast()).store(word, Ordering::Relaxed);
                }
                done += 8;
            } else {
                // SAFETY: at least one byte is left on both sides.
                unsafe {
                    let byte = AtomicU8::from_ptr(from.cast_mut()).load(Ordering::Relaxed);
                    AtomicU8::from_ptr(to).store(byte, Ordering::Relaxed);
                }
                done += 1;
            }
        }
    }
}
