//! Which frames of a stream are under way.

/// Sequence numbers that were sent, as a window over those not known to have arrived.
#[derive(Debug)]
pub struct Window {
    /// Every number below it has arrived or was given up.
    base: u64,
    /// The number of the next frame.
    next: u64,
    most: u16,
    /// One bit for each number of the window that has arrived, by its remainder.
    seen: Box<[bool]>,
    highest: u64,
    received: u64,
    lost: u64,
    reordered: u64,
}

/// What a frame that arrived was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// One under way.
    Own,
    /// One that has arrived before, or was given up, or was never sent.
    Again,
}

impl Window {
    /// At most `most` frames under way.
    #[must_use]
    pub fn new(most: u16) -> Self {
        let seen = vec![false; usize::from(most)].into_boxed_slice();
        Self { base: 0, next: 0, most, seen, highest: 0, received: 0, lost: 0, reordered: 0 }
    }

    /// How many frames may be sent now.
    #[must_use]
    pub fn room(&self) -> u16 {
        self.most - self.span()
    }

    /// Number of the next frame to be sent, which is also how many were.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Frames that have not arrived.
    #[must_use]
    pub fn under_way(&self) -> u16 {
        let arrived = (self.base..self.next).filter(|&n| self.seen[self.slot(n)]).count();
        self.span() - arrived as u16
    }

    /// The next `count` numbers were sent.
    pub fn sent(&mut self, count: u16) {
        self.next += u64::from(count);
        debug_assert!(self.span() <= self.most);
    }

    /// A frame with this number arrived.
    pub fn arrived(&mut self, number: u64) -> Arrival {
        if number < self.base || number >= self.next || self.seen[self.slot(number)] {
            return Arrival::Again;
        }
        let slot = self.slot(number);
        self.seen[slot] = true;
        self.received += 1;
        if number < self.highest {
            self.reordered += 1;
        }
        self.highest = self.highest.max(number);
        self.close_up();
        Arrival::Own
    }

    /// What has not arrived is lost.
    pub fn give_up(&mut self) {
        self.lost += u64::from(self.under_way());
        self.seen.fill(false);
        self.base = self.next;
    }

    /// Frames that arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames given up.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames that arrived behind a later one.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    fn close_up(&mut self) {
        while self.base < self.next && self.seen[self.slot(self.base)] {
            let slot = self.slot(self.base);
            self.seen[slot] = false;
            self.base += 1;
        }
    }

    fn span(&self) -> u16 {
        (self.next - self.base) as u16
    }

    fn slot(&self, number: u64) -> usize {
        (number % u64::from(self.most)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_and_opens() {
        let mut window = Window::new(4);
        assert_eq!(window.room(), 4);
        window.sent(4);
        assert_eq!((window.room(), window.under_way()), (0, 4));
        assert_eq!(window.arrived(0), Arrival::Own);
        assert_eq!((window.room(), window.under_way()), (1, 3));
        (1..4).for_each(|n| assert_eq!(window.arrived(n), Arrival::Own));
        assert_eq!((window.room(), window.under_way(), window.received()), (4, 0, 4));
        assert_eq!((window.lost(), window.reordered()), (0, 0));
    }

    #[test]
    fn frames_out_of_order_and_twice_are_told_apart() {
        let mut window = Window::new(4);
        window.sent(3);
        assert_eq!(window.arrived(2), Arrival::Own);
        assert_eq!((window.room(), window.under_way()), (1, 2), "the first frame holds the window");
        assert_eq!(window.arrived(2), Arrival::Again);
        assert_eq!(window.arrived(0), Arrival::Own);
        assert_eq!(window.arrived(1), Arrival::Own);
        assert_eq!(window.arrived(1), Arrival::Again);
        assert_eq!(window.arrived(3), Arrival::Again, "it was never sent");
        assert_eq!((window.received(), window.reordered(), window.room()), (3, 2, 4));
    }

    #[test]
    fn what_is_given_up_is_lost_and_counts_no_more() {
        let mut window = Window::new(8);
        window.sent(8);
        for number in [0, 1, 5] {
            assert_eq!(window.arrived(number), Arrival::Own);
        }
        window.give_up();
        assert_eq!((window.lost(), window.received(), window.room(), window.next()), (5, 3, 8, 8));
        assert_eq!(window.arrived(2), Arrival::Again);
        window.sent(1);
        assert_eq!(window.arrived(8), Arrival::Own);
        assert_eq!((window.lost(), window.received()), (5, 4));
    }

    /// A naive model: a set of numbers under way.
    #[test]
    fn the_window_agrees_with_a_set() {
        let (mut window, mut under_way, mut random) =
            (Window::new(16), std::collections::BTreeSet::new(), 1_u64);
        let (mut sent, mut received, mut lost) = (0, 0, 0);
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = random >> 33;
            if draw.is_multiple_of(2) && window.room() > 0 {
                window.sent(1);
                under_way.insert(sent);
                sent += 1;
            } else if step % 997 == 0 {
                window.give_up();
                lost += under_way.len() as u64;
                under_way.clear();
            } else if sent > 0 {
                let number = sent - 1 - (draw % 20).min(sent - 1);
                let own = under_way.remove(&number);
                received += u64::from(own);
                assert_eq!(window.arrived(number) == Arrival::Own, own, "step {step}, frame {number}");
            }
            assert_eq!(usize::from(window.under_way()), under_way.len(), "step {step}");
        }
        assert_eq!((window.next(), window.received(), window.lost()), (sent, received, lost));
        assert!(received > 1000 && lost > 0);
    }
}
