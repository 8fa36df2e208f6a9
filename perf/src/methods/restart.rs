//! How long no frame is delivered when the switch is killed, or ended, and started again on the same state.
//!
//! Two slow streams between two pods that stay; the switch's process is replaced by a thread beside. A pod waits for
//! the new switch as soon as the old one has gone, as an application's driver does that is told of a hang-up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::MethodError;
use super::reconfigure::there_and_back;
use super::tracked::Tracking;
use crate::peers::RunningPodswitch;
use crate::pod::Pod;

/// Frames per second of each stream.
pub const RATE: f64 = 10_000.0;

/// More than what the streams send in a second: what went with the old switch does not hold them up.
const WINDOW: u16 = 16_384;

/// A frame that has not arrived after this much of our own running time went with the old switch.
const PATIENCE: Duration = Duration::from_millis(300);

/// Frames must flow again within this.
const RETURN: Duration = Duration::from_secs(20);

/// How the switch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL, as a crash would have it.
    Killed,
    /// SIGTERM, as an upgrade would have it.
    Terminated,
}

/// What came of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// How the switch went.
    pub end: End,
    /// Longest time without a frame delivered on a stream.
    pub gap: Duration,
    /// From the start of the new process until its API answered: part of the gap.
    pub started_in: Duration,
    /// Frames that the switch took and did not deliver, of both streams.
    pub lost: u64,
}

/// Restarts the switch under two slow streams between the first two ports.
///
/// # Errors
/// If the switch does not start again, or frames do not flow before or after.
pub fn restart(switch: &mut RunningPodswitch, pods: &mut [Pod], end: End) -> Result<Restarted, MethodError> {
    let mut tracking = Tracking::new(there_and_back(WINDOW, |stream| stream.paced(RATE)), PATIENCE);
    tracking.run(pods, Duration::from_millis(200));
    if tracking.received() == 0 {
        return Err(MethodError::Silent { what: "before the restart", seconds: 0.2 });
    }
    tracking.restart_gaps();
    tracking.run(pods, Duration::from_millis(20));
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let replaced = scope.spawn(|| {
            match end {
                End::Killed => switch.kill(),
                End::Terminated => {
                    switch.terminate();
                }
            }
            gone.store(true, Ordering::Release);
            switch.start_again()
        });
        while !gone.load(Ordering::Acquire) {
            tracking.turn(pods);
        }
        reaccept(pods)?;
        let flows = wait_for_each(&mut tracking, pods);
        replaced.join().map_err(|_| MethodError::Beside)??;
        flows
    })?;
    tracking.run(pods, Duration::from_millis(50));
    tracking.drain(pods);
    let accounts = tracking.accounts();
    Ok(Restarted {
        end,
        gap: accounts.iter().map(|account| account.longest_gap).max().unwrap_or_default(),
        started_in: switch.started_in,
        lost: accounts.iter().map(|account| account.lost).sum(),
    })
}

/// Both at once, as they are in pods of their own.
fn reaccept(pods: &mut [Pod]) -> Result<(), MethodError> {
    std::thread::scope(|scope| {
        let waiting: Vec<_> = pods.iter_mut().map(|pod| scope.spawn(|| pod.reaccept())).collect();
        for pod in waiting {
            pod.join().map_err(|_| MethodError::Beside)??;
        }
        Ok(())
    })
}

/// Until a frame has arrived on each stream.
fn wait_for_each(tracking: &mut Tracking, pods: &mut [Pod]) -> Result<(), MethodError> {
    let before: Vec<u64> = tracking.accounts().iter().map(|account| account.received).collect();
    let begin = Instant::now();
    while begin.elapsed() < RETURN {
        tracking.run(pods, Duration::from_millis(1));
        if tracking.accounts().iter().zip(&before).all(|(now, before)| now.received > *before) {
            return Ok(());
        }
    }
    Err(MethodError::Silent { what: "after the restart", seconds: RETURN.as_secs_f64() })
}
