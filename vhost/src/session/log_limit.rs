//! A bound on what a tenant can cause often: log lines, and announcements to a network.

use std::time::{Duration, Instant};

/// Allows a burst, and then one in every interval.
#[derive(Clone, Copy, Debug)]
pub struct LogLimit {
    burst: u32,
    interval: Duration,
    left: u32,
    filled: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// `burst` at once, then one every `interval`.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, left: burst, filled: None, suppressed: 0 }
    }

    /// `Some` if one more is allowed at `now`, with how many were not since the last that was.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        let filled = *self.filled.get_or_insert(now);
        let passed = now.saturating_duration_since(filled).as_nanos() / self.interval.as_nanos().max(1);
        if passed > 0 {
            self.left = self.burst.min(self.left.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX)));
            self.filled = Some(now);
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_trickle() {
        let (mut limit, start) = (LogLimit::new(3, Duration::from_secs(1)), Instant::now());
        let allowed = (0..100).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(allowed, 3);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(97));
        assert_eq!(limit.allow(start + Duration::from_secs(1)), None);
        assert_eq!(limit.allow(start + Duration::from_secs(100)), Some(1));
    }
}
