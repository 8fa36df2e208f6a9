//! The only code that reads or writes bytes of guest memory.
//!
//! A guest changes its memory whenever it likes, so plain copies of it are undefined behaviour and may be split
//! or repeated by the compiler. Bulk copies are therefore inline assembly, opaque to the compiler; single fields
//! are atomics. Which vector width is used is decided once a burst ([`dispatch`]), not once a copy: everything
//! generic over [`Level`] is compiled once for each width. Called by workers, and by the driver side in tests.
#![expect(unsafe_code, reason = "raw access to shared memory is this module's whole job")]

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::address::HostAddr;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

mod portable;

/// One way of moving bytes.
pub trait Level: Copy + Send + Sync + 'static {
    /// What `podswitch status` calls it.
    const NAME: &'static str;

    /// Copies `len` bytes.
    ///
    /// # Safety
    /// `src` must be readable and `dst` writable for `len` bytes, and they must not overlap. Either may be
    /// changed by somebody else meanwhile; then the bytes copied are unspecified.
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize);

    /// A bit for each of the eight words that equals `wanted`. They are read in any order, each at once.
    ///
    /// # Safety
    /// `words` must be a multiple of 64 and readable for 64 bytes. Other threads may change the words.
    #[inline(always)]
    unsafe fn equal(words: *const u64, wanted: u64) -> u32 {
        let mut equal = 0;
        for i in 0..8 {
            // SAFETY: one of the eight words, aligned; shared memory is accessed atomically.
            let word = unsafe { AtomicU64::from_ptr(words.cast_mut().add(i)) }.load(Ordering::Relaxed);
            equal |= u32::from(word == wanted) << i;
        }
        equal
    }

    /// To be called after the last copy of a pass: leaves the vector unit as compiled code expects it.
    #[inline(always)]
    fn done() {}
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use x86::{Avx2, Avx512, Sse2};

pub use portable::Portable;

/// The widest level that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyLevel {
    /// Relaxed atomic bytes and words: any architecture.
    Portable,
    /// 16-byte moves.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Sse2,
    /// 32-byte moves.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2,
    /// 64-byte moves.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512,
}

impl CopyLevel {
    /// Asks the CPU. `PODSWITCH_COPY` (`portable`, `sse2`, `avx2`, `avx512`) can only lower the answer.
    #[must_use]
    pub fn detect() -> Self {
        let best = Self::supported();
        let Ok(wish) = std::env::var("PODSWITCH_COPY") else { return best };
        let all = Self::all();
        let rank = |level| all.iter().position(|l| *l == level).unwrap_or(0);
        match all.iter().find(|l| l.name() == wish) {
            Some(&level) if rank(level) < rank(best) => level,
            _ => best,
        }
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn supported() -> Self {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx2") {
            Self::Avx512
        } else if std::arch::is_x86_feature_detected!("avx2") {
            Self::Avx2
        } else {
            Self::Sse2
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fn supported() -> Self {
        Self::Portable
    }

    /// Every level of this build, narrowest first.
    #[must_use]
    pub fn all() -> &'static [CopyLevel] {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return &[Self::Portable, Self::Sse2, Self::Avx2, Self::Avx512];
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        &[Self::Portable]
    }

    /// What `podswitch status` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => Portable::NAME,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Sse2 => Sse2::NAME,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx2 => Avx2::NAME,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Self::Avx512 => Avx512::NAME,
        }
    }
}

/// A piece of work that is compiled once for each level.
pub trait LevelTask {
    /// What it returns.
    type Output;
    /// The work.
    fn run<L: Level>(self) -> Self::Output;
}

/// Runs `task` at `level`.
#[inline(always)]
pub fn dispatch<T: LevelTask>(level: CopyLevel, task: T) -> T::Output {
    match level {
        CopyLevel::Portable => task.run::<Portable>(),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        CopyLevel::Sse2 => task.run::<Sse2>(),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        CopyLevel::Avx2 => task.run::<Avx2>(),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        CopyLevel::Avx512 => task.run::<Avx512>(),
    }
}

/// Copies `len` bytes of guest memory into private memory.
///
/// # Safety
/// `src` must lie in a mapping for `len` bytes, `dst` must be writable for them and private.
#[inline(always)]
pub unsafe fn guest_read<L: Level>(dst: *mut u8, src: HostAddr, len: usize) {
    audit::add(len, len, 0);
    // SAFETY: forwarded to the caller; private and guest memory do not overlap.
    unsafe { L::copy(dst, src.0 as *const u8, len) }
}

/// Copies `len` private bytes into guest memory.
///
/// # Safety
/// `dst` must lie in a mapping for `len` bytes, `src` must be readable for them and private.
#[inline(always)]
pub unsafe fn guest_write<L: Level>(dst: HostAddr, src: *const u8, len: usize) {
    audit::add(0, 0, len);
    // SAFETY: forwarded to the caller; private and guest memory do not overlap.
    unsafe { L::copy(dst.0 as *mut u8, src, len) }
}

