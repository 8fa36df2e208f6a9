//! The highest rates at which nothing, and at which no more than a little, is lost: NDR and PDR in one search.
//!
//! A bisection over trials of one fixed length with loss verification (ETSI GS NFV-TST 009, "binary search with loss
//! verification"): a trial that loses frames is repeated, and a load fails only if the majority of its trials do, so
//! that one hiccup of the machine is not taken for the switch's limit. As in MLRsearch (draft-ietf-bmwg-mlrsearch)
//! every trial serves every goal, the second trial runs at what the first one delivered, and bounds widen in doubling
//! steps from there. The rate that is reported has itself passed by majority. Pure logic over [`Trial`]; it runs on
//! the thread that calls it.

use std::time::Duration;

mod offered;

pub use offered::Offered;

/// What a rate is tried on.
pub trait Trial {
    /// Why no trial could be made.
    type Error;

    /// Offers `rate` frames per second (all streams together) for `length`, and says what came of it.
    ///
    /// # Errors
    /// When no result could be had. That ends the search.
    fn run(&mut self, rate: f64, length: Duration) -> Result<Tried, Self::Error>;
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Share of the frames due that were not delivered, 0 to 1: lost in the switch, or never taken from a full ring.
    pub loss: f64,
    /// Frames delivered per second.
    pub delivered: f64,
}

/// How to search.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Highest rate to try, frames per second: more than the switch or the generator can do, or the line rate.
    pub most: f64,
    /// Below this share of `most` nothing is tried any more.
    pub floor: f64,
    /// The bounds of a result are no further apart than this share.
    pub width: f64,
    /// Length of a trial.
    pub trial: Duration,
    /// Most trials of one load; odd, so that there is a majority.
    pub verify: usize,
    /// Most trials in all. A search that needs more says so.
    pub trials: usize,
}

impl Settings {
    /// 0.5 % wide, trials of a second.
    #[must_use]
    pub fn new(most: f64) -> Self {
        Self { most, floor: 0.01, width: 0.005, trial: Duration::from_secs(1), verify: 3, trials: 60 }
    }

    /// 2 % wide, trials of a fifth of a second.
    #[must_use]
    pub fn quick(most: f64) -> Self {
        Self { width: 0.02, trial: Duration::from_millis(200), trials: 30, ..Self::new(most) }
    }
}

/// What was found for one goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The goal: largest share of frames that may be lost.
    pub goal: f64,
    /// Highest rate that passed by majority, frames per second; none if no rate did.
    pub rate: Option<f64>,
    /// Lowest rate that failed; none if the highest rate of all passed.
    pub above: Option<f64>,
    /// The bounds are as near as asked for, and `rate` was confirmed. `false`: the trials ran out.
    pub sure: bool,
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Searched {
    /// One a goal, in the order asked for.
    pub found: Vec<Found>,
    /// Trials made.
    pub trials: usize,
}

/// A trial that loses this much more than the goal is no hiccup, and is not repeated.
const HOPELESS: f64 = 0.1;

/// How much faster a bound is looked for with each trial that did not find one.
const GROWTH: f64 = 3.0;

/// Goals of [`search`] for NDR and PDR.
pub const NDR_AND_PDR: [f64; 2] = [0.0, 0.005];

/// Finds the highest rate for each goal (largest share of loss, ascending).
///
/// # Errors
/// The first error of a trial.
pub fn search<T: Trial>(trial: &mut T, settings: &Settings, goals: &[f64]) -> Result<Searched, T::Error> {
    let mut table = Table { settings, loads: Vec::new(), trials: 0 };
    let first = table.run(trial, settings.most)?;
    if goals.iter().any(|&goal| first.loss > goal) && first.delivered > settings.most * settings.floor {
        table.run(trial, first.delivered.min(settings.most / (1.0 + settings.width)))?;
    }
    // From the laxest goal down: its bounds are near those of the next.
    let mut found = Vec::new();
    for &goal in goals.iter().rev() {
        found.push(table.settle(trial, goal)?);
    }
    found.reverse();
    Ok(Searched { found, trials: table.trials })
}

/// All trials so far.
struct Table<'a> {
    settings: &'a Settings,
    /// By rate, ascending.
    loads: Vec<Load>,
    trials: usize,
}

/// The trials of one rate.
struct Load {
    rate: f64,
    tried: Vec<Tried>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    /// As many trials passed as failed, or none was made.
    Open,
}

