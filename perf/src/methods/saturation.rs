//! How many frames get through when senders send as fast as they can, and what each costs the switch.

use super::MethodError;
use crate::load::{self, Load, Outcome, Pace};
use crate::peers::{Switch, Work};
use crate::pod::Pod;

/// One round of saturation.
#[derive(Clone, Debug)]
pub struct Saturation {
    /// Million frames received per second, all streams together.
    pub mfps: f64,
    /// 10^9 bits of frames received per second, without checksums and gaps between frames.
    pub gbps: f64,
    /// Busy cycles of the switch for each frame, by its own account; empty where it gives none.
    pub cycles: Option<f64>,
    /// Share of the switch's cycles in turns that moved frames.
    pub busy: Option<f64>,
    /// All else.
    pub outcome: Outcome,
}

/// A closed loop.
///
/// # Errors
/// [`MethodError::Silent`] if no frame came through.
pub fn saturation(
    switch: &mut dyn Switch,
    pods: &mut [Pod],
    load: &Load<'_>,
) -> Result<Saturation, MethodError> {
    debug_assert_eq!(load.pace, Pace::Closed);
    let before = switch.work();
    let outcome = load::run(pods, load);
    let work = switch.work().zip(before).map(|(after, before)| after.since(before));
    of(outcome, work)
}

fn of(outcome: Outcome, work: Option<Work>) -> Result<Saturation, MethodError> {
    if outcome.received == 0 || outcome.seconds <= 0.0 {
        return Err(MethodError::Silent { what: "closed loop", seconds: outcome.seconds });
    }
    Ok(Saturation {
        mfps: outcome.received as f64 / outcome.seconds / 1e6,
        gbps: outcome.bytes as f64 * 8.0 / outcome.seconds / 1e9,
        cycles: work.and_then(Work::cycles_a_frame),
        busy: work.map(|w| w.busy_cycles as f64 / (w.busy_cycles + w.idle_cycles).max(1) as f64),
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_window_and_cycles_of_the_switch() {
        let outcome = Outcome { received: 4_000_000, bytes: 256_000_000, seconds: 0.5, ..Outcome::default() };
        let work = Work { busy_cycles: 800, idle_cycles: 200, frames: 10 };
        let round = of(outcome, Some(work)).unwrap();
        assert_eq!((round.mfps, round.gbps), (8.0, 4.096));
        assert_eq!((round.cycles, round.busy), (Some(80.0), Some(0.8)));
    }

    #[test]
    fn what_was_not_measured_is_empty() {
        let outcome = Outcome { received: 1, seconds: 0.5, ..Outcome::default() };
        assert_eq!(of(outcome, None).unwrap().cycles, None);
        assert!(matches!(of(Outcome::default(), None), Err(MethodError::Silent { .. })));
    }
}
