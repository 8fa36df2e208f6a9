//! The files: cases, and profiles of plugins.
//!
//! Both are TOML and refuse unknown keys, so that a misspelt expectation is an error instead of one that always holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not readable.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not of this form.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// Of this form and still meaningless.
    #[error("{path}: case {case}: {why}")]
    Meaningless {
        /// The file.
        path: PathBuf,
        /// The case's name.
        case: String,
        /// Why.
        why: &'static str,
    },
}

/// A file of cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// In file order.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// Steps in order; the first that is not as expected ends the case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Short, unique in a run.
    pub name: String,
    /// What the case holds a plugin to, and where that is written.
    #[serde(default)]
    pub why: String,
    /// A fresh network namespace, `{netns}` (path) and `{netns_name}`. Without, `{netns}` is a path that does not exist.
    #[serde(default)]
    pub netns: bool,
    /// Run once for each version of the profile (`{version}`); otherwise with the newest.
    #[serde(default)]
    pub every_version: bool,
    /// Of those versions only these.
    #[serde(default)]
    pub versions: Vec<String>,
    /// For every call of the case.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Keys that replace those of the profile's configuration, for every call.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Plugins (names of profiles) that the case does not apply to, with the reason; shown in the report.
    #[serde(default)]
    pub not_for: BTreeMap<String, String>,
    /// At least one.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// A call of the plugin (`verb`) or a shell command (`run`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// CNI_COMMAND; empty: not set.
    pub verb: Option<String>,
    /// For `sh -eu`; without an expectation it must end with 0.
    pub run: Option<String>,
    /// Over the case's and the usual ones.
    pub env: BTreeMap<String, String>,
    /// Variables taken out of the environment.
    pub unset: Vec<String>,
    /// Keys that replace those of the case and the profile.
    pub config: Map<String, Value>,
    /// Keys taken out of the configuration.
    pub omit: Vec<String>,
    /// Instead of a configuration.
    pub stdin: Option<String>,
    /// `stdin` that many times.
    pub times: Option<usize>,
    /// `stdin` as hexadecimal bytes.
    pub stdin_hex: Option<String>,
    /// JSON pointers into stdout ("" for all of it) kept under a name for later steps.
    pub keep: BTreeMap<String, String>,
    /// Repeat until it is as expected, within a generous time.
    pub retry: bool,
    /// What must come of it.
    pub expect: Expect,
    /// By name of profile: what comes of it there instead.
    pub on: BTreeMap<String, Departure>,
}

/// A known difference of one plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// Which difference, and whose mistake.
    pub why: String,
    /// In place of the step's.
    #[serde(default)]
    pub expect: Expect,
}

/// Empty: success.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Failure with any well-formed error.
    pub fails: bool,
    /// Failure with one of these codes.
    pub code: Vec<u64>,
    /// Texts that stand in the error's `msg` or `details`.
    pub says: Vec<String>,
    /// JSON pointers and what is there. `*` as a segment: some element; `#` as the last: how many there are. Texts are
    /// patterns in which `*` stands for anything.
    pub json: BTreeMap<String, Value>,
    /// JSON pointers where nothing may be.
    pub absent: Vec<String>,
    /// Nothing on stdout.
    pub silent: bool,
    /// Texts on stdout.
    pub prints: Vec<String>,
    /// Texts that may not stand there.
    pub prints_not: Vec<String>,
    /// Texts on stderr.
    pub logs: Vec<String>,
}

/// What one plugin needs, and is known for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What cases call the plugin.
    pub name: String,
    /// CNI versions to ask for, oldest first.
    pub versions: Vec<String>,
    /// Variables with their defaults, which the command line may replace.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Directories of other plugins, for CNI_PATH, after the plugin's own.
    #[serde(default)]
    pub path: Vec<String>,
    /// For every call.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A configuration with which ADD succeeds; `cniVersion` and `name` are put in.
    pub config: Map<String, Value>,
    /// Shell command before each case.
    #[serde(default)]
    pub before: Option<String>,
    /// Shell command after each case.
    #[serde(default)]
    pub after: Option<String>,
    /// Invariants that the plugin does not keep, with the reason.
    #[serde(default)]
    pub departs: BTreeMap<String, String>,
}

impl Cases {
    /// Reads a file of cases.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let cases: Self = parse(path)?;
        for case in &cases.cases {
            let broken = |why| FileError::Meaningless { path: path.into(), case: case.name.clone(), why };
            if case.steps.is_empty() {
                return Err(broken("no steps"));
            }
            if case.steps.iter().any(|step| step.verb.is_some() == step.run.is_some()) {
                return Err(broken("a step has a verb or a command to run, one of them"));
            }
            if case.not_for.values().any(String::is_empty) {
                return Err(broken("not_for without a reason"));
            }
        }
        Ok(cases)
    }
}

impl Profile {
    /// Reads a profile.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        parse(path)
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, FileError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    toml::from_str(&text).map_err(|source| FileError::Parse { path: path.into(), source: Box::new(source) })
}
