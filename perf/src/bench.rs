//! The plan of `make bench`: every switch in turn, round after round, on the same two CPUs with the same generator.
//!
//! Switches alternate within a round and rounds begin with another one each, so that what disturbs the machine for a
//! while hits all alike. A switch that cannot run, a measurement that failed, a machine that is too small: each leaves
//! its figures empty and a sentence in the report, and the rest goes on. Runs on the calling thread, which pins itself
//! to the load CPU.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::clock::pin;
use crate::machine::{self, Machine, Steal};
use crate::methods::MethodError;
use crate::methods::bed::{Bed, BedPlan};
use crate::peers::{Cpus, Named, OvsDpdk, Peer, PeerError, Podswitch, Switch, TestpmdIo};
use crate::report::{Report, json};

mod attach;
mod change;
mod delay;
mod holding;
mod plan;
mod progress;
mod quiet;
mod rows;
mod scaling;
mod throughput;

pub use plan::{Extent, Plan};
pub use progress::Progress;

use crate::distance::Usual;
use quiet::{DELAYED, DISTURBED, TRIES, calmest};

/// What podswitch itself is called in figures.
pub const OURS: &str = "podswitch";
/// podswitch with a second copy of each frame.
pub const TWO_COPIES: &str = "podswitch-twocopy";
/// podswitch with the instruction set that Debian's peers are built for.
pub const LOWERED: &str = "podswitch-sse2";
/// OVS-DPDK.
pub const OVS: &str = "ovs";
/// testpmd's vhost io-forward.
pub const TESTPMD: &str = "testpmd_io";

/// Phases that [`run`] tells its [`Progress`] about.
pub const PHASES: usize = 12;
/// A switch that has failed so often is not tried again: each failure may take half a minute.
const FAILURES: usize = 2;
/// Steal above this share of a CPU, in percent, is said.
const STOLEN_PERCENT: f64 = 1.0;

/// What to measure with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub extent: Extent,
    /// Rounds instead of the extent's.
    pub rounds: Option<usize>,
    /// Switches that somebody else runs.
    pub named: Vec<Named>,
    /// The daemon; otherwise the one beside our own executable.
    pub podswitchd: Option<PathBuf>,
    /// The generator's CPU.
    pub load_cpu: u32,
    /// The switches' CPU.
    pub switch_cpu: u32,
    /// The command line, for the report.
    pub command: String,
}

/// A switch that takes part.
struct Contender {
    peer: Rc<dyn Peer>,
    failures: usize,
    /// Not tried again.
    out: bool,
}

/// What is under way.
struct Bench {
    plan: Plan,
    cpus: Cpus,
    daemon: PathBuf,
    contenders: Vec<Contender>,
    report: Report,
    progress: Progress,
    /// Pods have hugepages.
    huge: bool,
    /// Measurements, those that were made again, and those that were disturbed all the same.
    disturbances: (usize, usize, usize),
    /// Where the two CPUs usually are, and the measurements that were made elsewhere, which do not count.
    usual: Option<Usual>,
    moved: usize,
    /// Time spent on making measurements again.
    repeating: Duration,
}

/// Measures everything; what could not be measured is empty in the report, and said there.
#[must_use]
pub fn run(options: &Options, progress: Progress) -> Report {
    let begin = Instant::now();
    let machine = Machine::look();
    let mut report = Report::new(machine, json::now());
    report.command.clone_from(&options.command);
    report.quick = options.extent != Extent::Full;
    report.notes = report.machine.warnings();
    let all = report.machine.cpus.clone();
    let cpus = Cpus::new(options.load_cpu, options.switch_cpu, &all).and_then(|cpus| {
        let named = |_| PeerError::Cpus { load: cpus.load, switch: cpus.switch, all: all.clone() };
        pin(cpus.load).map_err(named)?;
        Ok(cpus)
    });
    let mut bench = match cpus {
        Ok(cpus) => Bench::new(options, cpus, report, progress),
        Err(error) => {
            report.say(format!("nothing was measured: {error}"));
            rows::add(&mut report);
            return report;
        }
    };
    let steal = Steal::begin(&[bench.cpus.load, bench.cpus.switch]);
    bench.measure();
    bench.say_what_disturbed(&steal);
    let mut report = bench.report;
    if report.quick {
        report.say("a shortened run: few rounds and short windows, an indication only");
    }
    report.seconds = begin.elapsed().as_secs_f64();
    rows::add(&mut report);
    report
}

