//! The time stamp counter, and the monotonic second.
#![expect(unsafe_code, reason = "reads the time stamp counter")]

use std::time::{Duration, Instant};

/// Cycles of a counter that runs at a constant rate.
#[inline(always)]
pub(crate) fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: the virtual counter may be read by user code.
        unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
}

/// Measures the counter's rate against the monotonic clock, for 20 ms.
pub(crate) fn measure_hz() -> u64 {
    let (start, from) = (Instant::now(), cycles());
    std::thread::sleep(Duration::from_millis(20));
    let (elapsed, ticks) = (start.elapsed(), cycles() - from);
    (u128::from(ticks) * 1_000_000_000 / elapsed.as_nanos().max(1)) as u64
}
