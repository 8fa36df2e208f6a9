//! When the frames of a paced stream are due.

/// Frames at equal distances in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: u64,
    ticks_each: f64,
    each_tick: f64,
    put: u64,
}

impl Schedule {
    /// A frame every `ticks_each`, the first at `start`.
    pub(super) fn new(start: u64, ticks_each: f64) -> Self {
        Self { start, ticks_each, each_tick: 1.0 / ticks_each, put: 0 }
    }

    /// The same pace again, from `start` and a share of a frame's time on.
    pub(super) fn restart(&mut self, start: u64, phase: f64) {
        *self = Self { start: start + (phase * self.ticks_each) as u64, put: 0, ..*self };
    }

    /// Frames due before `now`, all in all.
    #[inline(always)]
    pub(super) fn due(&self, now: u64) -> u64 {
        // A thread may see a time just before the start, which is in the future of the first turn.
        (now.saturating_sub(self.start) as f64 * self.each_tick) as u64
    }

    /// Frames due that were not put.
    #[inline(always)]
    pub(super) fn behind(&self, now: u64) -> u64 {
        self.due(now).saturating_sub(self.put)
    }

    /// When the `i`-th frame from now is due, or was.
    #[inline(always)]
    pub(super) fn time_of(&self, i: u64) -> u64 {
        self.start + ((self.put + i) as f64 * self.ticks_each) as u64
    }

    /// Frames were put.
    #[inline(always)]
    pub(super) fn advance(&mut self, count: u16) {
        self.put += u64::from(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_one_after_the_other() {
        let mut schedule = Schedule::new(1000, 2.5);
        assert_eq!(schedule.behind(900), 0);
        assert_eq!(schedule.behind(1010), 4);
        assert_eq!([0, 1, 2, 3].map(|i| schedule.time_of(i)), [1000, 1002, 1005, 1007]);
        schedule.advance(3);
        assert_eq!((schedule.behind(1010), schedule.due(1010)), (1, 4));
        assert_eq!(schedule.time_of(0), 1007);
        schedule.restart(2000, 0.0);
        assert_eq!((schedule.behind(2005), schedule.time_of(0)), (2, 2000));
        schedule.restart(2000, 0.5);
        assert_eq!(schedule.time_of(0), 2001);
    }

    #[test]
    fn a_long_run_keeps_its_pace() {
        let schedule = Schedule::new(1 << 60, 130.3);
        let hour = 2_600_000_000u64 * 3600;
        let due = schedule.due((1 << 60) + hour);
        assert!((due as f64 / (hour as f64 / 130.3) - 1.0).abs() < 1e-9);
    }
}
