//! What podswitch takes without doing anything: memory when empty and for each port, and CPU when idle.
//!
//! With its own defaults: workers that sleep when there is nothing to do, hugepages as configured.

use std::time::Duration;

use super::MethodError;
use super::bed::{Bed, BedPlan, PairTables};
use super::memory::{Held, cpu_share, held};
use crate::load::{self, Load};
use crate::peers::{Cpus, Layout, Podswitch, Switch};
use crate::traffic::Size;

/// Ports over which the memory of one is a mean.
pub const PORTS: usize = 64;

/// Until a switch that has started or moved frames is at rest.
const SETTLE: Duration = Duration::from_millis(500);

/// How long CPU time is counted.
const IDLE: Duration = Duration::from_secs(2);

/// A switch at rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    /// What it holds.
    pub held: Held,
    /// Share of one CPU.
    pub cpu: f64,
}

/// A switch with default configuration and no port.
///
/// # Errors
/// If it does not start.
pub fn empty(podswitch: &Podswitch, cpus: &Cpus) -> Result<Footprint, MethodError> {
    let nothing = Layout { ports: Vec::new(), longest_frame: 1518 };
    let switch = Podswitch { adaptive: true, ..podswitch.clone() }.launch(&nothing, cpus)?;
    let footprint = at_rest(&switch);
    Box::new(switch).stop();
    footprint
}

/// The same with `ports` ports that run, have carried frames and are idle.
///
/// # Errors
/// If the switch or a pod does not start.
pub fn with_ports(podswitch: &Podswitch, ports: usize, cpus: &Cpus) -> Result<Footprint, MethodError> {
    let peer = Podswitch { adaptive: true, ..podswitch.clone() };
    let mut bed = Bed::open(&peer, &BedPlan { longest_frame: 1518, ..BedPlan::pairs(ports) }, cpus)?;
    let tables = PairTables::new(ports, Size::Fixed(1514))?;
    let outcome = load::run(&mut bed.pods, &Load { window: Duration::from_millis(300), ..tables.load() });
    if outcome.received == 0 {
        return Err(MethodError::Silent { what: "before counting memory", seconds: outcome.seconds });
    }
    let footprint = at_rest(&*bed.switch);
    bed.switch.stop();
    footprint
}

/// Megabytes (2^20 bytes) that one port adds.
#[must_use]
pub fn port_mb(empty: &Footprint, full: &Footprint, ports: usize) -> f64 {
    (full.held.own_mb() - empty.held.own_mb()) / ports as f64
}

fn at_rest(switch: &dyn Switch) -> Result<Footprint, MethodError> {
    let Some(pid) = switch.pid() else { return Err(MethodError::Beside) };
    std::thread::sleep(SETTLE);
    let cpu = cpu_share(pid, IDLE)?;
    Ok(Footprint { held: held(pid)?, cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_mean_of_what_they_add() {
        let footprint = |mb: u64| Footprint { held: Held { pss: mb << 20, ..Held::default() }, cpu: 0.0 };
        assert!((port_mb(&footprint(40), &footprint(72), 64) - 0.5).abs() < 1e-9);
    }
}
