//! `podswitchd`, the daemon: flags, configuration, log; everything else is `control_api::daemon`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use control_api::config::{File, LogFormat, Overrides, Settings};
use control_api::daemon;
use tracing_subscriber::EnvFilter;

/// A userspace switch for the pods and virtual machines of one node.
#[derive(Debug, Parser)]
#[command(name = "podswitchd", version)]
struct Flags {
    /// Configuration file [default: /etc/podswitch/podswitchd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the gRPC API listens [default: unix:/run/podswitch/api.sock]
    #[arg(long, value_name = "unix:PATH")]
    api: Option<String>,
    /// Directory of the store [default: /var/lib/podswitch]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// CPUs of the workers [default: auto:1]
    #[arg(long, value_name = "CPULIST|auto:N")]
    workers: Option<String>,
    /// Never use hugepages
    #[arg(long)]
    no_huge: bool,
    /// error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
}

fn main() -> ExitCode {
    let started = Instant::now();
    match run(Flags::parse(), started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("podswitchd: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags, started: Instant) -> anyhow::Result<()> {
    let file = File::load(flags.config.as_deref())?;
    let settings = file.resolve(Overrides {
        api: flags.api,
        state: flags.state,
        workers: flags.workers,
        no_huge: flags.no_huge,
        log_level: flags.log_level,
        log_format: flags.log_format,
    })?;
    log(&settings)?;
    Ok(daemon::run(&settings, started)?)
}

fn log(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|e| {
        anyhow::anyhow!("log.level: \"{}\": {e}; use error, warn, info or debug", settings.log_level)
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
