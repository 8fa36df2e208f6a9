//! What changes to others and restarts of the switch cost those who send.

use super::{Bench, OURS};
use crate::methods::bed::BedPlan;
use crate::methods::reconfigure::{Reconfiguration, Settings, reconfigure};
use crate::methods::restart::{End, restart};

impl Bench {
    /// Frames lost while others come, change and go.
    pub(super) fn changes(&mut self) {
        self.progress.phase("reconfiguration");
        let plan = BedPlan { longest_frame: 1518, ..BedPlan::pairs(2) };
        let settings = Settings { time: self.plan.change_time, huge: self.huge };
        for round in 0..self.plan.changes {
            self.progress.step(&format!("round {} of {}", round + 1, self.plan.changes));
            let peer = self.podswitch("");
            let done = self.open_ours(&peer, &plan).and_then(|mut bed| {
                let done = bed
                    .switch
                    .as_podswitch()
                    .map(|switch| reconfigure(switch, &mut bed.pods, settings, &self.cpus));
                bed.switch.stop();
                self.keep(OURS, done?)
            });
            self.record_change(done.as_ref());
        }
    }

    fn record_change(&mut self, done: Option<&Reconfiguration>) {
        let lost = done.map(|done| done.lost() as f64);
        self.report.record(OURS, "reconfig_lost_frames", "frames").push(lost);
        let sent = done.map(|done| done.streams.iter().map(|stream| stream.sent).sum::<u64>() as f64);
        self.report.record(OURS, "reconfig_sent_frames", "frames").push(sent);
        let gap = done.and_then(|done| done.streams.iter().map(|stream| stream.longest_gap_of_switch).max());
        self.report.record(OURS, "reconfig_longest_gap", "us").push(gap.map(|gap| gap.as_secs_f64() * 1e6));
        let ports = done.map(|done| done.changed.added as f64);
        self.report.record(OURS, "reconfig_ports_added", "ports").push(ports);
        for (port, reason, frames) in done.map(|done| done.drops.clone()).unwrap_or_default() {
            self.report.say(format!("reconfiguration: {frames} frames dropped at {port} as {reason}"));
        }
    }

    /// How long nothing is delivered when the switch is killed, or ended, and started again.
    pub(super) fn restarts(&mut self) {
        self.progress.phase("restart");
        let plan = BedPlan { longest_frame: 1518, ..BedPlan::pairs(2) };
        for round in 0..self.plan.changes {
            for (end, key) in [(End::Killed, "restart_killed"), (End::Terminated, "restart_terminated")] {
                self.progress.step(&format!("round {} of {}", round + 1, self.plan.changes));
                let peer = self.podswitch("");
                let done = self.open_ours(&peer, &plan).and_then(|mut bed| {
                    let done = bed.switch.as_podswitch().map(|switch| restart(switch, &mut bed.pods, end));
                    bed.switch.stop();
                    self.keep(OURS, done?)
                });
                let gap = done.map(|done| done.gap.as_secs_f64() * 1e3);
                self.report.record(OURS, key, "ms").push(gap);
                let lost = done.map(|done| done.lost as f64);
                self.report.record(OURS, &format!("{key}_lost"), "frames").push(lost);
            }
        }
    }
}
