//! Copies by vector moves in inline assembly.
//!
//! Short copies are two overlapping moves of the widest register that fits; longer ones are 64-byte moves, the
//! last of which overlaps the one before it. The assembly names its registers itself, so no function here needs
//! a target feature: [`super::CopyLevel::detect`] has asked the CPU.

use std::arch::asm;

use super::Level;

/// 16-byte moves: every x86-64 has them.
#[derive(Clone, Copy, Debug)]
pub struct Sse2;

/// 32-byte moves.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

/// 64-byte moves.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

/// Copies up to 16 bytes with general registers and overlapping moves.
///
/// # Safety
/// As [`Level::copy`], and `len` must be at most 16.
#[inline(always)]
unsafe fn copy_short(dst: *mut u8, src: *const u8, len: usize) {
    let (s, d) = (src as usize, dst as usize);
    // SAFETY: each arm moves only bytes within the first `len` of both sides.
    unsafe {
        if len >= 8 {
            asm!(
                "mov {a}, [{s}]", "mov {b}, [{s} + {n} - 8]", "mov [{d}], {a}", "mov [{d} + {n} - 8], {b}",
                a = out(reg) _, b = out(reg) _, s = in(reg) s, d = in(reg) d, n = in(reg) len,
                options(nostack, preserves_flags)
            );
        } else if len >= 4 {
            asm!(
                "mov {a:e}, [{s}]", "mov {b:e}, [{s} + {n} - 4]", "mov [{d}], {a:e}", "mov [{d} + {n} - 4], {b:e}",
                a = out(reg) _, b = out(reg) _, s = in(reg) s, d = in(reg) d, n = in(reg) len,
                options(nostack, preserves_flags)
            );
        } else {
            for i in 0..len {
                asm!(
                    "movzx {a:e}, byte ptr [{s}]", "mov [{d}], {a:l}",
                    a = out(reg_abcd) _, s = in(reg) s + i, d = in(reg) d + i,
                    options(nostack, preserves_flags)
                );
            }
        }
    }
}

/// Two overlapping 16-byte moves: 16 to 32 bytes.
///
/// # Safety
/// As [`Level::copy`], and `len` must be 16 to 32.
#[inline(always)]
unsafe fn copy_16_to_32(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: both moves lie within the first `len` bytes.
    unsafe {
        asm!(
            "movdqu xmm0, [{s}]", "movdqu xmm1, [{s} + {n} - 16]",
            "movdqu [{d}], xmm0", "movdqu [{d} + {n} - 16], xmm1",
            s = in(reg) src, d = in(reg) dst, n = in(reg) len, out("xmm0") _, out("xmm1") _,
            options(nostack, preserves_flags)
        );
    }
}

/// Defines `Level` for a type from its code for 32 to 64 bytes, and its loop of 64-byte steps with the last
/// 64 bytes overlapping.
macro_rules! level {
    ($type:ident, $name:literal, mid: [$($mid:literal),*], loop: [$($step:literal),*], tail: [$($tail:literal),*], done: $done:expr, equal: { $($equal:tt)* }) => {
        impl Level for $type {
            const NAME: &'static str = $name;

            #[inline(always)]
            unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
                // SAFETY: each branch is entered only with the lengths that its code asks for.
                unsafe {
                    if len > 64 {
                        // `{o}` runs over 0, 64, … while a whole step lies before the last 64 bytes.
                        asm!(
                            "2:", $($step,)* "add {o}, 64", "cmp {o}, {e}", "jb 2b", $($tail,)*
                            s = in(reg) src, d = in(reg) dst, o = inout(reg) 0usize => _, e = in(reg) len - 64,
                            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                            options(nostack)
                        );
                    } else if len > 32 {
                        asm!(
                            $($mid,)*
                            s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                            options(nostack, preserves_flags)
                        );
                    } else if len >= 16 {
                        copy_16_to_32(dst, src, len);
                    } else {
                        copy_short(dst, src, len);
                    }
                }
            }

            #[inline(always)]
            fn done() {
                $done
            }

            $($equal)*
        }
    };
}

/// Clears the upper halves of the vector registers, which code compiled for SSE2 expects.
#[inline(always)]
fn zero_upper() {
    // SAFETY: only called at levels whose CPU has AVX; no compiled code here keeps anything in the upper halves.
    unsafe { asm!("vzeroupper", options(nostack, nomem, preserves_flags)) }
}

