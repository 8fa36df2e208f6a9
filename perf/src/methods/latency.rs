//! Latency at shares of a rate without loss, beside what the machine itself adds.
//!
//! The hiccup meter runs on the load CPU and the switch's CPU right before and right after each load, while the switch
//! is stopped (SIGSTOP): beside a thread that polls it would measure the scheduler. A percentile is empty when the
//! meter's own figure at that percentile exceeds a quarter of it: then it says more of the machine than of the switch.

use std::time::Duration;

use super::MethodError;
use crate::hiccup::{self, Hiccups};
use crate::load::{self, Load, Outcome, Pace};
use crate::peers::{Cpus, Switch};
use crate::pod::Pod;

/// The percentiles, as shares.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// Names of [`QUANTILES`].
pub const QUANTILE_NAMES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "p99.99"];

/// The shares of the rate without loss.
pub const SHARES: [f64; 3] = [0.1, 0.5, 0.9];

/// How long the meter runs before and after each load.
const METERED: Duration = Duration::from_millis(300);

/// One percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile {
    /// As a share.
    pub quantile: f64,
    /// As measured, ns.
    pub measured_ns: f64,
    /// What the hiccup meter says of the worse CPU, ns.
    pub hiccup_ns: f64,
}

impl Percentile {
    /// The percentile, ns; empty when the machine's own part is too large.
    #[must_use]
    pub fn trusted_ns(self) -> Option<f64> {
        (self.measured_ns > 0.0 && self.hiccup_ns <= self.measured_ns / 4.0).then_some(self.measured_ns)
    }
}

/// Latency at one rate.
#[derive(Clone, Debug)]
pub struct LatencyPoint {
    /// Share of the rate without loss.
    pub share: f64,
    /// Frames per second, all streams together.
    pub rate: f64,
    /// One of each of [`QUANTILES`].
    pub percentiles: Vec<Percentile>,
    /// What the meters saw, before and after, on each CPU.
    pub hiccups: Vec<Hiccups>,
    /// All else. A load that lost frames, or fell short of its pace, measured something else than its rate.
    pub outcome: Outcome,
}

/// Latency at `share` of `rate` frames per second. The streams of `load` carry stamps; its pace is replaced.
///
/// # Errors
/// If the meters could not run, or no frame came through.
pub fn latency(
    switch: &dyn Switch,
    pods: &mut [Pod],
    load: &Load<'_>,
    (share, rate): (f64, f64),
    cpus: &Cpus,
) -> Result<LatencyPoint, MethodError> {
    let rate = rate * share;
    let load = Load { pace: Pace::Rate(rate), ..load.clone() };
    let mut hiccups = meter(switch, cpus)?;
    let outcome = load::run(pods, &load);
    hiccups.extend(meter(switch, cpus)?);
    let Some(histogram) = outcome.latency.as_ref().filter(|histogram| !histogram.is_empty()) else {
        return Err(MethodError::Silent { what: "stamped frames", seconds: outcome.seconds });
    };
    let percentile = |quantile: f64| Percentile {
        quantile,
        measured_ns: histogram.value_at_quantile(quantile) as f64,
        hiccup_ns: hiccups.iter().map(|seen| seen.felt_ns(quantile)).max().unwrap_or(0) as f64,
    };
    let percentiles = QUANTILES.map(percentile).to_vec();
    Ok(LatencyPoint { share, rate, percentiles, hiccups, outcome })
}

/// Both CPUs while the switch is stopped; the load CPU alone where the switch is not ours to stop.
fn meter(switch: &dyn Switch, cpus: &Cpus) -> Result<Vec<Hiccups>, MethodError> {
    let stopped = switch.pid().and_then(Stopped::new);
    let cpus = if stopped.is_some() { vec![cpus.load, cpus.switch] } else { vec![cpus.load] };
    hiccup::measure(&cpus, METERED).map_err(|source| MethodError::Hiccups { cpus, source })
}

/// A process that is stopped for as long as this lives.
struct Stopped(rustix::process::Pid);

impl Stopped {
    fn new(pid: u32) -> Option<Self> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).ok()?;
        Some(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It fails only if the process has died meanwhile, which the next call to the switch will say.
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_that_the_machine_made_is_empty() {
        let percentile = |measured_ns, hiccup_ns| Percentile { quantile: 0.99, measured_ns, hiccup_ns };
        assert_eq!(percentile(40_000.0, 10_000.0).trusted_ns(), Some(40_000.0));
        assert_eq!(percentile(40_000.0, 10_001.0).trusted_ns(), None);
        assert_eq!(percentile(40_000.0, 0.0).trusted_ns(), Some(40_000.0));
        assert_eq!(percentile(0.0, 0.0).trusted_ns(), None, "nothing was measured");
    }

    #[test]
    fn a_process_is_stopped_while_the_meter_runs() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            stat.rsplit_once(')').unwrap().1.trim().chars().next().unwrap()
        };
        let until = |wanted: char| {
            (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(2));
                state() == wanted
            })
        };
        let stopped = Stopped::new(child.id()).unwrap();
        assert!(until('T'));
        drop(stopped);
        assert!(until('S'));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
