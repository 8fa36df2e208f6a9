//! What was measured, as a table for people, JSON for programs and plots.
//!
//! A [`Figure`] is one quantity of one switch with the value of every round. A [`Row`] compares two of them, or holds
//! one against a bound. Rounds of all switches alternate, so a ratio is taken within each round and the median of
//! those is reported: what slows the machine for a while slows both sides of a ratio. What was not measured stays
//! empty on the whole way: never zero, never left out. Filled by the plan of the benchmark ([`crate::bench`]).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machine::Machine;

pub mod json;
pub mod svg;
pub mod table;

/// A spread (interquartile range over median) above this many percent is called noisy.
pub const NOISY_PERCENT: f64 = 10.0;

/// One quantity of one switch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// The switch, as [`crate::peers::Peer::name`] has it.
    pub switch: String,
    /// What it is, for programs: `v2v_64`.
    pub key: String,
    /// Its unit: `Mframes/s`, `cycles/frame`, `us`, `MB`, `frames`.
    pub unit: String,
    /// A value a round; empty where a round failed.
    pub rounds: Vec<Option<f64>>,
    /// Median of the rounds there are.
    pub median: Option<f64>,
    /// Around it.
    pub spread: Option<Spread>,
    /// Why rounds are empty, or what else is to be known.
    pub note: String,
}

impl Figure {
    /// A figure without rounds.
    #[must_use]
    pub fn new(switch: &str, key: &str, unit: &str) -> Self {
        Self { switch: switch.into(), key: key.into(), unit: unit.into(), ..Self::default() }
    }

    /// Adds the value of a round.
    pub fn push(&mut self, value: Option<f64>) {
        self.rounds.push(value.filter(|value| value.is_finite()));
        let values = present(&self.rounds);
        self.median = median(&values);
        self.spread = Spread::of(&values);
    }
}

/// How far values lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// The middle half of them, in percent of the median; 0 for a single value or a median of 0.
    pub iqr_percent: f64,
}

impl Spread {
    /// Of these values; `None` without any.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sort(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = quantile(&sorted, 0.5);
        let half = quantile(&sorted, 0.75) - quantile(&sorted, 0.25);
        let iqr_percent = if middle == 0.0 { 0.0 } else { 100.0 * half / middle.abs() };
        Some(Self { min, max, iqr_percent })
    }

    /// Whether it makes the value doubtful.
    #[must_use]
    pub fn noisy(self) -> bool {
        self.iqr_percent > NOISY_PERCENT
    }
}

/// The median; `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| quantile(&sort(values), 0.5))
}

