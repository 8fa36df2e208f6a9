//! What `ovs-appctl dpif-netdev/…` prints, read back.

use super::super::Work;

/// How many queues its workers poll, connected or not (`pmd-rxq-show`).
pub(super) fn polled_queues(text: &str) -> usize {
    text.lines().filter(|line| line.contains("queue-id:")).count()
}

/// How many of them belong to a guest that is connected (`pmd-rxq-show`).
pub(super) fn enabled_queues(text: &str) -> usize {
    text.lines().filter(|line| line.contains("queue-id:") && line.contains("(enabled)")).count()
}

/// Sums what the workers did (`pmd-stats-show`); the main thread is none. `None` if there is no worker, or a number
/// is not where it is expected.
pub(super) fn work(text: &str) -> Option<Work> {
    let (mut sum, mut workers, mut counts) = (Work::default(), 0, false);
    for line in text.lines() {
        if !line.starts_with(' ') {
            counts = line.starts_with("pmd thread");
            workers += usize::from(counts);
            continue;
        }
        let Some((name, value)) = line.split_once(':').filter(|_| counts) else { continue };
        let number = || value.split_whitespace().next()?.parse::<u64>().ok();
        match name.trim() {
            "packets received" => sum.frames += number()?,
            "idle cycles" => sum.idle_cycles += number()?,
            "processing cycles" => sum.busy_cycles += number()?,
            _ => {}
        }
    }
    (workers > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "\
pmd thread numa_id 0 core_id 1:
  packets received: 3000
  packet recirculations: 0
  avg. datapath passes per packet: 1.00
  phwol hits: 0
  emc hits: 2990
  smc hits: 0
  megaflow hits: 6
  avg. subtable lookups per megaflow hit: 1.00
  miss with success upcall: 4
  miss with failed upcall: 0
  avg. packets per output batch: 31.20
  idle cycles: 700000 (70.00%)
  processing cycles: 300000 (30.00%)
  avg cycles per packet: 333.33 (1000000/3000)
  avg processing cycles per packet: 100.00 (300000/3000)
pmd thread numa_id 0 core_id 2:
  packets received: 5
  idle cycles: 1 (50.00%)
  processing cycles: 2 (50.00%)
main thread:
  packets received: 77
  idle cycles: 88
  processing cycles: 99
";

    #[test]
    fn workers_are_summed_and_the_main_thread_is_none() {
        let expected = Work { busy_cycles: 300_002, idle_cycles: 700_001, frames: 3005 };
        assert_eq!(work(STATS), Some(expected));
    }

    #[test]
    fn no_worker_is_not_zero_work() {
        assert_eq!(work("main thread:\n  packets received: 7\n"), None);
        assert_eq!(work(""), None);
        assert_eq!(work("pmd thread numa_id 0 core_id 1:\n  idle cycles: none\n"), None);
    }

    #[test]
    fn queues_of_connected_guests_are_told_from_others() {
        let text = "pmd thread numa_id 0 core_id 1:\n  isolated : false\n  \
                    port: p0                queue-id:  0 (enabled)   pmd usage:  0 %\n  \
                    port: p1                queue-id:  0 (disabled)  pmd usage:  0 %\n  overhead:  0 %\n";
        assert_eq!(polled_queues(text), 2);
        assert_eq!(enabled_queues(text), 1);
    }
}
