//! Rates without loss, and latency at shares of them, of podswitch and OVS in turn.

use std::time::{Duration, Instant};

use super::quiet::{DELAYED, DISTURBED, TRIES, calmest};
use super::throughput::RATE;
use super::{Bench, Extent, OURS, OVS};
use crate::distance::Usual;
use crate::load::{Load, Stream};
use crate::methods::MethodError;
use crate::methods::bed::{Bed, BedPlan, PairTables};
use crate::methods::latency::{LatencyPoint, Percentile, QUANTILES, SHARES, latency};
use crate::methods::search::{NDR_AND_PDR, Offered, Searched, Settings, Trial, Tried, search};
use crate::report::Curve;
use crate::traffic::{Size, TrafficSpec};

const SWITCHES: [&str; 2] = [OURS, OVS];
/// As in keys: [`QUANTILES`].
const NAMES: [&str; 5] = ["p50", "p90", "p99", "p999", "p9999"];
/// A trial of a full run; more of them tell more than longer ones.
const TRIAL: Duration = Duration::from_millis(500);
/// Time in which a search makes disturbed trials again; twice as long in a full run.
const REPEATED: Duration = Duration::from_secs(6);
/// Above this share of lost or late frames the load was not what it should be.
const STRAYED: f64 = 0.01;

impl Bench {
    /// NDR and PDR, then latency.
    pub(super) fn delay(&mut self) {
        self.progress.phase("rates without loss");
        let plan = BedPlan { longest_frame: 1518, ..BedPlan::pairs(2) };
        for round in 0..self.plan.searches {
            for name in SWITCHES {
                self.progress.step(&format!("search {} of {}, {name}", round + 1, self.plan.searches));
                let found = self.place(name).and_then(|place| self.open(place, &plan)).and_then(|mut bed| {
                    let most = self.report.find(name, "v2v_64").and_then(|figure| figure.median);
                    let found = find(&mut bed, most.map(|rate| rate * 1.1e6), self.plan.extent, self.usual);
                    bed.switch.stop();
                    self.keep(name, found)
                });
                for (goal, key) in ["ndr_64", "pdr_64"].into_iter().enumerate() {
                    let found = found.as_ref().map(|searched| searched.found[goal]);
                    let figure = self.report.record(name, key, RATE);
                    figure.push(found.and_then(|found| found.rate).map(|rate| rate / 1e6));
                    if found.is_some_and(|found| !found.sure) {
                        figure.note = "a search ran out of trials".into();
                    }
                }
            }
        }
        self.progress.phase("latency");
        for round in 0..self.plan.rounds {
            for name in SWITCHES {
                self.progress.step(&format!("round {} of {}, {name}", round + 1, self.plan.rounds));
                let rate = self.report.find(name, "ndr_64").and_then(|figure| figure.median);
                let bed = rate.and_then(|_| self.open(self.place(name)?, &plan));
                let points = bed.zip(rate).map(|(mut bed, rate)| {
                    let points = SHARES.map(|share| self.point(&mut bed, (share, rate * 1e6)));
                    bed.switch.stop();
                    points.map(|point| self.keep(name, point))
                });
                for (place, share) in SHARES.into_iter().enumerate() {
                    let point = points.as_ref().and_then(|points| points[place].as_ref());
                    self.record_point(name, share, point);
                }
            }
        }
        self.draw_latency();
    }

    fn point(&mut self, bed: &mut Bed, at: (f64, f64)) -> Result<LatencyPoint, MethodError> {
        let tables = PairTables::new(2, Size::Fixed(64))?;
        let stamped = |stream: &Stream<'_>| TrafficSpec { stamps: true, ..stream.spec.clone() };
        let specs: Vec<TrafficSpec> = tables.streams().iter().map(stamped).collect();
        let streams =
            tables.streams().into_iter().zip(&specs).map(|(stream, spec)| Stream { spec, ..stream });
        let load = Load { window: self.plan.latency_window, ..Load::new(streams.collect()) };
        let (pid, cpus) = (bed.switch.pid(), self.cpus.clone());
        self.quietly(pid, DELAYED, || latency(&*bed.switch, &mut bed.pods, &load, at, &cpus))
    }

