//! `podswitch-device-plugin`: flags and log; everything else is `cni_vhostuser::device_plugin`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use cni_vhostuser::device_plugin::{Failure, Options, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = match EnvFilter::try_new(&options.log_level) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log-level: {error}; use error, warn, info or debug")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Signals(error).to_string()),
    };
    match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("podswitch-device-plugin: {text}");
    ExitCode::FAILURE
}
