//! How much is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::peers::Cpus;

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The figures that count: under 15 minutes.
    Full,
    /// An indication: under 3 minutes.
    Quick,
    /// Everything once, as short as can be: shows that it works.
    Smoke,
}

/// Counts and windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which of them.
    pub extent: Extent,
    /// Rounds of what ratios are made of.
    pub rounds: usize,
    /// Of these, rounds with every frame size.
    pub sweeps: usize,
    /// Searches for the rate without loss.
    pub searches: usize,
    /// Restarts of each kind, and reconfigurations.
    pub changes: usize,
    /// A closed loop.
    pub window: Duration,
    /// A closed loop of a sweep.
    pub sweep_window: Duration,
    /// Stamped frames at a steady rate.
    pub latency_window: Duration,
    /// A time of changes.
    pub change_time: Duration,
    /// Frame sizes for the plot, beside 64 and 1,500.
    pub sizes: Vec<u16>,
    /// Numbers of flows for the plot.
    pub flows: Vec<u32>,
    /// Numbers of MAC addresses for the plot.
    pub macs: Vec<u32>,
    /// Numbers of ports for the plot, beside 2 and 64.
    pub ports: Vec<usize>,
    /// Lengths of chains.
    pub chains: Vec<usize>,
    /// Longest time spent on making disturbed measurements again.
    pub repeats: Duration,
    /// After so long, what serves plots alone is left out.
    pub budget: Duration,
}

impl Plan {
    /// The plan for an extent.
    #[must_use]
    pub fn of(extent: Extent) -> Self {
        let ms = Duration::from_millis;
        match extent {
            Extent::Full => Self {
                extent,
                rounds: 5,
                sweeps: 2,
                searches: 3,
                changes: 5,
                window: ms(1000),
                sweep_window: ms(500),
                latency_window: ms(1500),
                change_time: ms(2000),
                sizes: vec![128, 256, 512, 1024, 1518],
                flows: crate::methods::scale::FLOWS.to_vec(),
                macs: crate::methods::scale::MACS.to_vec(),
                ports: vec![4, 8, 16, 128, 256],
                chains: vec![1, 2, 4, 8],
                repeats: Duration::from_secs(240),
                budget: Duration::from_secs(12 * 60),
            },
            Extent::Quick => Self {
                extent,
                rounds: 2,
                sweeps: 1,
                searches: 1,
                changes: 1,
                window: ms(300),
                sweep_window: ms(200),
                latency_window: ms(500),
                change_time: ms(1000),
                sizes: vec![256, 512, 1518],
                flows: vec![1, 10_000, 1_000_000],
                macs: vec![2, 10_000],
                ports: vec![16],
                chains: vec![1, 4],
                repeats: Duration::from_secs(25),
                budget: Duration::from_secs(140),
            },
            Extent::Smoke => Self {
                extent,
                rounds: 1,
                sweeps: 1,
                searches: 1,
                changes: 1,
                window: ms(50),
                sweep_window: ms(50),
                latency_window: ms(100),
                change_time: ms(100),
                sizes: vec![512],
                flows: vec![1, 100],
                macs: vec![2, 100],
                ports: vec![4],
                chains: vec![2],
                repeats: Duration::ZERO,
                budget: Duration::from_secs(600),
            },
        }
    }

    /// What of it a reader of the result must know.
    pub(super) fn settings(&self, cpus: &Cpus, huge: bool) -> BTreeMap<String, String> {
        let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
        let settings = [
            ("rounds", self.rounds.to_string()),
            ("window", seconds(self.window)),
            ("latency window", seconds(self.latency_window)),
            ("load CPU", cpus.load.to_string()),
            ("switch CPU", cpus.switch.to_string()),
            ("rings", "split, 1024 entries; 256 where ports are counted".into()),
            ("burst", "32 frames".into()),
            ("features", "version_1, mrg_rxbuf, indirect_desc, in_order if offered".into()),
            ("pods' memory", if huge { "hugepages of 2 MB" } else { "ordinary pages" }.into()),
            (
                "podswitch",
                "secured ports with declared MACs, learning on, one worker, idle = \"busy\"".into(),
            ),
            (
                "traffic",
                "both ways between two ports, UDP; sender writes and receiver reads the first 64 bytes"
                    .into(),
            ),
            ("ratios", "median over the rounds of the ratio within each round".into()),
            ("spread", "interquartile range in percent of the median".into()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_has_the_rounds_that_its_ratios_need() {
        let plan = Plan::of(Extent::Full);
        assert!(plan.rounds >= 5 && plan.changes >= 5);
        assert!(plan.budget < Duration::from_secs(15 * 60));
        assert!(Plan::of(Extent::Quick).budget < Duration::from_secs(3 * 60));
    }
}