    /// What may be trusted, what was measured, and what the machine itself added.
    fn record_point(&mut self, switch: &str, share: f64, point: Option<&LatencyPoint>) {
        let percent = (share * 100.0).round();
        for (place, name) in NAMES.into_iter().enumerate() {
            let percentile = point.map(|point| point.percentiles[place]);
            let values = [
                ("", percentile.and_then(Percentile::trusted_ns)),
                ("measured_", percentile.map(|percentile| percentile.measured_ns)),
                ("hiccup_", percentile.map(|percentile| percentile.hiccup_ns)),
            ];
            for (kind, nanoseconds) in values {
                let key = format!("{kind}{name}_{percent}");
                self.report.record(switch, &key, "us").push(nanoseconds.map(|ns| ns / 1e3));
            }
        }
        let Some(outcome) = point.map(|point| &point.outcome) else { return };
        let lost = outcome.lost as f64 / outcome.sent.max(1) as f64;
        let stray = lost.max(outcome.short_of_pace);
        if stray > STRAYED {
            let text =
                format!("at {percent} % {:.1} % of the frames were lost or not sent in time", 100.0 * stray);
            let figure = self.report.record(switch, &format!("p50_{percent}"), "us");
            figure.note.clone_from(&text);
            self.report.say(format!("{switch}: {text}"));
        }
    }

    fn draw_latency(&mut self) {
        let mut draw = |switch: &str, kind: &str, share: f64, name: String| {
            let percent = (share * 100.0).round();
            let points = QUANTILES.into_iter().zip(NAMES).filter_map(|(quantile, key)| {
                let figure = self.report.find(switch, &format!("{kind}_{key}_{percent}"))?;
                Some((quantile * 100.0, figure.median?))
            });
            let points = points.collect();
            self.report.curves.push(Curve { plot: "latency".into(), name, points });
        };
        for switch in SWITCHES {
            for share in SHARES {
                draw(switch, "measured", share, format!("{switch}, {:.0} %", share * 100.0));
            }
        }
        draw(OURS, "hiccup", 0.5, "the machine alone".into());
    }
}

/// Trials that count only if nothing disturbed them and the CPUs were where they usually are.
struct Placed<'a> {
    offered: Offered<'a>,
    switch: Option<u32>,
    usual: Option<Usual>,
    /// No trial is made again after this.
    until: Instant,
}

impl Trial for Placed<'_> {
    type Error = MethodError;

    fn run(&mut self, rate: f64, length: Duration) -> Result<Tried, MethodError> {
        let tries = if Instant::now() < self.until { TRIES } else { 1 };
        let offered = &mut self.offered;
        calmest(self.switch, (DISTURBED, tries), self.usual, Result::is_err, || offered.run(rate, length))
            .result
    }
}

fn find(
    bed: &mut Bed,
    most: Option<f64>,
    extent: Extent,
    usual: Option<Usual>,
) -> Result<Searched, MethodError> {
    let tables = PairTables::new(2, Size::Fixed(64))?;
    let most = most.unwrap_or(30e6);
    let settings = match extent {
        Extent::Full => Settings { trial: TRIAL, ..Settings::new(most) },
        Extent::Quick => Settings::quick(most),
        Extent::Smoke => Settings { trial: Duration::from_millis(50), trials: 5, ..Settings::quick(most) },
    };
    let switch = bed.switch.pid();
    let until = Instant::now() + REPEATED * if extent == Extent::Full { 2 } else { 1 };
    let offered = Offered { pods: &mut bed.pods, load: tables.load() };
    let mut trial = Placed { offered, switch, usual, until };
    search(&mut trial, &settings, &NDR_AND_PDR)
}
