//! What more flows, addresses, ports and hops cost.

use std::rc::Rc;

use super::quiet::DISTURBED;
use super::throughput::{CYCLES, RATE};
use super::{Bench, OURS, OVS, TESTPMD};
use crate::methods::bed::BedPlan;
use crate::methods::ports::{Spread, chain, ports};
use crate::methods::scale::{self, Crowd, ROOM_FOR_MACS, crowd, heads};
use crate::peers::Peer;
use crate::traffic::Size;

/// These start the switch within the measurement, so that waiting for a CPU is no disturbance; being moved is.
const ANYHOW: f64 = 1.0;
/// Figures whose ratio counts.
const CROWDS: [(&str, Crowd); 2] = [("crowd_one", Crowd::ONE), ("crowd_many", Crowd::MANY)];

impl Bench {
    /// Many flows and addresses against hardly any, round after round.
    pub(super) fn flows(&mut self) {
        self.progress.phase("flows and addresses");
        for round in 0..self.plan.rounds {
            self.progress.step(&format!("round {} of {}", round + 1, self.plan.rounds));
            let window = self.plan.window;
            self.crowds(OURS, &CROWDS.map(|(key, crowd)| (key.to_owned(), crowd)), window);
        }
    }

    /// Two ports against 64, round after round.
    pub(super) fn ports(&mut self) {
        self.progress.phase("ports");
        for round in 0..self.plan.rounds {
            for count in [2, 64] {
                self.progress.step(&format!("round {} of {}, {count} ports", round + 1, self.plan.rounds));
                self.count_ports(count);
            }
        }
    }

    /// What serves plots alone; left out when time is short.
    pub(super) fn sweeps(&mut self) {
        self.progress.phase("flows, addresses, ports and chains for the plots");
        for name in [OURS, OVS] {
            let flows = self.plan.flows.iter().map(|flows| Crowd { flows: *flows, macs: 2 });
            let macs = self.plan.macs.iter().map(|macs| Crowd { flows: *macs, macs: *macs });
            let sweep: Vec<(String, Crowd)> = flows
                .map(|crowd| (format!("flows_{}", crowd.flows), crowd))
                .chain(macs.map(|crowd| (format!("macs_{}", crowd.macs), crowd)))
                .collect();
            if self.in_time("flows and addresses") {
                self.progress.step(&format!("flows and addresses, {name}"));
                let window = self.plan.sweep_window;
                self.crowds(name, &sweep, window);
            }
        }
        for count in self.plan.ports.clone() {
            if self.in_time("numbers of ports") {
                self.progress.step(&format!("{count} ports"));
                self.count_ports(count);
            }
        }
        for hops in self.plan.chains.clone() {
            for name in [OURS, OVS, TESTPMD] {
                if self.in_time("chains") {
                    self.progress.step(&format!("chain of {hops}, {name}"));
                    self.walk(name, hops);
                }
            }
        }
        for name in [OURS, OVS, TESTPMD] {
            for (plot, prefix) in [
                ("rate_by_flows", "flows_"),
                ("rate_by_macs", "macs_"),
                ("cycles_by_ports", "ports_"),
                ("rate_by_chain", "chain_"),
            ] {
                self.report.draw(plot, name, name, prefix);
            }
        }
    }

    fn in_time(&mut self, what: &str) -> bool {
        let in_time = self.progress.elapsed() < self.plan.budget;
        if !in_time {
            self.report.say(format!("the time was up: some {what} of the plots were left out"));
        }
        in_time
    }

    /// Several crowds behind the trusted port of one running switch.
    fn crowds(&mut self, name: &str, crowds: &[(String, Crowd)], window: std::time::Duration) {
        let plan = BedPlan { longest_frame: 1518, ..scale::plan() };
        let mut bed = if name == OURS {
            let peer = self.podswitch(ROOM_FOR_MACS);
            self.open_ours(&peer, &plan)
        } else {
            self.place(name).and_then(|place| self.open(place, &plan))
        };
        for (key, who) in crowds {
            let round = bed.as_mut().map(|bed| {
                let heads = heads(*who, Size::Fixed(64))?;
                let pid = bed.switch.pid();
                self.quietly(pid, DISTURBED, || crowd(&mut *bed.switch, &mut bed.pods, &heads, window))
            });
            let round = round.and_then(|round| self.keep(name, round));
            self.report.record(name, key, RATE).push(round.map(|round| round.mfps));
        }
        if let Some(bed) = bed {
            bed.switch.stop();
        }
    }

    fn count_ports(&mut self, count: usize) {
        let peer = self.podswitch("");
        let (window, cpus) = (self.plan.sweep_window, self.cpus.clone());
        let round = self.quietly(None, ANYHOW, || ports(&peer, count, Spread::Pairs, window, &cpus));
        let round = self.keep(OURS, round);
        let figure = self.report.record(OURS, &format!("ports_{count}"), CYCLES);
        figure.push(round.and_then(|round| round.cycles));
    }

    fn walk(&mut self, name: &str, hops: usize) {
        let Some(place) = self.place(name).filter(|place| !self.contenders[*place].out) else { return };
        let (window, cpus) = (self.plan.sweep_window, self.cpus.clone());
        let peer: Rc<dyn Peer> = Rc::clone(&self.contenders[place].peer);
        let walked = self.quietly(None, ANYHOW, || chain(&*peer, hops, window, &cpus));
        let walked = self.keep(name, walked);
        let figure = self.report.record(name, &format!("chain_{hops}"), "Mhops/s");
        figure.push(walked.map(|chain| chain.mfps * chain.hops as f64));
    }
}
