//! How much of the notifier's time a port may have.
//!
//! To signal an eventfd wakes everything that waits on it, inside the kernel, and a tenant can hang as much on
//! it as it likes. A port that has used its share of a window waits for the next one; its marks are not lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::board::Group;

/// Time over which a share is counted.
const WINDOW: Duration = Duration::from_millis(10);
/// What one port may have of it.
const SHARE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Pace {
    window: Option<Instant>,
    spent: HashMap<Group, Duration>,
}

impl Pace {
    /// `None` if the port may be served now, otherwise when.
    pub(super) fn wait(&mut self, group: Group, now: Instant) -> Option<Instant> {
        let start = *self.window.get_or_insert(now);
        if now.saturating_duration_since(start) >= WINDOW {
            // What was overdrawn is paid back in the windows that follow.
            let windows = (now.saturating_duration_since(start).as_nanos() / WINDOW.as_nanos()) as u32;
            self.window = Some(now);
            self.spent.retain(|_, spent| {
                *spent = spent.saturating_sub(SHARE * windows);
                !spent.is_zero()
            });
        }
        let over = self.spent.get(&group).is_some_and(|spent| *spent >= SHARE);
        over.then(|| self.window.unwrap_or(now) + WINDOW)
    }

    pub(super) fn spent(&mut self, group: Group, time: Duration) {
        *self.spent.entry(group).or_default() += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_port_waits_and_others_do_not() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(1, start), None);
        pace.spent(1, SHARE * 3);
        assert_eq!(pace.wait(1, start), Some(start + WINDOW));
        assert_eq!(pace.wait(2, start), None);
        // Three shares were used: the third window after is the first with something left.
        assert!(pace.wait(1, start + WINDOW).is_some());
        assert!(pace.wait(1, start + WINDOW * 2).is_some());
        assert_eq!(pace.wait(1, start + WINDOW * 3), None);
    }

    #[test]
    fn many_quick_signals_are_never_held_up() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for n in 0..10_000 {
            // One signal in 50 µs, 3 µs each.
            let now = start + Duration::from_micros(50) * n;
            assert_eq!(pace.wait(1, now), None);
            pace.spent(1, Duration::from_micros(3));
        }
    }
}