impl Load {
    fn verdict(&self, goal: f64) -> Verdict {
        if self.tried.iter().any(|t| t.loss > goal + HOPELESS) {
            return Verdict::Fail;
        }
        let failed = self.failed(goal);
        match failed.cmp(&(self.tried.len() - failed)) {
            std::cmp::Ordering::Less => Verdict::Pass,
            std::cmp::Ordering::Equal => Verdict::Open,
            std::cmp::Ordering::Greater => Verdict::Fail,
        }
    }

    /// Further trials cannot turn the verdict.
    fn is_settled(&self, goal: f64, verify: usize) -> bool {
        let failed = self.failed(goal);
        let most = failed.max(self.tried.len() - failed);
        2 * most > verify || self.tried.iter().any(|t| t.loss > goal + HOPELESS)
    }

    fn failed(&self, goal: f64) -> usize {
        self.tried.iter().filter(|t| t.loss > goal).count()
    }
}

/// What to do next for a goal.
enum Next {
    Try(f64),
    Done,
}

impl Table<'_> {
    fn run<T: Trial>(&mut self, trial: &mut T, rate: f64) -> Result<Tried, T::Error> {
        let tried = trial.run(rate, self.settings.trial)?;
        self.trials += 1;
        let at = self.loads.partition_point(|load| load.rate < rate);
        match self.loads.get_mut(at) {
            Some(load) if load.rate <= rate => load.tried.push(tried),
            _ => self.loads.insert(at, Load { rate, tried: vec![tried] }),
        }
        Ok(tried)
    }

    fn settle<T: Trial>(&mut self, trial: &mut T, goal: f64) -> Result<Found, T::Error> {
        let mut step = 1.0;
        while self.trials < self.settings.trials {
            let rate = match self.next(goal, &mut step) {
                Next::Try(rate) => rate,
                Next::Done => return Ok(self.found(goal, true)),
            };
            self.run(trial, rate)?;
        }
        let sure = matches!(self.next(goal, &mut step), Next::Done);
        Ok(self.found(goal, sure))
    }

    /// Lowest load that failed, and highest that passed below it.
    fn bounds(&self, goal: f64) -> (Option<&Load>, Option<&Load>) {
        let failed = self.loads.iter().position(|load| load.verdict(goal) == Verdict::Fail);
        let below = &self.loads[..failed.unwrap_or(self.loads.len())];
        let passed = below.iter().rev().find(|load| load.verdict(goal) == Verdict::Pass);
        (passed, failed.map(|at| &self.loads[at]))
    }

    fn found(&self, goal: f64, sure: bool) -> Found {
        let (passed, failed) = self.bounds(goal);
        Found { goal, rate: passed.map(|load| load.rate), above: failed.map(|load| load.rate), sure }
    }

    /// `step` is how many widths the next bound is looked for away from the last one, while only one is near.
    fn next(&self, goal: f64, step: &mut f64) -> Next {
        let Settings { most, floor, width, verify, .. } = *self.settings;
        let (passed, failed) = self.bounds(goal);
        let undecided = |load: &&Load| {
            load.verdict(goal) == Verdict::Open
                && passed.is_none_or(|p| load.rate > p.rate)
                && failed.is_none_or(|f| load.rate < f.rate)
        };
        if let Some(open) = self.loads.iter().find(undecided) {
            return Next::Try(open.rate);
        }
        // Loss is verified at once, a pass when it is about to be the result.
        if let Some(failed) = failed.filter(|load| !load.is_settled(goal, verify)) {
            return Next::Try(failed.rate);
        }
        let stride = 1.0 + width * *step;
        match (passed, failed) {
            (Some(passed), failed) if failed.map_or(most, |f| f.rate) <= passed.rate * (1.0 + width) => {
                if passed.is_settled(goal, verify) {
                    Next::Done
                } else {
                    Next::Try(passed.rate)
                }
            }
            (Some(passed), failed) => {
                let top = failed.map_or(most, |load| load.rate);
                let middle = (passed.rate * top).sqrt();
                *step *= GROWTH;
                // Near the bound that was found last, in growing steps, until the middle is nearer.
                Next::Try(middle.min(passed.rate * stride).max(passed.rate * (1.0 + width / 2.0)))
            }
            (None, Some(failed)) => {
                let lower = (failed.rate / stride).max(failed.rate / 2.0);
                *step *= GROWTH;
                if lower < most * floor { Next::Done } else { Next::Try(lower) }
            }
            (None, None) => Next::Try(most),
        }
    }
}

#[cfg(test)]
mod tests;
