//! The generator's own limit, and the rates of every switch, round after round.

use std::time::Duration;

use super::quiet::DISTURBED;
use super::{Bench, OURS, TESTPMD, TWO_COPIES};
use crate::load::{self, Load, Stream};
use crate::methods::MethodError;
use crate::methods::bed::{Bed, BedPlan, PairTables};
use crate::methods::saturation::{Saturation, saturation};
use crate::null::{NullConfig, NullDevice, pair};
use crate::peers::StageWork;
use crate::pod::PodConfig;
use crate::report::Curve;
use crate::report::svg::STAGES;
use crate::traffic::{Size, Touch, TrafficSpec};

/// Frames per second.
pub(super) const RATE: &str = "Mframes/s";
/// Busy cycles of the switch.
pub(super) const CYCLES: &str = "cycles/frame";

/// Longest frame of an ordinary pod.
const ORDINARY: u16 = 1518;
/// Longest frame of all.
const JUMBO: u16 = 9000;

/// One closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shot {
    size: Size,
    touch: Touch,
    window: Duration,
}

impl Shot {
    /// What its figures are called.
    fn name(self) -> String {
        let size = match self.size {
            Size::Fixed(bytes) => bytes.to_string(),
            Size::Imix => "imix".into(),
        };
        if self.touch == Touch::Full { format!("{size}_full") } else { size }
    }
}

/// The generator against a device that copies nothing.
struct Limit {
    size: Size,
    window: Duration,
    huge: bool,
}

impl Limit {
    /// Million frames a second; the device runs on `cpu`.
    fn measure(&self, cpu: u32) -> Result<f64, MethodError> {
        let config = PodConfig { frame_room: ORDINARY.into(), huge: self.huge, ..PodConfig::new("") };
        let mut pods = pair(&config)?;
        let device = NullDevice::start(&mut pods, NullConfig::default(), Some(cpu));
        let tables = PairTables::new(2, self.size)?;
        let outcome = load::run(&mut pods, &Load { window: self.window, learn: false, ..tables.load() });
        device.stop().map_err(|source| MethodError::Hiccups { cpus: vec![cpu], source })?;
        Ok(outcome.received as f64 / outcome.seconds / 1e6)
    }
}

impl Bench {
    /// What the generator can do at most, against a device that copies nothing.
    pub(super) fn null(&mut self) {
        self.progress.phase("the generator's own limit");
        for _ in 0..self.plan.rounds.min(3) {
            for size in [64, 1500] {
                let limit = Limit { size: Size::Fixed(size), window: self.plan.window, huge: self.huge };
                let cpu = self.cpus.switch;
                let limit = self.quietly(Some(std::process::id()), DISTURBED, || limit.measure(cpu));
                if let Err(error) = &limit {
                    self.report.say(format!("the generator's own limit was not measured: {error}"));
                }
                self.report.record("null", &format!("v2v_{size}"), RATE).push(limit.ok());
            }
        }
    }

    /// Every switch in turn.
    pub(super) fn rounds(&mut self) {
        self.progress.phase("rates");
        let count = self.contenders.len();
        for round in 0..self.plan.rounds {
            for turn in 0..count {
                let contender = (turn + round) % count;
                let name = self.contenders[contender].peer.name().to_owned();
                self.progress.step(&format!("round {} of {}, {name}", round + 1, self.plan.rounds));
                let sweep = round < self.plan.sweeps;
                self.shoot(contender, ORDINARY, &self.ordinary(sweep));
                let jumbo = [OURS, TWO_COPIES, TESTPMD].contains(&name.as_str());
                if jumbo || sweep {
                    let window = if jumbo { self.plan.window } else { self.plan.sweep_window };
                    let shot = Shot { size: Size::Fixed(JUMBO), touch: Touch::Head, window };
                    self.shoot(contender, JUMBO, &[shot]);
                }
            }
        }
        self.draw_sizes();
    }

    fn ordinary(&self, sweep: bool) -> Vec<Shot> {
        let shot = |size, touch, window| Shot { size, touch, window };
        let mut shots: Vec<Shot> =
            [64, 1500].map(|bytes| shot(Size::Fixed(bytes), Touch::Head, self.plan.window)).into();
        if sweep {
            let window = self.plan.sweep_window;
            let sizes = self.plan.sizes.iter().map(|bytes| Size::Fixed(*bytes)).chain([Size::Imix]);
            shots.extend(sizes.map(|size| shot(size, Touch::Head, window)));
            shots.extend([64, 1500].map(|bytes| shot(Size::Fixed(bytes), Touch::Full, window)));
        }
        shots
    }

