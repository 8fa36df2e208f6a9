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
    /// Load between any two vhost-user sockets, both ways.
    Run(commands::run::Run),
    /// The generator's own limit, against a device that copies nothing.
    Null(commands::null::Null),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Null(null) => null.run(),
    }
}