/// Copies `len` bytes from one guest's memory to another's: read once, written once.
///
/// # Safety
/// Both must lie in mappings for `len` bytes. A guest may hand the same memory to two ports, so they may
/// overlap; then the bytes that arrive are unspecified (and its own affair).
#[inline(always)]
pub unsafe fn guest_copy<L: Level>(dst: HostAddr, src: HostAddr, len: usize) {
    audit::add(len, 0, len);
    // SAFETY: forwarded to the caller; every level tolerates overlap, moving unspecified bytes.
    unsafe { L::copy(dst.0 as *mut u8, src.0 as *const u8, len) }
}

/// Reads a 16-bit ring field that the other side publishes; what it wrote before is visible after.
///
/// # Safety
/// `at` must be even and lie in a mapping for two bytes.
#[inline(always)]
pub unsafe fn load_u16_acquire(at: HostAddr) -> u16 {
    // SAFETY: mapped and aligned as the caller promises; shared memory is accessed atomically.
    u16::from_le(unsafe { AtomicU16::from_ptr(at.0 as *mut u16) }.load(Ordering::Acquire))
}

/// Reads a 16-bit ring field with no ordering.
///
/// # Safety
/// As [`load_u16_acquire`].
#[inline(always)]
pub unsafe fn load_u16(at: HostAddr) -> u16 {
    // SAFETY: as above.
    u16::from_le(unsafe { AtomicU16::from_ptr(at.0 as *mut u16) }.load(Ordering::Relaxed))
}

/// Publishes a 16-bit ring field: everything written before is visible to whoever sees it.
///
/// # Safety
/// As [`load_u16_acquire`].
#[inline(always)]
pub unsafe fn store_u16_release(at: HostAddr, value: u16) {
    // SAFETY: as above.
    unsafe { AtomicU16::from_ptr(at.0 as *mut u16) }.store(value.to_le(), Ordering::Release);
}

/// Writes a 16-bit field with no ordering.
///
/// # Safety
/// As [`load_u16_acquire`].
#[inline(always)]
pub unsafe fn store_u16(at: HostAddr, value: u16) {
    // SAFETY: as above.
    unsafe { AtomicU16::from_ptr(at.0 as *mut u16) }.store(value.to_le(), Ordering::Relaxed);
}

/// Reads eight bytes as one load.
///
/// # Safety
/// `at` must be a multiple of eight and lie in a mapping for eight bytes.
#[inline(always)]
pub unsafe fn load_u64(at: HostAddr) -> u64 {
    // SAFETY: mapped and aligned as the caller promises; shared memory is accessed atomically.
    u64::from_le(unsafe { AtomicU64::from_ptr(at.0 as *mut u64) }.load(Ordering::Relaxed))
}

/// Writes a 32-bit field with no ordering.
///
/// # Safety
/// `at` must be a multiple of four and lie in a mapping for four bytes.
#[inline(always)]
pub unsafe fn store_u32(at: HostAddr, value: u32) {
    use std::sync::atomic::AtomicU32;
    // SAFETY: mapped and aligned as the caller promises; shared memory is accessed atomically.
    unsafe { AtomicU32::from_ptr(at.0 as *mut u32) }.store(value.to_le(), Ordering::Relaxed);
}

/// Asks for the line at `at` to be brought near for reading. Never faults.
#[inline(always)]
pub fn prefetch(at: HostAddr) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect on memory and does not fault.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.0 as *const i8);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Asks for the line at `at` to be brought near for writing. Never faults.
#[inline(always)]
pub fn prefetch_write(at: HostAddr) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect on memory and does not fault; PREFETCHW is a no-op where it is lacking.
    unsafe {
        std::arch::asm!("prefetchw [{0}]", in(reg) at.0, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// How many guest bytes this thread has moved: the measure behind the one-copy rule.
pub mod audit {
    /// Bytes moved in bulk (ring fields are not counted).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Moved {
        /// Read from guests.
        pub read: u64,
        /// Of these, read into private memory.
        pub private: u64,
        /// Written to guests.
        pub written: u64,
    }

    #[cfg(feature = "audit")]
    thread_local! {
        static MOVED: std::cell::Cell<Moved> = const { std::cell::Cell::new(Moved { read: 0, private: 0, written: 0 }) };
    }

    #[inline(always)]
    pub(super) fn add(read: usize, private: usize, written: usize) {
        #[cfg(all(feature = "audit", not(unaudited)))]
        MOVED.with(|moved| {
            let before = moved.get();
            moved.set(Moved {
                read: before.read + read as u64,
                private: before.private + private as u64,
                written: before.written + written as u64,
            });
        });
        #[cfg(any(not(feature = "audit"), unaudited))]
        let _ = (read, private, written);
    }

    /// What this thread has moved since the last call; forgets it.
    #[cfg(feature = "audit")]
    #[must_use]
    pub fn take() -> Moved {
        MOVED.with(std::cell::Cell::take)
    }
}

#[cfg(test)]
mod tests;