impl Bench {
    fn new(options: &Options, cpus: Cpus, mut report: Report, progress: Progress) -> Self {
        let mut plan = Plan::of(options.extent);
        plan.rounds = options.rounds.unwrap_or(plan.rounds).max(1);
        let daemon = options.podswitchd.clone().or_else(Podswitch::beside_us);
        let daemon = daemon.unwrap_or_else(|| "podswitchd".into());
        let huge = machine::free_hugepages().is_some_and(|free| free >= 256);
        if !huge {
            report.say("too few free hugepages (256 for the pods): pods have ordinary pages");
        }
        report.settings = plan.settings(&cpus, huge);
        let ours = Podswitch::new(&daemon);
        let two = Podswitch { name: TWO_COPIES.into(), two_copies: true, ..ours.clone() };
        let lowered = Podswitch { name: LOWERED.into(), copy_level: Some("sse2".into()), ..ours.clone() };
        let mut peers: Vec<Rc<dyn Peer>> = vec![
            Rc::new(ours),
            Rc::new(TestpmdIo::default()),
            Rc::new(two),
            Rc::new(OvsDpdk::default()),
            Rc::new(lowered),
        ];
        peers.extend(options.named.iter().map(|named| Rc::new(named.clone()) as Rc<dyn Peer>));
        let contenders = peers.into_iter().map(|peer| Contender { peer, failures: 0, out: false }).collect();
        Self {
            plan,
            cpus,
            daemon,
            contenders,
            report,
            progress,
            huge,
            disturbances: (0, 0, 0),
            usual: None,
            moved: 0,
            repeating: Duration::ZERO,
        }
    }

    fn measure(&mut self) {
        self.look_around();
        self.null();
        self.rounds();
        self.delay();
        self.flows();
        self.ports();
        self.changes();
        self.restarts();
        self.attachments();
        self.holding();
        self.sweeps();
        self.progress.done();
    }

    /// Finds out how far apart the two CPUs usually are. A run that only shows that all works does not care.
    fn look_around(&mut self) {
        self.progress.phase("the distance of the CPUs");
        if self.plan.extent == Extent::Smoke {
            return;
        }
        match Usual::watch(self.cpus.switch) {
            Ok(usual) => {
                let text = format!("{:.0} ns there and back", usual.nanoseconds);
                self.report.settings.insert("distance of the CPUs".into(), text);
                self.usual = Some(usual);
            }
            Err(error) => self.report.say(format!("how far apart the CPUs are is not known: {error}")),
        }
    }

    /// Where a switch is in the list.
    fn place(&self, name: &str) -> Option<usize> {
        self.contenders.iter().position(|contender| contender.peer.name() == name)
    }

    /// The daemon with a configuration of its own, under podswitch's name.
    fn podswitch(&self, config: &str) -> Podswitch {
        Podswitch { config: config.into(), ..Podswitch::new(&self.daemon) }
    }

