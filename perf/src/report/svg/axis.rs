//! Where a value lies on an axis, and which values are written beside it.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0, evenly.
    Linear,
    /// Powers of ten, evenly.
    Log,
    /// Percentiles: each further nine as far from the last.
    Percentile,
    /// Each value that occurs at the same distance, in order.
    Named,
}

/// An axis between two places of the drawing.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    /// Ascending, each once.
    values: Vec<f64>,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis on which all `values` have room, from the place `from` to the place `to`.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (first, last) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let (low, high) = match scale {
            Scale::Linear => {
                let step = step(last);
                (0.0, (last / step).ceil().max(1.0) * step)
            }
            Scale::Log => {
                let (low, high) = (log(first).floor(), log(last).ceil());
                (low, high.max(low + 1.0))
            }
            Scale::Percentile => (0.0, nines(last).max(1.0)),
            Scale::Named => (-0.5, (values.len().max(1) as f64) - 0.5),
        };
        Self { scale, values, low, high, from, to }
    }

    /// Where a value lies.
    pub(super) fn place(&self, value: f64) -> f64 {
        let moved = match self.scale {
            Scale::Linear => value,
            Scale::Log => log(value),
            Scale::Percentile => nines(value),
            Scale::Named => self.values.iter().position(|known| *known == value).unwrap_or(0) as f64,
        };
        let share = ((moved - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Values to write beside it, with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                (0..=(self.high / step).round() as u32).map(|n| f64::from(n) * step).collect()
            }
            Scale::Log => (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power)).collect(),
            Scale::Percentile => {
                let all = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999];
                all.into_iter().filter(|value| nines(*value) <= self.high + 1e-9).collect()
            }
            Scale::Named => self.values.clone(),
        };
        let imix = |value: f64| self.scale == Scale::Named && value == 0.0;
        values.into_iter().map(|v| (v, if imix(v) { "IMIX".into() } else { label(v) })).collect()
    }
}

/// A round distance that divides what is up to `high` into four to ten parts.
fn step(high: f64) -> f64 {
    if high <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((high / 10.0).log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    factors.map(|factor| factor * power).into_iter().find(|step| high / step <= 10.0).unwrap_or(10.0 * power)
}

fn log(value: f64) -> f64 {
    value.max(1e-9).log10()
}

fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-7).log10()
}

fn label(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e4 => format!("{}k", v / 1e3),
        v => format!("{}", (v * 1e4).round() / 1e4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_end_on_a_round_number() {
        let axis = Axis::new(Scale::Linear, [3.0, 12.7].into_iter(), 400.0, 50.0);
        assert_eq!(axis.place(0.0), 400.0);
        assert_eq!(axis.place(axis.high), 50.0);
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0", "2", "4", "6", "8", "10", "12", "14"]);
    }

    #[test]
    fn logarithmic_axes_go_from_power_to_power() {
        let axis = Axis::new(Scale::Log, [1.0, 1e6].into_iter(), 0.0, 60.0);
        assert!((axis.place(1000.0) - 30.0).abs() < 1e-9);
        assert_eq!(axis.ticks().last().map(|tick| tick.1.as_str()), Some("1M"));
    }

    #[test]
    fn every_nine_is_as_far_as_the_last() {
        let axis = Axis::new(Scale::Percentile, [50.0, 99.99].into_iter(), 0.0, 40.0);
        let places = [90.0, 99.0, 99.9, 99.99].map(|value| axis.place(value));
        for (place, expected) in places.into_iter().zip([10.0, 20.0, 30.0, 40.0]) {
            assert!((place - expected).abs() < 1e-6, "{places:?}");
        }
    }

    #[test]
    fn named_values_stand_side_by_side() {
        let axis = Axis::new(Scale::Named, [9000.0, 64.0, 64.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.place(64.0), 25.0);
        assert_eq!(axis.place(9000.0), 75.0);
    }

    #[test]
    fn nothing_is_no_reason_to_panic() {
        for scale in [Scale::Linear, Scale::Log, Scale::Percentile, Scale::Named] {
            let axis = Axis::new(scale, std::iter::empty(), 0.0, 10.0);
            assert!(axis.place(0.0).is_finite());
            assert!(!axis.ticks().iter().any(|tick| tick.0.is_nan()));
            let axis = Axis::new(scale, [0.0].into_iter(), 0.0, 10.0);
            assert!(axis.place(0.0).is_finite());
        }
    }
}
