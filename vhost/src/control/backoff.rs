//! When a port tries again.

use std::time::{Duration, Instant};

/// First pause after a socket was not there, or its peer left.
const FIRST_TRY: Duration = Duration::from_millis(2);
/// Longest pause while a watch tells of a new socket.
const WATCHED: Duration = Duration::from_millis(200);
/// Longest pause without a watch: a new socket is to be connected within 100 ms.
const UNWATCHED: Duration = Duration::from_millis(80);
/// Longest pause after a connection that ended without a fault, however brief.
const REJOIN: Duration = Duration::from_millis(50);
/// First pause after a fault.
const FIRST_FAULT: Duration = Duration::from_millis(100);
/// Longest pause after a fault.
const LAST_FAULT: Duration = Duration::from_secs(5);
/// A connection that lived this long was healthy: what was before it is forgotten.
const HEALTHY: Duration = Duration::from_secs(10);
/// A connection shorter than this was no success: retries go on growing.
const BRIEF: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next_try: Duration,
    next_fault: Duration,
    at: Instant,
    /// After a fault nothing hastens the next try.
    firm: bool,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Self {
        Self { next_try: FIRST_TRY, next_fault: FIRST_FAULT, at: now, firm: false }
    }

    /// When to try again.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// A try came to nothing.
    pub(super) fn failed(&mut self, now: Instant, watched: bool) {
        let longest = if watched { WATCHED } else { UNWATCHED };
        self.firm = false;
        self.at = now + self.next_try.min(longest);
        self.next_try = (self.next_try * 2).min(longest);
    }

    /// A connection that lasted for `lived` has ended.
    pub(super) fn ended(&mut self, now: Instant, lived: Duration, fault: bool) {
        if lived >= HEALTHY {
            self.next_fault = FIRST_FAULT;
        }
        if lived >= BRIEF {
            self.next_try = FIRST_TRY;
        }
        if fault {
            self.firm = true;
            self.at = now + self.next_fault;
            self.next_fault = (self.next_fault * 2).min(LAST_FAULT);
        } else {
            self.failed(now, true);
            self.at = self.at.min(now + REJOIN);
        }
    }

    /// A new socket may have appeared: soon, with quick retries, since it is bound before it is listened on.
    pub(super) fn hasten(&mut self, now: Instant) {
        if !self.firm {
            self.next_try = FIRST_TRY;
            self.at = self.at.min(now + FIRST_TRY / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_slow_down_and_a_new_socket_hastens_them() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        assert!(backoff.is_due(now));
        for _ in 0..20 {
            backoff.failed(now, true);
        }
        assert_eq!(backoff.at(), now + WATCHED);
        backoff.failed(now, false);
        assert_eq!(backoff.at(), now + UNWATCHED);
        backoff.hasten(now);
        assert!(backoff.at() <= now + FIRST_TRY);
    }

    #[test]
    fn faults_wait_longer_and_are_not_hastened() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        backoff.ended(now, Duration::ZERO, true);
        assert_eq!(backoff.at(), now + FIRST_FAULT);
        backoff.hasten(now);
        assert_eq!(backoff.at(), now + FIRST_FAULT);
        for _ in 0..20 {
            backoff.ended(now, Duration::ZERO, true);
        }
        assert_eq!(backoff.at(), now + LAST_FAULT);
        backoff.ended(now, HEALTHY, true);
        assert_eq!(backoff.at(), now + FIRST_FAULT);
    }
}
