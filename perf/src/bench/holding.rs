//! What switches hold while they do nothing: memory and CPU time.

use std::time::Duration;

use super::{Bench, OURS, OVS, TESTPMD};
use crate::methods::MethodError;
use crate::methods::bed::{Bed, BedPlan};
use crate::methods::memory::{cpu_share, held};
use crate::peers::Podswitch;

const MB: &str = "MB";
/// Ports that are added to an empty switch, and do nothing.
const IDLE_PORTS: usize = 64;
/// How long an idle switch is watched.
const WATCHED: Duration = Duration::from_millis(1000);
/// Until it has settled down after its start.
const SETTLED: Duration = Duration::from_millis(1000);

impl Bench {
    /// Memory of an empty switch and of a port; CPU time of an idle one, with its default settings.
    pub(super) fn holding(&mut self) {
        self.progress.phase("memory and idle CPU");
        for round in 0..self.plan.changes {
            self.progress.step(&format!("round {} of {}", round + 1, self.plan.changes));
            let peer = Podswitch { adaptive: true, ..self.podswitch("") };
            let mut look = |ports: usize| {
                let plan = BedPlan::pairs(ports).small(1024, 1518);
                self.open_ours(&peer, &plan).and_then(|bed| {
                    let looked = look(&bed, true);
                    bed.switch.stop();
                    self.keep(OURS, looked)
                })
            };
            let (empty, full) = (look(0), look(IDLE_PORTS));
            let port = empty.zip(full).map(|(empty, full)| (full.0 - empty.0) / IDLE_PORTS as f64);
            self.report.record(OURS, "empty_switch_mb", MB).push(empty.map(|empty| empty.0));
            self.report.record(OURS, "port_mb", MB).push(port);
            self.report.record(OURS, "idle_cpu_empty", "% of a CPU").push(empty.map(|empty| empty.1));
            self.report.record(OURS, "idle_cpu_ports", "% of a CPU").push(full.map(|full| full.1));
        }
        for name in [OURS, OVS, TESTPMD] {
            self.progress.step(&format!("{name} with two ports"));
            let plan = BedPlan::pairs(2).small(1024, 1518);
            let looked = self.place(name).and_then(|place| self.open(place, &plan)).and_then(|bed| {
                let looked = look(&bed, false);
                bed.switch.stop();
                self.keep(name, looked)
            });
            self.report.record(name, "two_ports_mb", MB).push(looked.map(|looked| looked.0));
        }
    }
}

/// Megabytes, and percent of a CPU if asked for.
fn look(bed: &Bed, watch: bool) -> Result<(f64, f64), MethodError> {
    let Some(pid) = bed.switch.pid() else { return Ok((f64::NAN, f64::NAN)) };
    let mut share = f64::NAN;
    if watch {
        std::thread::sleep(SETTLED);
        share = 100.0 * cpu_share(pid, WATCHED)?;
    }
    Ok((held(pid)?.own_mb(), share))
}
