//! The switches that are compared, each as a process of its own on one and the same CPU.
//!
//! A [`Peer`] is a recipe; [`Peer::start`] makes a [`Switch`] of it, which ends with the value that stands for it and
//! dies with us whatever becomes of us. Every peer gets the same ports: sockets, rings and generator are chosen by the
//! caller, who creates the sockets first (mode `server`), so that a switch finds them at its start. What a peer needs
//! and this machine lacks is a [`PeerError::Missing`], which the report shows. Called by the thread that measures,
//! between measurements.

use std::path::PathBuf;
use std::time::Duration;

use crate::pod::Mode;
use crate::traffic::Mac;

pub mod named;
pub mod ovs;
pub mod podswitch;
pub mod process;
pub mod testpmd;

pub use named::Named;
pub use ovs::OvsDpdk;
pub use podswitch::{Podswitch, PodswitchApi, RunningPodswitch};
pub use testpmd::TestpmdIo;

/// How long a switch may take to start, and to serve ports that are connected.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Which CPU does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The load generator's.
    pub load: u32,
    /// That of the switch's one worker.
    pub switch: u32,
    /// Where the control threads of peers go that ask for a place: a third CPU if there is one, else the generator's.
    pub control: u32,
    /// All that we may use, as a list ("0-3"). What we start gets these, not the one that we are pinned to.
    pub all: String,
}

impl Cpus {
    /// Takes `load` and `switch` out of `all`, a list as the kernel writes them.
    ///
    /// # Errors
    /// [`PeerError::Cpus`] if they are the same or not in the list.
    pub fn new(load: u32, switch: u32, all: &str) -> Result<Self, PeerError> {
        let every = parse_list(all);
        if load == switch || !every.contains(&load) || !every.contains(&switch) {
            return Err(PeerError::Cpus { load, switch, all: all.to_owned() });
        }
        let control = every.iter().copied().find(|cpu| ![load, switch].contains(cpu)).unwrap_or(load);
        Ok(Self { load, switch, control, all: all.to_owned() })
    }
}

/// The CPUs of a list such as "0-2,5".
#[must_use]
pub fn parse_list(list: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// Whether a DPDK process finds so many megabytes of hugepages.
fn enough_hugepages(megabytes: u32) -> Result<(), PeerError> {
    let free = crate::machine::free_hugepages().unwrap_or(0) * 2;
    if free >= megabytes.into() {
        return Ok(());
    }
    Err(PeerError::Missing {
        what: format!("{megabytes} MB of hugepages (2 MB each, {free} MB are free)"),
        remedy: "reserve more: sysctl vm.nr_hugepages=1024",
    })
}

/// One port of the switch under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Absolute path.
    pub socket: PathBuf,
    /// Who creates it, said from the container's side.
    pub mode: Mode,
    /// Ports of the same number are in one layer-2 segment.
    pub network: usize,
    /// The MAC address that it owns, where the switch knows port security.
    pub mac: Option<Mac>,
    /// May send from any address.
    pub trusted: bool,
}

impl PortPlan {
    /// The name that it has in the switch, by its place in the layout.
    #[must_use]
    pub fn name(place: usize) -> String {
        format!("p{place}")
    }
}

/// All ports of the switch under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the generator's pods.
    pub ports: Vec<PortPlan>,
    /// Bytes of the longest frame (without FCS). Peers that size buffers by it are started accordingly.
    pub longest_frame: u16,
}

impl Layout {
    /// How many networks the ports are spread over: the highest number and those below it.
    #[must_use]
    pub fn networks(&self) -> usize {
        self.ports.iter().map(|port| port.network + 1).max().unwrap_or(0)
    }
}

/// What a switch did since its start, by its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// TSC cycles of turns that moved frames.
    pub busy_cycles: u64,
    /// TSC cycles of turns that did not.
    pub idle_cycles: u64,
    /// Frames taken from ports.
    pub frames: u64,
}

impl Work {
    /// What was done since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            busy_cycles: self.busy_cycles.saturating_sub(before.busy_cycles),
            idle_cycles: self.idle_cycles.saturating_sub(before.idle_cycles),
            frames: self.frames.saturating_sub(before.frames),
        }
    }

    /// Busy cycles a frame; `None` without frames.
    #[must_use]
    pub fn cycles_a_frame(self) -> Option<f64> {
        (self.frames > 0).then(|| self.busy_cycles as f64 / self.frames as f64)
    }
}

