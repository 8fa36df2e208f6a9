//! Whether devices can be given to new pods: with a hold-down, so that a restart of the switch is not seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One thing that is well until it has failed for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    failing_since: Option<Instant>,
}

impl Held {
    fn observe(&mut self, well: bool, now: Instant, hold_down: Duration) -> bool {
        if well {
            self.failing_since = None;
            return true;
        }
        now.duration_since(*self.failing_since.get_or_insert(now)) < hold_down
    }
}

/// The health of devices by NUMA node.
#[derive(Debug)]
pub(super) struct Health {
    hold_down: Duration,
    nodes: BTreeMap<u32, Held>,
}

impl Health {
    /// Nodes that count as well until they have been looked at.
    pub(super) fn new(hold_down: Duration, nodes: &[u32]) -> Self {
        Self { hold_down, nodes: nodes.iter().map(|&node| (node, Held::default())).collect() }
    }

    /// Takes in one look: `well` says which nodes can serve. Nodes never vanish.
    pub(super) fn observe(&mut self, now: Instant, well: impl Fn(u32) -> bool) -> BTreeMap<u32, bool> {
        let hold_down = self.hold_down;
        self.nodes.iter_mut().map(|(&node, held)| (node, held.observe(well(node), now, hold_down))).collect()
    }

    /// A node that has devices from now on.
    pub(super) fn add(&mut self, node: u32) {
        self.nodes.entry(node).or_default();
    }

    /// The nodes, sorted.
    pub(super) fn nodes(&self) -> Vec<u32> {
        self.nodes.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    #[test]
    fn a_failure_counts_when_it_lasts_and_ends_at_once() {
        let mut health = Health::new(HOLD, &[0]);
        let start = Instant::now();
        let mut at = |seconds, well| health.observe(start + Duration::from_secs(seconds), |_| well)[&0];
        assert!(at(0, true));
        assert!(at(5, false));
        assert!(at(34, false), "29 seconds");
        assert!(!at(35, false), "30 seconds");
        assert!(at(36, true), "at once");
        assert!(at(40, false), "counted anew");
        assert!(at(60, true));
        assert!(at(69, false));
        assert!(at(70, false));
    }

    #[test]
    fn nodes_fail_each_for_itself_and_stay() {
        let mut health = Health::new(HOLD, &[1]);
        health.add(0);
        let start = Instant::now();
        health.observe(start, |node| node == 0);
        let seen = health.observe(start + HOLD, |node| node == 0);
        assert_eq!(seen, BTreeMap::from([(0, true), (1, false)]));
        assert_eq!(health.nodes(), [0, 1]);
    }
}
