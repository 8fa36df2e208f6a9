//! Holds a CNI plugin to the cases in files.
//!
//! ```text
//! cni-conformance --profile tests/cases/plugins/host-local.toml /usr/lib/cni/host-local tests/cases/any-plugin.toml
//! ```
//!
//! The profile says what the plugin needs to work: its configuration, directories of other plugins, variables (which
//! `--set` replaces). Root and iproute2 are needed, since cases get network namespaces of their own. Ends with 1 if the
//! plugin breaks a case.

#[path = "../tests/conformance/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the test of the same name")]
mod conformance;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use conformance::case::{Cases, FileError, Profile};
use conformance::run::Suite;

/// Holds a CNI plugin to the cases in files.
#[derive(Parser)]
struct Arguments {
    /// What the plugin needs: a TOML file as in tests/cases/plugins.
    #[arg(long)]
    profile: PathBuf,
    /// A variable of the profile or the cases, NAME=VALUE.
    #[arg(long = "set", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Only cases with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// The plugin.
    plugin: PathBuf,
    /// Files of cases.
    #[arg(required = true)]
    cases: Vec<PathBuf>,
}

fn main() -> Result<ExitCode, FileError> {
    let arguments = Arguments::parse();
    let mut suite = Suite::new(&arguments.plugin, Profile::read(&arguments.profile)?);
    suite.set = arguments.variables.into_iter().collect();
    suite.only = arguments.only;
    let cases = arguments.cases.iter().map(|path| Cases::read(path)).collect::<Result<Vec<_>, _>>()?;
    let report = suite.run(&cases);
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout(), "{report}");
    Ok(if report.broken().is_empty() && report.asked() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn variable(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.into(), value.into()))
        .ok_or_else(|| "NAME=VALUE is asked for".into())
}