fn sort(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Between the neighbouring values, where the quantile falls between two.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn present(rounds: &[Option<f64>]) -> Vec<f64> {
    rounds.iter().flatten().copied().collect()
}

/// What a row must reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Bound {
    /// Whether `value` reaches it.
    #[must_use]
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// What the `ratios` of every result hold, and what they must reach.
pub const TARGETS: [(&str, &str, Bound); 13] = [
    ("v2v_64_vs_testpmd_io", "64 B against testpmd io-forward", Bound::AtLeast(1.4)),
    ("v2v_64_vs_ovs", "64 B against OVS-DPDK NORMAL", Bound::AtLeast(2.0)),
    ("v2v_1500_vs_testpmd_io", "1,500 B against testpmd io-forward", Bound::AtLeast(1.3)),
    ("v2v_1500_vs_ovs", "1,500 B against OVS-DPDK NORMAL", Bound::AtLeast(1.6)),
    ("onecopy_1500_vs_twocopy", "1,500 B, one copy against two", Bound::AtLeast(1.15)),
    ("onecopy_9000_vs_twocopy", "9,000 B, one copy against two", Bound::AtLeast(1.3)),
    ("flows_1m_vs_1", "1 M flows, 100 k MACs against 1 and 2", Bound::AtLeast(0.9)),
    ("ports_64_vs_2", "cycles a frame, 2 ports over 64", Bound::AtLeast(0.8)),
    ("reconfig_lost_frames", "frames lost while others come and go", Bound::AtMost(0.0)),
    ("p99_50_vs_ovs", "p99 latency at 50 % load against OVS", Bound::AtMost(0.7)),
    ("p999_50_vs_ovs", "p99.9 latency at 50 % load against OVS", Bound::AtMost(0.5)),
    ("empty_switch_mb", "memory of an empty switch, MB", Bound::AtMost(128.0)),
    ("port_mb", "memory of an idle port, MB", Bound::AtMost(10.0)),
];

/// One row of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// For programs. Those of [`TARGETS`] are in `ratios` too.
    pub key: String,
    /// For people.
    pub what: String,
    /// Unit of `ours` and `peers`.
    pub unit: String,
    /// Median of ours.
    pub ours: Option<f64>,
    /// Median of what it is compared with; empty too where there is nothing to compare with.
    pub peers: Option<f64>,
    /// The ratio (median over the rounds), or the figure itself.
    pub value: Option<f64>,
    /// What it must reach, if anything.
    pub bound: Option<Bound>,
    /// Whether it does; empty: not measured, or nothing to reach.
    pub met: Option<bool>,
    /// Of `value`.
    pub rounds: Vec<Option<f64>>,
    /// Of `value`.
    pub spread: Option<Spread>,
    /// The spread is above the limit.
    pub noisy: bool,
    /// `value` is a ratio of two switches or two settings.
    pub compared: bool,
    /// Instruction sets, ours and theirs.
    pub sets: (String, String),
    /// Why `value` is empty, or what else is to be known.
    pub note: String,
}

impl Row {
    /// An empty row; what it must reach is looked up.
    #[must_use]
    pub fn new(key: &str, what: &str) -> Self {
        let target = TARGETS.iter().find(|target| target.0 == key);
        let what = target.map_or(what, |target| target.1);
        Self { key: key.into(), what: what.into(), bound: target.map(|target| target.2), ..Self::default() }
    }

    /// Ours over theirs, round by round.
    #[must_use]
    pub fn ratio(mut self, ours: Option<&Figure>, theirs: Option<&Figure>) -> Self {
        self.compared = true;
        self.unit = ours.or(theirs).map_or_else(String::new, |figure| figure.unit.clone());
        self.ours = ours.and_then(|figure| figure.median);
        self.peers = theirs.and_then(|figure| figure.median);
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let pairs = ours.rounds.iter().zip(&theirs.rounds);
            let divide = |(a, b): (&Option<f64>, &Option<f64>)| Some((*a)? / b.filter(|b| *b != 0.0)?);
            self.rounds = pairs.map(divide).collect();
        }
        for (figure, side) in [(ours, "ours"), (theirs, "theirs")] {
            match figure {
                None => self.remark(&format!("{side} was not measured")),
                Some(figure) if !figure.note.is_empty() => self.remark(&figure.note.clone()),
                Some(_) => {}
            }
        }
        let values = present(&self.rounds);
        self.value = median(&values);
        self.judged(&values)
    }

    /// One figure, by its median.
    #[must_use]
    pub fn figure(self, figure: Option<&Figure>) -> Self {
        self.one(figure, median)
    }

    /// One figure, by the worst that was seen: where a single failure counts.
    #[must_use]
    pub fn worst(self, figure: Option<&Figure>) -> Self {
        let least = matches!(self.bound, Some(Bound::AtLeast(_)));
        self.one(figure, |values| {
            let pick = if least { f64::min } else { f64::max };
            values.iter().copied().reduce(pick)
        })
    }

    /// Adds a remark.
    pub fn remark(&mut self, text: &str) {
        if !text.is_empty() && !self.note.contains(text) {
            let separator = if self.note.is_empty() { "" } else { "; " };
            self.note = format!("{}{separator}{text}", self.note);
        }
    }

    /// Empties it: the value was measured and must not be used.
    #[must_use]
    pub fn void(mut self, why: &str) -> Self {
        (self.value, self.met) = (None, None);
        self.remark(why);
        self
    }

    fn one(mut self, figure: Option<&Figure>, pick: impl Fn(&[f64]) -> Option<f64>) -> Self {
        let Some(figure) = figure else {
            self.remark("not measured");
            return self;
        };
        self.unit.clone_from(&figure.unit);
        self.rounds.clone_from(&figure.rounds);
        self.remark(&figure.note);
        let values = present(&self.rounds);
        self.value = pick(&values);
        self.ours = self.value;
        self.judged(&values)
    }

    fn judged(mut self, values: &[f64]) -> Self {
        self.spread = Spread::of(values);
        self.noisy = self.spread.is_some_and(Spread::noisy);
        self.met = self.value.zip(self.bound).map(|(value, bound)| bound.met(value));
        self
    }
}

