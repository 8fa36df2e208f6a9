//! Trials on a real switch: frames are due at a steady rate, whether the ring takes them or not.

use std::time::Duration;

use super::{Trial, Tried};
use crate::load::{self, Load, Outcome, Pace};
use crate::methods::MethodError;
use crate::pod::Pod;

/// More than this share of the frames due that were not even offered is the generator's own limit. Less is the edge of
/// the window.
const EDGE: f64 = 0.002;

/// A load whose pace a search sets.
#[derive(Debug)]
pub struct Offered<'a> {
    /// The generator's ports.
    pub pods: &'a mut [Pod],
    /// The load; pace and window are replaced.
    pub load: Load<'a>,
}

impl Trial for Offered<'_> {
    type Error = MethodError;

    fn run(&mut self, rate: f64, length: Duration) -> Result<Tried, MethodError> {
        self.load.pace = Pace::Rate(rate);
        self.load.window = length;
        let outcome = load::run(self.pods, &self.load);
        // Once is enough: the switch forgets nothing between two trials.
        self.load.learn = false;
        Ok(tried(&outcome, rate))
    }
}

/// A frame that a full ring did not take counts as lost: the switch was too slow to fetch those before it.
fn tried(outcome: &Outcome, rate: f64) -> Tried {
    let due = rate * outcome.seconds;
    if due <= 0.0 || outcome.sent == 0 {
        return Tried { loss: 1.0, delivered: 0.0 };
    }
    let never_sent = 1.0 - outcome.sent as f64 / due;
    let not_taken =
        if never_sent > EDGE { never_sent.max(outcome.short_of_pace) } else { outcome.short_of_pace };
    let lost = (outcome.lost as f64 / outcome.sent as f64).min(1.0);
    let loss = 1.0 - (1.0 - not_taken) * (1.0 - lost);
    Tried { loss, delivered: rate * (1.0 - loss) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sent: u64, lost: u64, short_of_pace: f64) -> Outcome {
        Outcome { sent, lost, short_of_pace, seconds: 1.0, ..Outcome::default() }
    }

    #[test]
    fn nothing_lost_is_exactly_nothing() {
        assert_eq!(tried(&outcome(999_990, 0, 0.0), 1e6), Tried { loss: 0.0, delivered: 1e6 });
    }

    #[test]
    fn one_frame_lost_is_a_loss() {
        assert!(tried(&outcome(1_000_000, 1, 0.0), 1e6).loss > 0.0);
        assert!(tried(&outcome(1_000_000, 0, 1e-6), 1e6).loss > 0.0);
    }

    #[test]
    fn full_rings_and_a_slow_generator_are_losses() {
        let Tried { loss, delivered } = tried(&outcome(800_000, 80_000, 0.2), 1e6);
        assert!((loss - 0.28).abs() < 1e-9, "{loss}");
        assert!((delivered - 720_000.0).abs() < 1.0);
        assert!((tried(&outcome(500_000, 0, 0.0), 1e6).loss - 0.5).abs() < 1e-9);
        assert!((tried(&Outcome::default(), 1e6).loss - 1.0).abs() < 1e-9);
    }
}
