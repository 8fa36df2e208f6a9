//! Requests to valgrind, as its headers valgrind.h and callgrind.h define them: instructions that do nothing on a
//! real CPU and are understood by the one that valgrind plays.
#![expect(unsafe_code, reason = "the requests are magic instructions")]

use vhost::guest::CopyLevel;

const CALLGRIND: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;
const ZERO_STATS: usize = CALLGRIND + 1;
const TOGGLE_COLLECT: usize = CALLGRIND + 2;
const DUMP_STATS_AT: usize = CALLGRIND + 3;

/// Counts what `f` executes.
#[inline(always)]
pub(super) fn collecting<R>(f: impl FnOnce() -> R) -> R {
    request(TOGGLE_COLLECT, 0);
    let result = f();
    request(TOGGLE_COLLECT, 0);
    result
}

/// Has what was collected since the last report written to a file, titled `path`, its name, how often it was gone
/// and the copy level.
pub(super) fn report(name: &str, times: usize, level: CopyLevel) {
    let title = format!("path {name} {times} {}\0", level.name());
    request(DUMP_STATS_AT, title.as_ptr() as usize);
    request(ZERO_STATS, 0);
}

#[inline(always)]
fn request(code: usize, argument: usize) {
    let block = [code, argument, 0, 0, 0, 0];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: rotations by 128 bits in all leave rdi as it was, and so does exchanging rbx with itself. Valgrind
    // reads the block, which outlives the request, and sets rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") block.as_ptr(), inout("rdx") 0usize => _, options(nostack)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}