level!(Sse2, "sse2",
    mid: ["movdqu xmm0, [{s}]", "movdqu xmm1, [{s} + 16]", "movdqu xmm2, [{s} + {n} - 32]", "movdqu xmm3, [{s} + {n} - 16]",
          "movdqu [{d}], xmm0", "movdqu [{d} + 16], xmm1", "movdqu [{d} + {n} - 32], xmm2", "movdqu [{d} + {n} - 16], xmm3"],
    loop: ["movdqu xmm0, [{s} + {o}]", "movdqu xmm1, [{s} + {o} + 16]", "movdqu xmm2, [{s} + {o} + 32]", "movdqu xmm3, [{s} + {o} + 48]",
           "movdqu [{d} + {o}], xmm0", "movdqu [{d} + {o} + 16], xmm1", "movdqu [{d} + {o} + 32], xmm2", "movdqu [{d} + {o} + 48], xmm3"],
    tail: ["movdqu xmm0, [{s} + {e}]", "movdqu xmm1, [{s} + {e} + 16]", "movdqu xmm2, [{s} + {e} + 32]", "movdqu xmm3, [{s} + {e} + 48]",
           "movdqu [{d} + {e}], xmm0", "movdqu [{d} + {e} + 16], xmm1", "movdqu [{d} + {e} + 32], xmm2", "movdqu [{d} + {e} + 48], xmm3"],
    done: (),
    equal: {});

level!(Avx2, "avx2",
mid: ["vmovdqu ymm0, [{s}]", "vmovdqu ymm1, [{s} + {n} - 32]", "vmovdqu [{d}], ymm0", "vmovdqu [{d} + {n} - 32], ymm1"],
loop: ["vmovdqu ymm0, [{s} + {o}]", "vmovdqu ymm1, [{s} + {o} + 32]", "vmovdqu [{d} + {o}], ymm0", "vmovdqu [{d} + {o} + 32], ymm1"],
tail: ["vmovdqu ymm0, [{s} + {e}]", "vmovdqu ymm1, [{s} + {e} + 32]", "vmovdqu [{d} + {e}], ymm0", "vmovdqu [{d} + {e} + 32], ymm1"],
done: zero_upper(),
equal: {
    #[inline(always)]
    unsafe fn equal(words: *const u64, wanted: u64) -> u32 {
        let (low, high): (u32, u32);
        // SAFETY: reads the 64 bytes that the caller promises; aligned words are not torn.
        unsafe {
            asm!(
                "vmovq xmm0, {w}", "vpbroadcastq ymm0, xmm0",
                "vpcmpeqq ymm1, ymm0, [{s}]", "vpcmpeqq ymm0, ymm0, [{s} + 32]",
                "vmovmskpd {l:e}, ymm1", "vmovmskpd {h:e}, ymm0",
                w = in(reg) wanted, s = in(reg) words, l = out(reg) low, h = out(reg) high,
                out("xmm0") _, out("xmm1") _,
                options(nostack, preserves_flags, readonly)
            );
        }
        low | high << 4
    }
});

level!(Avx512, "avx512",
mid: ["vmovdqu ymm0, [{s}]", "vmovdqu ymm1, [{s} + {n} - 32]", "vmovdqu [{d}], ymm0", "vmovdqu [{d} + {n} - 32], ymm1"],
loop: ["vmovdqu64 zmm0, [{s} + {o}]", "vmovdqu64 [{d} + {o}], zmm0"],
tail: ["vmovdqu64 zmm0, [{s} + {e}]", "vmovdqu64 [{d} + {e}], zmm0"],
done: zero_upper(),
equal: {
    #[inline(always)]
    unsafe fn equal(words: *const u64, wanted: u64) -> u32 {
        let equal: u32;
        // SAFETY: reads the 64 bytes that the caller promises; aligned words are not torn.
        unsafe {
            asm!(
                "vpbroadcastq zmm0, {w}", "vpcmpeqq k1, zmm0, [{s}]", "kmovw {m:e}, k1",
                w = in(reg) wanted, s = in(reg) words, m = lateout(reg) equal,
                out("xmm0") _, out("k1") _,
                options(nostack, preserves_flags, readonly)
            );
        }
        equal
    }
});
