//! An IPAM plugin: found in CNI_PATH, run as the specification says (CNI 1.1.0 §4), its answer read.
//!
//! Addresses may be given by a plugin of somebody else's (host-local, static, whereabouts, …). It gets our environment
//! and the whole of our standard input, writes its log to our standard error, and must answer within a deadline: it is
//! killed otherwise, with all that it started. A plugin that does not know our version is asked which it knows, and
//! called again in the highest that both do. Called by the CNI plugin's verbs, on the one thread that it has.

mod answer;
mod run;
#[cfg(test)]
mod tests;
mod version;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cni::call::log;
use crate::cni::failure::{Code, Failure};
use crate::cni::result::Addressing;

/// One IPAM plugin, ready to be called.
#[derive(Clone, Copy, Debug)]
pub struct Ipam<'a> {
    /// The configuration's `ipam.type`: the name of a program.
    pub kind: &'a str,
    /// CNI_PATH: directories with `:` between them.
    pub path: &'a str,
    /// The whole of our standard input.
    pub config: &'a Value,
    /// The configuration's `cniVersion`.
    pub version: &'a str,
    /// Variables that are set for the plugin over those that this process has itself; CNI_COMMAND is added.
    pub environment: &'a [(&'a str, &'a str)],
    /// For one verb, the question for versions and a second try included.
    pub timeout: Duration,
}

impl Ipam<'_> {
    /// Asks for addresses. After a failure the plugin's DEL has been called, as the specification asks; a caller that
    /// fails later calls [`Ipam::del`] itself.
    ///
    /// # Errors
    /// What the plugin answered, with its own code; `Ipam` where it answered nothing or nonsense, could not be found or
    /// started, or was too slow; `InvalidConfig` for a type that is no name of a plugin.
    pub fn add(&self) -> Result<Addressing, Failure> {
        let program = self.find()?;
        let added = self.call(&program, "ADD").and_then(|text| answer::addressing(self.kind, &text));
        if let Err(failure) = &added {
            log(format_args!("the IPAM plugin {} failed at ADD, it is told DEL: {failure}", self.kind));
            if let Err(failure) = self.call(&program, "DEL") {
                log(format_args!("the IPAM plugin {} failed at DEL too: {failure}", self.kind));
            }
        }
        added
    }

    /// Gives the addresses back. A container that the plugin does not know is success.
    ///
    /// # Errors
    /// As [`Ipam::add`].
    pub fn del(&self) -> Result<(), Failure> {
        self.find()
            .and_then(|program| self.call(&program, "DEL"))
            .map(drop)
            .or_else(|failure| failure.or_unless(&[Code::UnknownContainer]))
    }

    /// Whether the addresses are still the container's. A plugin that knows no CHECK (CNI 0.3) is content.
    ///
    /// # Errors
    /// As [`Ipam::add`].
    pub fn check(&self) -> Result<(), Failure> {
        self.find()
            .and_then(|program| self.call(&program, "CHECK"))
            .map(drop)
            .or_else(|failure| failure.or_unless(&[Code::IncompatibleVersion]))
    }

    /// Has addresses of attachments that are not in the input given back, where the plugin knows how to.
    ///
    /// # Errors
    /// As [`Ipam::add`].
    pub fn gc(&self) -> Result<(), Failure> {
        self.newer_verb("GC")
    }

    /// Whether the plugin could answer an ADD, where it knows how to say.
    ///
    /// # Errors
    /// As [`Ipam::add`].
    pub fn status(&self) -> Result<(), Failure> {
        self.newer_verb("STATUS")
    }

    /// A verb of CNI 1.1.0. Older plugins refuse the version, or miss variables that the verb does not have, and
    /// most of them know nothing to do for it.
    fn newer_verb(&self, verb: &str) -> Result<(), Failure> {
        const UNKNOWN: [Code; 3] =
            [Code::IncompatibleVersion, Code::UnknownContainer, Code::InvalidEnvironment];
        let program = self.find()?;
        self.once(&program, verb, self.config, self.deadline())
            .map(drop)
            .or_else(|failure| failure.or_unless(&UNKNOWN))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// One call, and a second one in another version where the plugin refuses ours.
    fn call(&self, program: &Path, verb: &str) -> Result<Vec<u8>, Failure> {
        let deadline = self.deadline();
        let refused = match self.once(program, verb, self.config, deadline) {
            Err(failure) if failure.code == Code::IncompatibleVersion as u32 => failure,
            other => return other,
        };
        let question = serde_json::json!({ "cniVersion": self.version });
        let known = self.once(program, "VERSION", &question, deadline).unwrap_or_default();
        let Some(other) = version::highest_common(&known).filter(|other| *other != self.version) else {
            return Err(refused);
        };
        self.once(program, verb, &version::spoken(self.config, other), deadline)
    }

    /// One run of the program: what it printed, or the failure that it is.
    fn once(
        &self,
        program: &Path,
        verb: &str,
        config: &Value,
        deadline: Instant,
    ) -> Result<Vec<u8>, Failure> {
        let silent = |why: String| {
            Failure::new(Code::Ipam, format!("the IPAM plugin {} failed at {verb}", self.kind)).with(why)
        };
        let input = serde_json::to_vec(config).map_err(|error| silent(error.to_string()))?;
        let ended = run::run(program, verb, self.environment, input, deadline)
            .map_err(|error| silent(error.to_string()))?;
        if ended.status.success() {
            return Ok(ended.output);
        }
        Err(answer::error(&ended.output)
            .unwrap_or_else(|| silent(format!("{}, and no error object", ended.status))))
    }

    fn find(&self) -> Result<PathBuf, Failure> {
        let kind = self.kind;
        let invalid = |why: &str| Failure::new(Code::InvalidConfig, format!("ipam.type {kind:?} {why}"));
        if kind.is_empty() || kind.contains(['/', '\0']) || kind == "." || kind == ".." {
            return Err(invalid("is not the name of a plugin"));
        }
        if kind == "dhcp" {
            return Err(invalid("cannot work: it needs a kernel interface that carries frames"));
        }
        std::env::split_paths(self.path)
            .filter(|directory| !directory.as_os_str().is_empty())
            .map(|directory| directory.join(kind))
            .find(|file| {
                file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
            })
            .ok_or_else(|| {
                Failure::new(Code::Ipam, format!("there is no IPAM plugin {kind}"))
                    .with(format!("searched in CNI_PATH={}", self.path))
            })
    }
}

impl Failure {
    /// Success for a failure with one of `codes`.
    fn or_unless(self, codes: &[Code]) -> Result<(), Self> {
        if codes.iter().any(|code| *code as u32 == self.code) { Ok(()) } else { Err(self) }
    }
}