    /// Starts a contender with pods; `None` if it is out, or fails, which is recorded.
    fn open(&mut self, contender: usize, plan: &BedPlan) -> Option<Bed> {
        if self.contenders[contender].out {
            return None;
        }
        let plan = BedPlan { huge: self.huge, ..plan.clone() };
        let opened = Bed::open(&*self.contenders[contender].peer, &plan, &self.cpus);
        if let Err(error) = &opened {
            let absent =
                matches!(error, MethodError::Peer(PeerError::Missing { .. } | PeerError::Sockets { .. }));
            let contender = &mut self.contenders[contender];
            contender.failures += 1;
            contender.out = absent || contender.failures >= FAILURES;
        }
        let name = self.contenders[contender].peer.name().to_owned();
        let bed = self.keep(&name, opened)?;
        self.note(&*bed.switch);
        Some(bed)
    }

    /// Starts podswitch with a configuration of its own.
    fn open_ours(&mut self, peer: &Podswitch, plan: &BedPlan) -> Option<Bed> {
        let plan = BedPlan { huge: self.huge, ..plan.clone() };
        let opened = Bed::open(peer, &plan, &self.cpus);
        self.keep(OURS, opened)
    }

    /// The result, or `None` after the failure has been recorded.
    fn keep<T>(&mut self, switch: &str, result: Result<T, MethodError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let text = error.to_string();
        self.progress.trouble(&format!("{switch}: {text}"));
        let facts = self.report.switches.entry(switch.to_owned()).or_default();
        if !facts.failures.contains(&text) {
            facts.failures.push(text);
        }
        None
    }

    /// What is known of a switch that runs.
    fn note(&mut self, switch: &dyn Switch) {
        let facts = self.report.switches.entry(switch.name().to_owned()).or_default();
        if facts.version.is_empty() {
            facts.version = switch.version();
            facts.instruction_set = switch.instruction_set();
            facts.commands = switch.commands();
        }
    }

    /// Measures, again if something else ran on the CPUs; the least disturbed one counts.
    fn quietly<T>(
        &mut self,
        switch: Option<u32>,
        most: f64,
        measure: impl FnMut() -> Result<T, MethodError>,
    ) -> Result<T, MethodError> {
        let tries = if self.repeating < self.plan.repeats { TRIES } else { 1 };
        let shot = calmest(switch, (most, tries), self.usual, Result::is_err, measure);
        self.repeating += shot.spent;
        self.disturbances.0 += 1;
        self.disturbances.1 += usize::from(shot.tries > 1);
        self.disturbances.2 += usize::from(shot.waited > most);
        self.moved += usize::from(shot.moved);
        if shot.moved { shot.result.and(Err(MethodError::Moved)) } else { shot.result }
    }

    /// What else ran on the two CPUs, here and on the host.
    fn say_what_disturbed(&mut self, steal: &Steal) {
        let (all, again, disturbed) = self.disturbances;
        let text = format!("{again} of {all} made again, {disturbed} disturbed all the same");
        self.report.settings.insert("disturbed measurements".into(), text);
        if self.moved > 0 {
            self.report.say(format!(
                "the hypervisor moved a CPU during {} of {all} measurements, which are empty: caches were nearer or \
                 farther than for the others",
                self.moved
            ));
        }
        if again > 0 {
            self.report.say(format!(
                "{again} of {all} measurements were made again because other programs ran on these CPUs or the \
                 hypervisor moved them; in {disturbed} the generator or the switch waited for its CPU all the same, for \
                 more than {:.0} % of the time, or {:.1} % where latency was measured",
                100.0 * DISTURBED,
                100.0 * DELAYED
            ));
        }
        self.say_what_was_stolen(steal);
    }

    fn say_what_was_stolen(&mut self, steal: &Steal) {
        let cpus = [(self.cpus.load, "load"), (self.cpus.switch, "switch")];
        for ((cpu, role), percent) in cpus.into_iter().zip(steal.percent()) {
            let key = format!("stolen_percent_{role}");
            self.report.settings.insert(key, percent.map_or_else(String::new, |share| format!("{share:.2}")));
            if let Some(share) = percent.filter(|share| *share > STOLEN_PERCENT) {
                self.report.say(format!("others took {share:.1} % of CPU {cpu} ({role}) during the run"));
            }
        }
    }
}
