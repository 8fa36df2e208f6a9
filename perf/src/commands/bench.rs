//! `bench`: every switch in turn, and a table.

use std::path::PathBuf;

use clap::Args;
use perf::bench::{Extent, Options, PHASES, Progress, run};
use perf::peers::Named;
use perf::report::{json, table};

/// The whole benchmark.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Shortened, under three minutes: an indication.
    #[arg(long)]
    quick: bool,
    /// Everything once and as short as can be: shows that it works, measures nothing.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Rounds of what ratios are made of.
    #[arg(long)]
    rounds: Option<usize>,
    /// Directory for the results.
    #[arg(long, default_value = "perf/results")]
    out: PathBuf,
    /// A switch that is running: NAME=[server:|client:]SOCKET,SOCKET. `server`, the default: this program creates the
    /// sockets. May be given several times.
    #[arg(long = "peer", value_name = "NAME=SOCKETS")]
    peers: Vec<Named>,
    /// The daemon, if it is not beside this program.
    #[arg(long)]
    podswitchd: Option<PathBuf>,
    /// The generator's CPU.
    #[arg(long, default_value_t = 0)]
    load_cpu: u32,
    /// The switches' CPU.
    #[arg(long, default_value_t = 1)]
    switch_cpu: u32,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let extent = match (self.quick, self.smoke) {
            (true, _) => Extent::Quick,
            (_, true) => Extent::Smoke,
            _ => Extent::Full,
        };
        let options = Options {
            extent,
            rounds: self.rounds,
            named: self.peers,
            podswitchd: self.podswitchd,
            load_cpu: self.load_cpu,
            switch_cpu: self.switch_cpu,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        };
        let report = run(&options, Progress::new(PHASES));
        println!("{}", report.machine.line());
        println!("{}", table::text(&report));
        let paths = json::write(&report, &self.out)?;
        println!("{:.0} s; result: {}, plots beside it", report.seconds, paths[0].display());
        Ok(())
    }
}
