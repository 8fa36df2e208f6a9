//! The command line `podswitch`, as a user or a script runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The command line, bound to one daemon's API.
#[derive(Clone, Debug)]
pub struct Cli {
    api: String,
}

impl Cli {
    /// For the daemon whose API socket is at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { api: format!("unix:{}", socket.display()) }
    }

    /// Runs one command as it stands.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        run(&binary("podswitch"), &[&["--api", &self.api], arguments].concat())
    }

    /// Runs a command that must be done; gives its JSON (null if it prints none).
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[&["-o", "json"], arguments].concat());
        assert_eq!(outcome.status, 0, "podswitch {}: {}", arguments.join(" "), outcome.stderr);
        if outcome.stdout.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("podswitch {}: {error}: {}", arguments.join(" "), outcome.stdout))
    }

    /// As [`Cli::json`], as a message of the API.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        serde_json::from_value(self.json(arguments)).unwrap()
    }

    /// Runs a command that must be done.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.status, 0, "podswitch {}: {}", arguments.join(" "), outcome.stderr);
        outcome.stdout
    }

    /// Runs a command that must be refused: status 1, nothing on standard output, one line on standard error that
    /// holds each of `words`.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], words: &[&str]) -> String {
        refusal(&format!("podswitch {}", arguments.join(" ")), &self.run(arguments), 1, words)
    }
}

/// Checks a refusal: the status, and one line on standard error with each of `words`.
#[track_caller]
pub fn refusal(what: &str, outcome: &Outcome, status: i32, words: &[&str]) -> String {
    assert_eq!(outcome.status, status, "{what}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{what}");
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "{what}: one line on standard error: {:?}", outcome.stderr);
    for word in words {
        assert!(lines[0].contains(word), "{what}: {word:?} is not in {:?}", lines[0]);
    }
    lines[0].to_owned()
}

/// Runs a program to its end.
pub fn run(program: &Path, arguments: &[&str]) -> Outcome {
    let output = Command::new(program).env_remove("PODSWITCH_API").args(arguments).output().unwrap();
    Outcome {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// One of our binaries: where `PODSWITCHD` says the daemon is, where cargo says they are (this crate's tests), or above
/// the running example or test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if let Some(daemon) = std::env::var_os("PODSWITCHD").map(PathBuf::from) {
        return daemon.with_file_name(name);
    }
    let told = match name {
        "podswitchd" => option_env!("CARGO_BIN_EXE_podswitchd"),
        _ => option_env!("CARGO_BIN_EXE_podswitch"),
    };
    told.map_or_else(
        || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name),
        PathBuf::from,
    )
}