/// What is known of a switch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SwitchFacts {
    /// Its own words.
    pub version: String,
    /// Instruction set of its data path.
    pub instruction_set: String,
    /// How it was started.
    pub commands: Vec<String>,
    /// Why it was not measured, or not in every round.
    pub failures: Vec<String>,
}

/// Points of one line of a plot: x, y.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curve {
    /// Which plot it belongs to: `rate_by_size`, `rate_by_flows`, `latency`, ….
    pub plot: String,
    /// The line's name.
    pub name: String,
    /// A point each; a y that was not measured is not there.
    pub points: Vec<(f64, f64)>,
}

/// A whole result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Of this JSON; a change that breaks readers changes it.
    pub schema: u32,
    /// When it began, UTC, as `2026-01-31T12-00-00Z`.
    pub begun: String,
    /// How long it took.
    pub seconds: f64,
    /// Shortened: fewer rounds, shorter windows; an indication only.
    pub quick: bool,
    /// The figures that count, by the keys of [`TARGETS`]; null: not measured.
    pub ratios: BTreeMap<String, Option<f64>>,
    /// What each must reach.
    pub targets: BTreeMap<String, Bound>,
    /// The table.
    pub rows: Vec<Row>,
    /// By name.
    pub switches: BTreeMap<String, SwitchFacts>,
    /// Every value of every round.
    pub figures: Vec<Figure>,
    /// What was plotted.
    pub curves: Vec<Curve>,
    /// Rings, bursts, windows and the like.
    pub settings: BTreeMap<String, String>,
    /// What it was measured on.
    pub machine: Machine,
    /// What a reader must know, one sentence each.
    pub notes: Vec<String>,
    /// The command line of the benchmark.
    pub command: String,
}

impl Report {
    /// An empty one, all ratios there and empty.
    #[must_use]
    pub fn new(machine: Machine, begun: String) -> Self {
        Self {
            schema: 1,
            begun,
            ratios: TARGETS.iter().map(|target| (target.0.into(), None)).collect(),
            targets: TARGETS.iter().map(|target| (target.0.into(), target.2)).collect(),
            machine,
            ..Self::default()
        }
    }

    /// The figure of a switch, made if it is new.
    pub fn record(&mut self, switch: &str, key: &str, unit: &str) -> &mut Figure {
        let known = self.figures.iter().position(|figure| figure.switch == switch && figure.key == key);
        let place = known.unwrap_or_else(|| {
            self.figures.push(Figure::new(switch, key, unit));
            self.figures.len() - 1
        });
        &mut self.figures[place]
    }

    /// The figure of a switch, if there is one.
    #[must_use]
    pub fn find(&self, switch: &str, key: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.switch == switch && figure.key == key)
    }

    /// Adds a row, and its value to the ratios if it is one of those.
    pub fn add(&mut self, row: Row) {
        if let Some(ratio) = self.ratios.get_mut(&row.key) {
            *ratio = row.value;
        }
        self.rows.push(row);
    }

    /// The instruction set of a switch, as far as it is known.
    #[must_use]
    pub fn set_of(&self, switch: &str) -> String {
        self.switches.get(switch).map_or_else(String::new, |facts| facts.instruction_set.clone())
    }

    /// Says something that a reader must know, once.
    pub fn say(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests;