    /// Starts the switch once for several loads. Each leaves a value, or an empty one.
    fn shoot(&mut self, contender: usize, longest_frame: u16, shots: &[Shot]) {
        let plan = BedPlan { longest_frame, ..BedPlan::pairs(2) };
        let mut bed = self.open(contender, &plan);
        let name = self.contenders[contender].peer.name().to_owned();
        for shot in shots {
            let result = bed.as_mut().map(|bed| {
                let pid = bed.switch.pid();
                self.quietly(pid, DISTURBED, || fire(bed, *shot))
            });
            let result = result.and_then(|result| self.keep(&name, result));
            let (rate, cycles) = match &result {
                Some((round, _)) => (Some(round.mfps), round.cycles),
                None => (None, None),
            };
            self.report.record(&name, &format!("v2v_{}", shot.name()), RATE).push(rate);
            self.report.record(&name, &format!("cycles_{}", shot.name()), CYCLES).push(cycles);
            for stage in result.map(|(_, stages)| stages).unwrap_or_default() {
                let cycles = (stage.frames > 0).then(|| stage.cycles as f64 / stage.frames as f64);
                let key = format!("stage_{}_{}", stage.name, shot.name());
                self.report.record(&name, &key, CYCLES).push(cycles);
            }
        }
        if let Some(bed) = bed {
            bed.switch.stop();
        }
    }

    fn draw_sizes(&mut self) {
        let names: Vec<String> =
            self.contenders.iter().map(|contender| contender.peer.name().to_owned()).collect();
        for name in &names {
            self.report.draw("rate_by_size", name, name, "v2v_");
        }
        let mut stages: Vec<String> = Vec::new();
        for figure in self.report.figures.iter().filter(|figure| figure.switch == OURS) {
            let stage = figure.key.strip_prefix("stage_").and_then(|rest| rest.split_once('_'));
            if let Some((stage, _)) = stage.filter(|(stage, _)| !stages.iter().any(|known| known == stage)) {
                stages.push(stage.to_owned());
            }
        }
        for stage in stages {
            self.report.draw(STAGES, &stage, OURS, &format!("stage_{stage}_"));
        }
    }
}

impl crate::report::Report {
    /// A curve of the medians of a switch's figures whose key is `prefix` and a number (or `imix`, drawn at 0).
    pub(super) fn draw(&mut self, plot: &str, name: &str, switch: &str, prefix: &str) {
        let number = |key: &str| match key.strip_prefix(prefix)? {
            "imix" => Some(0.0),
            rest => rest.parse::<u32>().ok().map(f64::from),
        };
        let figures = self.figures.iter().filter(|figure| figure.switch == switch);
        let mut points: Vec<(f64, f64)> =
            figures.filter_map(|figure| Some((number(&figure.key)?, figure.median?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.curves.push(Curve { plot: plot.into(), name: name.into(), points });
    }
}

/// One load, and where podswitch's cycles went meanwhile.
fn fire(bed: &mut Bed, shot: Shot) -> Result<(Saturation, Vec<StageWork>), MethodError> {
    let tables = PairTables::new(2, shot.size)?;
    let specs: Vec<TrafficSpec> = tables
        .streams()
        .iter()
        .map(|stream| TrafficSpec { touch: shot.touch, ..stream.spec.clone() })
        .collect();
    let streams = tables.streams().into_iter().zip(&specs).map(|(stream, spec)| Stream { spec, ..stream });
    let load = Load { window: shot.window, ..Load::new(streams.collect()) };
    let before = bed.switch.stages();
    let round = saturation(&mut *bed.switch, &mut bed.pods, &load)?;
    Ok((round, since(&before, bed.switch.stages())))
}

/// What each stage took after `before`.
fn since(before: &[StageWork], after: Vec<StageWork>) -> Vec<StageWork> {
    let earlier = |name: &str| before.iter().find(|stage| stage.name == name);
    let difference = |stage: StageWork| {
        let (cycles, frames) = earlier(&stage.name).map_or((0, 0), |old| (old.cycles, old.frames));
        StageWork {
            cycles: stage.cycles.saturating_sub(cycles),
            frames: stage.frames.saturating_sub(frames),
            ..stage
        }
    };
    after.into_iter().map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::Report;

    #[test]
    fn a_curve_has_the_sizes_that_were_measured() {
        let mut report = Report::new(Machine::default(), "t".into());
        for (key, value) in [("v2v_1500", Some(5.0)), ("v2v_64", Some(12.0)), ("v2v_imix", Some(7.0))] {
            report.record(OURS, key, RATE).push(value);
        }
        report.record(OURS, "v2v_512", RATE).push(None);
        report.record(OURS, "v2v_64_full", RATE).push(Some(9.0));
        report.draw("rate_by_size", "ours", OURS, "v2v_");
        assert_eq!(report.curves[0].points, [(0.0, 7.0), (64.0, 12.0), (1500.0, 5.0)]);
    }

    #[test]
    fn stages_are_differences() {
        let stage = |name: &str, cycles, frames| StageWork { name: name.into(), cycles, frames };
        let before = [stage("take", 100, 10)];
        let after = vec![stage("take", 400, 20), stage("emit", 50, 5)];
        assert_eq!(since(&before, after), [stage("take", 300, 10), stage("emit", 50, 5)]);
    }
}
