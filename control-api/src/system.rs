//! What the kernel says of this process: resident memory, throttling, time spent waiting for a CPU; and what this
//! process says to systemd.

mod cgroup;
mod memory;
mod notify;

pub use cgroup::Throttling;
pub(crate) use cgroup::directories as cgroup_directories;
pub use memory::private_bytes;
pub use notify::notify;

/// Nanoseconds that a thread of ours was runnable and did not run: the second field of its schedstat. 0 if it is
/// gone, or the kernel does not count.
#[must_use]
pub fn waiting_ns(tid: i32) -> u64 {
    std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat"))
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_that_is_not_there_waits_for_nothing() {
        assert_eq!(super::waiting_ns(0), 0);
    }
}