/// Cycles of one stage of a frame's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageWork {
    /// The switch's own word for it.
    pub name: String,
    /// TSC cycles, in the visits that were timed.
    pub cycles: u64,
    /// Frames of those visits.
    pub frames: u64,
}

/// A running switch.
pub trait Switch: Send {
    /// As in the report.
    fn name(&self) -> &str;

    /// Instruction set of its data path.
    fn instruction_set(&self) -> String;

    /// Its own words.
    fn version(&self) -> String;

    /// Its process, if it is ours.
    fn pid(&self) -> Option<u32>;

    /// The commands it was started with, for whoever wants to repeat it.
    fn commands(&self) -> Vec<String>;

    /// Returns once every port is served, or as much of that as the switch lets us see. To be called when the pods
    /// are connected.
    ///
    /// # Errors
    /// [`PeerError::NotReady`], or that it has ended.
    fn ready(&mut self) -> Result<(), PeerError>;

    /// What it did since its start; `None` where it does not say.
    fn work(&mut self) -> Option<Work>;

    /// Where its cycles went; empty where it does not say.
    fn stages(&mut self) -> Vec<StageWork> {
        Vec::new()
    }

    /// The same value as podswitch, for what only podswitch can be asked to do.
    fn as_podswitch(&mut self) -> Option<&mut RunningPodswitch> {
        None
    }

    /// Ends it in its own way, or with force after a while. Dropping it has the same effect.
    fn stop(self: Box<Self>);
}

/// How one switch is started.
pub trait Peer {
    /// As in the report and, in lower case, in its JSON: `podswitch`, `podswitch-twocopy`, `ovs`, `testpmd_io`, ….
    fn name(&self) -> &str;

    /// What of `wish` it can have: a switch that somebody else runs has its own sockets.
    ///
    /// # Errors
    /// [`PeerError::Sockets`] if it has too few.
    fn layout(&self, wish: &Layout) -> Result<Layout, PeerError> {
        Ok(wish.clone())
    }

    /// Starts it; its ports connect from then on.
    ///
    /// # Errors
    /// [`PeerError::Missing`] if this machine lacks what it takes, and whatever else goes wrong.
    fn start(&self, layout: &Layout, cpus: &Cpus) -> Result<Box<dyn Switch>, PeerError>;
}

/// Why a switch cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Not on this machine.
    #[error("missing: {what}; {remedy}")]
    Missing {
        /// What.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Load and switch need two CPUs.
    #[error("load CPU {load} and switch CPU {switch} must be two different ones of {all}")]
    Cpus {
        /// The generator's.
        load: u32,
        /// The switch's.
        switch: u32,
        /// Those there are.
        all: String,
    },
    /// A program could not be started at all.
    #[error("{program} could not be started: {source}")]
    Spawn {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended that should run.
    #[error("{program} ended ({status}): {log}")]
    Ended {
        /// Its path.
        program: PathBuf,
        /// How.
        status: String,
        /// The last of what it said.
        log: String,
    },
    /// A command of a peer's failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// As it could be typed.
        command: String,
        /// The last of what it said.
        output: String,
    },
    /// It runs, but does not do what it should.
    #[error("waited {waited:?} in vain for {what}")]
    NotReady {
        /// For what.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// A switch that somebody else runs has too few ports.
    #[error("{name} was named with {have} sockets, {need} are needed")]
    Sockets {
        /// The switch.
        name: String,
        /// Named.
        have: usize,
        /// Needed.
        need: usize,
    },
    /// podswitch's API refused or is gone.
    #[error("podswitch's API: {0}")]
    Api(String),
    /// A file of ours.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_list("7"), [7]);
        assert_eq!(parse_list(""), [0_u32; 0]);
    }

    #[test]
    fn control_threads_get_the_third_cpu_if_there_is_one() {
        assert_eq!(Cpus::new(0, 1, "0-1").unwrap().control, 0);
        assert_eq!(Cpus::new(0, 1, "0-3").unwrap().control, 2);
    }

    #[test]
    fn one_cpu_is_refused() {
        let error = Cpus::new(0, 0, "0").unwrap_err().to_string();
        assert!(error.contains("two different ones of 0"), "{error}");
        assert!(Cpus::new(0, 1, "0").is_err());
    }

    #[test]
    fn work_is_a_difference() {
        let before = Work { busy_cycles: 100, idle_cycles: 50, frames: 10 };
        let after = Work { busy_cycles: 900, idle_cycles: 60, frames: 18 };
        assert_eq!(after.since(before).cycles_a_frame(), Some(100.0));
        assert_eq!(after.since(after).cycles_a_frame(), None);
    }
}
