//! `podswitch doctor`: is this machine fit for the switch, and what would make it fitter.
//!
//! Runs without the daemon, before it is installed as well as beside it. A check gives one answer (those of NUMA nodes
//! one each): ok, warn or fail, what was found and what to do. Exit status: 0 unless a check fails (with `--strict`:
//! or warns), else 1. Sees the machine through [`machine::Machine`] alone.

mod cpu;
mod daemon;
mod devices;
mod finding;
mod kernel;
mod machine;
mod memory;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use proto::v1;

use super::Error;
use super::client::Client;
use super::output::Output;
use crate::address::ApiAddress;

use finding::{Report, Verdict};
use machine::{Daemon, Machine, Probes};

/// A daemon that is well answers in a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Warnings too are a failure
    #[arg(long)]
    strict: bool,
    /// The daemon's configuration file [default: /etc/podswitch/podswitchd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the tree below this directory instead of this machine; the kernel is not asked then
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

/// Examines and prints; the status is the program's.
pub(super) async fn run(command: &Doctor, api: &ApiAddress, out: &Output) -> Result<ExitCode, Error> {
    let probes = if command.root.is_some() { Probes::none() } else { Probes::ask() };
    let root = command.root.as_deref().unwrap_or(Path::new("/"));
    let machine = Machine::new(root, command.config.as_deref(), probes, ask(api).await);
    let report = examine(&machine);
    out.print(&report, Report::text)?;
    let worst = if command.strict { Verdict::Warn } else { Verdict::Fail };
    Ok(if report.verdict >= worst { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The report on this machine as text, for the support archive.
pub(super) async fn text(config: Option<&Path>, api: &ApiAddress) -> String {
    examine(&Machine::new(Path::new("/"), config, Probes::ask(), ask(api).await)).text()
}

fn examine(machine: &Machine) -> Report {
    let checks = [memory::check, cpu::check, devices::check, kernel::check, daemon::check];
    Report::new(checks.iter().flat_map(|check| check(machine)).collect())
}

async fn ask(api: &ApiAddress) -> Daemon {
    if std::fs::symlink_metadata(api.path()).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Daemon::Absent;
    }
    let answer = async {
        let client = Client::connect(api).await?;
        Ok::<_, Error>(client.node().status(v1::NodeStatusRequest {}).await?.into_inner())
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(status)) => Daemon::Answers(Box::new(status)),
        Ok(Err(e)) => Daemon::Silent(e.to_string()),
        Err(_) => Daemon::Silent(format!("no answer in {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests;
