//! `podswitch-perf`: the benchmark's command line.

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Measures vhost-user switches")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The generator's own limit, against a device that copies nothing.
    Null,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Null => anyhow::bail!("not there yet"),
    }
}
