//! The command line `podswitch`: a client of the same API as everything else.
//!
//! Tables are for people, `-o json` prints the messages of the interface. Exit status: 0 done, 1 refused or failed
//! (one line on standard error), 2 wrong usage.

mod args;
mod client;
mod doctor;
mod network;
mod output;
mod port;
mod support;
mod table;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use proto::v1;

use args::{Command, FdbCommand, Options, PortCommand, WorkerCommand};
use client::Client;
use output::Output;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Refused, or failed, by the daemon.
    #[error("{}", one_line(.0.message(), .0.code()))]
    Refused(#[from] tonic::Status),
    /// Nobody answers.
    #[error("{address}: podswitchd cannot be reached ({reason}); is it running, and are you root?")]
    Unreachable { address: String, reason: String },
    /// The support archive.
    #[error("{path}: {source}")]
    Archive { path: String, source: io::Error },
    /// Standard output is closed or full.
    #[error("the output: {0}")]
    Output(#[from] io::Error),
    /// The runtime of this program.
    #[error("{0}")]
    Runtime(io::Error),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    if let Command::Completions { shell } = options.command {
        clap_complete::generate(shell, &mut Options::command(), "podswitch", &mut io::stdout());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime);
    match runtime.and_then(|runtime| runtime.block_on(start(options))) {
        Ok(status) => status,
        // Whoever read our output has read enough.
        Err(Error::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("podswitch: {e}");
            ExitCode::FAILURE
        }
    }
}

fn one_line(message: &str, code: tonic::Code) -> String {
    let text = if message.is_empty() { code.description() } else { message };
    text.replace('\n', " ")
}

/// What works without the daemon, and then everything else.
async fn start(options: Options) -> Result<ExitCode, Error> {
    let out = Output::new(options.output);
    match &options.command {
        Command::Doctor(doctor) => return doctor::run(doctor, &options.api, &out).await,
        Command::Support(support) => support::run(support, &options.api, &out).await?,
        _ => run(options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(options: Options) -> Result<(), Error> {
    let out = Output::new(options.output);
    let client = Client::connect(&options.api).await?;
    match options.command {
        Command::Status => {
            let status = client.node().status(v1::NodeStatusRequest {}).await?.into_inner();
            out.print(&status, table::status)
        }
        Command::Network { command } => network::run(command, &client, &out).await,
        Command::Attachment { command } => network::attachment(command, &client, &out).await,
        Command::Port { command: PortCommand::Stats { name, watch: true } } => {
            watch::stats(name.unwrap_or_default(), &client, &out).await
        }
        Command::Port { command } => port::run(command, &client, &out).await,
        Command::Fdb { command: FdbCommand::Show { network } } => {
            let fdb = client.stats().fdb(v1::FdbRequest { network }).await?.into_inner();
            out.print(&fdb, table::fdb)
        }
        Command::Worker { command: WorkerCommand::List } => {
            let workers = client.stats().workers(v1::WorkerStatsRequest {}).await?.into_inner();
            out.print(&workers, table::workers)
        }
        Command::Worker { command: WorkerCommand::Stages } => {
            let workers = client.stats().workers(v1::WorkerStatsRequest {}).await?.into_inner();
            out.print(&workers, table::stages)
        }
        Command::Drops { port } => {
            let request = v1::DropsRequest { port: port.unwrap_or_default() };
            let drops = client.stats().drops(request).await?.into_inner();
            out.print(&drops, table::drops)
        }
        Command::Completions { .. } | Command::Doctor(_) | Command::Support(_) => Ok(()),
    }
}
