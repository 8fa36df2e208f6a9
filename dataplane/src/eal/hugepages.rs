//! Whether enough hugepages can be had.
//!
//! EAL cannot be started twice, so a failed try with hugepages could not be followed by one without. The
//! kernel's counters are not the whole truth either: a container's control group may allow none of the free
//! pages. So the pages are taken once for a moment, and given back.

use std::{fs, io, ptr};

use super::{HugePages, MemoryKind};

/// Pages of one size that nobody has taken or reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FreePages {
    page_bytes: u64,
    pages: u64,
}

impl FreePages {
    fn bytes(self) -> u64 {
        self.page_bytes.saturating_mul(self.pages)
    }
}

/// Decides for hugepages or ordinary ones; says why in the answer.
pub(super) fn choose(wish: HugePages, megabytes: u32) -> MemoryKind {
    if wish == HugePages::No {
        return MemoryKind::OrdinaryAsked;
    }
    let needed = u64::from(megabytes) << 20;
    let sizes = free_pages();
    let free = sizes.iter().map(|size| size.bytes()).sum();
    if free < needed {
        return MemoryKind::OrdinaryFallback { free };
    }
    // EAL fills up with the smallest pages; only where those alone suffice is the trial a sure one.
    let trial = sizes.iter().find(|size| size.bytes() >= needed);
    match trial.map(|size| try_take(size.page_bytes, needed)) {
        Some(Err(why)) => {
            tracing::warn!(%why, free, "free hugepages cannot be taken");
            MemoryKind::OrdinaryFallback { free: 0 }
        }
        Some(Ok(())) | None => MemoryKind::HugePages,
    }
}

/// Free pages of each size, smallest first.
fn free_pages() -> Vec<FreePages> {
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut sizes: Vec<FreePages> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = |file: &str| -> Option<u64> {
                fs::read_to_string(entry.path().join(file)).ok()?.trim().parse().ok()
            };
            let pages = number("free_hugepages")?.saturating_sub(number("resv_hugepages").unwrap_or(0));
            Some(FreePages { page_bytes: kilobytes << 10, pages })
        })
        .collect();
    sizes.sort_by_key(|size| size.page_bytes);
    sizes
}

/// Takes `bytes` in pages of `page_bytes`, and gives them back.
fn try_take(page_bytes: u64, bytes: u64) -> io::Result<()> {
    let length = usize::try_from(bytes.next_multiple_of(page_bytes)).map_err(io::Error::other)?;
    let size = (page_bytes.trailing_zeros() << libc::MAP_HUGE_SHIFT).cast_signed();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping made above. Unlike a store, this reports a page that cannot be had as an error.
    let populated = unsafe { libc::madvise(start, length, libc::MADV_POPULATE_WRITE) };
    let outcome = if populated == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the mapping made above, which nothing refers to.
    unsafe { libc::munmap(start, length) };
    match outcome {
        // Kernels before 5.14 do not know the advice; the counters must do.
        Err(why) if why.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_memory_is_taken_when_asked_for_or_when_pages_are_short() {
        assert_eq!(choose(HugePages::No, 1), MemoryKind::OrdinaryAsked);
        assert!(matches!(choose(HugePages::Auto, u32::MAX), MemoryKind::OrdinaryFallback { .. }));
    }

    #[test]
    fn a_trial_of_more_than_there_is_fails_and_takes_nothing() {
        let before = free_pages();
        if let Some(size) = before.first() {
            assert!(try_take(size.page_bytes, size.bytes() + size.page_bytes * 4096).is_err());
        }
    }
}
