//! The search on simulated switches.

use std::convert::Infallible;

use super::*;

/// A switch that delivers up to `limit` frames a second, and in some trials loses a little for no fault of its own.
struct Simulated {
    limit: f64,
    /// One trial of so many is disturbed; 0: none.
    disturbed_of: u64,
    /// Share lost in every trial whatever the rate.
    always: f64,
    random: u64,
    tried: Vec<f64>,
}

impl Simulated {
    fn new(limit: f64) -> Self {
        Self { limit, disturbed_of: 0, always: 0.0, random: 1, tried: Vec::new() }
    }

    fn draw(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }
}

impl Trial for Simulated {
    type Error = Infallible;

    fn run(&mut self, rate: f64, _: Duration) -> Result<Tried, Infallible> {
        self.tried.push(rate);
        let mut loss = (1.0 - self.limit / rate).max(self.always);
        if self.disturbed_of > 0 && self.draw().is_multiple_of(self.disturbed_of) {
            loss = loss.max(0.0) + 0.02;
        }
        Ok(Tried { loss, delivered: rate * (1.0 - loss) })
    }
}

fn settings() -> Settings {
    Settings::new(25e6)
}

fn found(switch: &mut Simulated, settings: &Settings) -> Searched {
    let Ok(found) = search(switch, settings, &NDR_AND_PDR);
    found
}

#[track_caller]
fn near(found: Found, limit: f64) {
    let rate = found.rate.expect("a rate was found");
    assert!(found.sure, "{found:?}");
    assert!(rate <= limit * (1.0 + 1e-9), "{found:?} is above {limit}");
    assert!(rate * 1.0051 >= limit, "{found:?} is more than 0.5 % below {limit}");
}

#[test]
fn a_sharp_limit_is_found_within_the_width_in_few_trials() {
    for limit in [12.34e6, 24.9e6, 1.7e6, 0.6e6] {
        let mut switch = Simulated::new(limit);
        let searched = found(&mut switch, &settings());
        near(searched.found[0], limit);
        near(searched.found[1], limit / 0.995);
        assert_eq!(searched.trials, switch.tried.len());
        assert!(searched.trials <= 20, "{limit}: {} trials", searched.trials);
    }
}

#[test]
fn transients_do_not_lower_the_limit() {
    for seed in 1..200 {
        let mut switch = Simulated { disturbed_of: 8, random: seed, ..Simulated::new(10e6) };
        let searched = found(&mut switch, &settings());
        let rate = searched.found[0].rate.unwrap();
        // Two of three trials of one load can be disturbed by chance: 4 % of them at one in eight.
        assert!(rate <= 10e6, "seed {seed}: {searched:?}");
        assert!(rate > 6e6, "seed {seed}: {searched:?}");
        assert!(searched.trials <= 60);
    }
    let near = (1..200)
        .filter(|&seed| {
            let mut switch = Simulated { disturbed_of: 8, random: seed, ..Simulated::new(10e6) };
            found(&mut switch, &settings()).found[0].rate.unwrap() > 9.9e6
        })
        .count();
    assert!(near > 140, "within 1 % of the limit in {near} of 199 searches");
}

#[test]
fn a_rate_is_not_reported_on_one_lucky_trial() {
    /// Passes the first trial of a load and loses in all others.
    struct Lucky(Vec<f64>);
    impl Trial for Lucky {
        type Error = Infallible;
        fn run(&mut self, rate: f64, _: Duration) -> Result<Tried, Infallible> {
            let again = self.0.contains(&rate);
            self.0.push(rate);
            let loss = if again && rate > 1e6 { 0.01 } else { 0.0 };
            Ok(Tried { loss, delivered: rate * (1.0 - loss) })
        }
    }
    let Ok(searched) = search(&mut Lucky(Vec::new()), &Settings { trials: 400, ..settings() }, &[0.0]);
    let found = searched.found[0];
    assert!(found.rate.is_none_or(|rate| rate <= 1e6) || !found.sure, "{searched:?}");
}

#[test]
fn a_switch_that_loses_nothing_is_found_at_the_highest_rate() {
    let mut switch = Simulated::new(100e6);
    let searched = found(&mut switch, &settings());
    for found in searched.found {
        assert_eq!(found, Found { goal: found.goal, rate: Some(25e6), above: None, sure: true });
    }
    assert_eq!(searched.trials, 2, "one trial, and its confirmation");
}

#[test]
fn a_switch_that_always_loses_has_no_rate() {
    let mut switch = Simulated { always: 0.001, ..Simulated::new(10e6) };
    let searched = found(&mut switch, &settings());
    assert_eq!(searched.found[0].rate, None, "{searched:?}");
    near(searched.found[1], 10e6 / 0.995);
    assert!(searched.trials <= 50, "{searched:?}");

    let mut dead = Simulated { always: 1.0, ..Simulated::new(10e6) };
    let searched = found(&mut dead, &settings());
    assert!(searched.found.iter().all(|found| found.rate.is_none()), "{searched:?}");
    assert!(searched.trials <= 20, "{searched:?}");
}

#[test]
fn trials_that_run_out_leave_a_result_that_says_so() {
    let mut switch = Simulated::new(12.34e6);
    let searched = found(&mut switch, &Settings { trials: 4, ..settings() });
    assert_eq!(switch.tried.len(), 4);
    assert!(!searched.found[0].sure);
    assert!(searched.found[0].rate.is_none_or(|rate| rate <= 12.34e6));
}

#[test]
fn an_error_ends_the_search() {
    struct Broken;
    impl Trial for Broken {
        type Error = &'static str;
        fn run(&mut self, _: f64, _: Duration) -> Result<Tried, &'static str> {
            Err("the switch has died")
        }
    }
    assert_eq!(search(&mut Broken, &settings(), &NDR_AND_PDR), Err("the switch has died"));
}
