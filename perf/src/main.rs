//! `podswitch-perf`: the benchmark's command line.

mod commands;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Measures vhost-user switches")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every switch in turn, and a table: podswitch, OVS-DPDK, testpmd, and those that are named.
    Bench(commands::bench::Bench),
    /// Load between any two vhost-user sockets, both ways.
    Run(commands::run::Run),
    /// What the CNI plugin costs a pod's start: additions and deletions, its start, its memory.
    Attach(commands::attach::Attach),
    /// The generator's own limit, against a device that copies nothing.
    Null(commands::null::Null),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Bench(bench) => bench.run(),
        Command::Run(run) => run.run(),
        Command::Attach(attach) => attach.run(),
        Command::Null(null) => null.run(),
    }
}
