//! What the kernel says of this process.

use std::fs;
use std::path::PathBuf;

fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key}")).trim().to_owned()
}

fn kilobytes(key: &str) -> u64 {
    status(key).trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

pub(crate) fn resident_bytes() -> u64 {
    kilobytes("VmRSS")
}

pub(crate) fn hugepage_bytes() -> u64 {
    kilobytes("HugetlbPages")
}

pub(crate) fn affinity() -> String {
    status("Cpus_allowed_list")
}

/// Page faults of this thread that needed no disk.
pub(crate) fn page_faults() -> i64 {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_minflt
    }
}

pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn runtime_directory() -> PathBuf {
    PathBuf::from(format!("/var/run/dpdk/podswitch-{}", std::process::id()))
}

/// Mappings of files that exist, by a part of their name.
pub(crate) fn mapped_files(part: &str) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let named = maps.lines().filter(|line| line.contains(part) && !line.ends_with("(deleted)"));
    named.map(str::to_owned).collect()
}
