//! One call of the plugin, from environment and standard input to what is printed.
//!
//! A failure is an error object on standard output and exit status 1 (CNI 1.1.0 §5 "Error"); standard error has the
//! log, a line an event, for the runtime to keep or not. Called by `main` and by tests.

use std::fmt::Display;
use std::io::Read;

use serde_json::{Value, json};

use super::client::{Client, Refusal};
use super::config::{self, Base};
use super::environment::{Environment, Variables, Verb};
use super::failure::{Code, Failure};
use super::ipam::Ipam;
use super::tombstone::Tombstone;
use super::verbs;
use super::version::Version;
use proto::v1::AttachmentKey;

/// What a call prints, and whether it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output; empty: nothing.
    pub output: String,
    /// For standard error.
    pub about: Option<&'static str>,
    /// Exit status 0 or 1.
    pub success: bool,
}

const ABOUT: &str = concat!(
    "cni-vhostuser ",
    env!("CARGO_PKG_VERSION"),
    ", the CNI plugin of podswitch: plugs pods into the switch over vhost-user sockets\n",
    "CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n",
    "A container runtime runs it; see CNI_COMMAND in the CNI specification.",
);

/// Does what the variables ask for. `input` is read only if there is a call at all.
pub fn run(variables: &Variables, input: impl FnOnce(Verb) -> std::io::Result<Vec<u8>>) -> Outcome {
    let environment = match Environment::read(variables) {
        Ok(Some(environment)) => environment,
        Ok(None) => return Outcome { output: String::new(), about: Some(ABOUT), success: true },
        // The version is still wanted; a runtime always closes standard input.
        Err(failure) => return failed(&failure, &input(Verb::Version).unwrap_or_default()),
    };
    let input = match input(environment.verb) {
        Ok(input) => input,
        Err(e) => {
            return failed(&Failure::new(Code::Io, format!("standard input cannot be read: {e}")), b"");
        }
    };
    match answer(environment, variables, &input) {
        Ok(Some(value)) => Outcome { output: value.to_string(), about: None, success: true },
        Ok(None) => Outcome { output: String::new(), about: None, success: true },
        Err(failure) => failed(&failure, &input),
    }
}

/// Reads standard input to its end, or to one byte more than any configuration has.
///
/// # Errors
/// What the kernel says; more than [`config::LARGEST`] bytes.
pub fn read_all(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut input = Vec::new();
    from.take(config::LARGEST + 1).read_to_end(&mut input)?;
    if input.len() as u64 > config::LARGEST {
        return Err(std::io::Error::other(format!("more than {} bytes", config::LARGEST)));
    }
    Ok(input)
}

/// The error object of a failure, on one line.
#[must_use]
pub fn error_object(failure: &Failure, version: Option<String>) -> String {
    let version = version.unwrap_or_else(|| Version::NEWEST.text().to_owned());
    let mut object = json!({ "cniVersion": version, "code": failure.code, "msg": failure.msg });
    if !failure.details.is_empty() {
        object["details"] = failure.details.as_str().into();
    }
    object.to_string()
}

fn failed(failure: &Failure, input: &[u8]) -> Outcome {
    log(failure);
    Outcome { output: error_object(failure, config::version_of(input)), about: None, success: false }
}

/// A line of the log.
pub fn log(event: impl Display) {
    use std::io::Write as _;
    // Nobody may be listening.
    drop(writeln!(std::io::stderr(), "cni-vhostuser: {event}"));
}

fn answer(environment: Environment, variables: &Variables, input: &[u8]) -> Result<Option<Value>, Failure> {
    if environment.verb == Verb::Version {
        let version = config::version_of(input).unwrap_or_else(|| Version::NEWEST.text().to_owned());
        return Ok(Some(
            json!({ "cniVersion": version, "supportedVersions": Version::ALL.map(Version::text) }),
        ));
    }
    let base = Base::read(input)?;
    environment.check_names()?;
    let version = Version::of(&base.version, environment.verb)?;
    let call = Call { environment, variables, base, version };
    match call.environment.verb {
        Verb::Add => verbs::add::add(&call).map(|answer| Some(answer.printed(version))),
        Verb::Del => verbs::del::del(&call).map(|()| None),
        Verb::Check => verbs::check::check(&call).map(|()| None),
        Verb::Gc => verbs::gc::gc(&call).map(|()| None),
        Verb::Status => verbs::status::status(&call).map(|()| None),
        Verb::Version => Ok(None),
    }
}

/// What every verb works on.
#[derive(Debug)]
pub struct Call<'a> {
    /// Checked.
    pub environment: Environment,
    /// All `CNI_*` variables, for an IPAM plugin.
    pub variables: &'a Variables,
    /// The configuration.
    pub base: Base,
    /// The version of the call.
    pub version: Version,
}

impl Call<'_> {
    /// What the attachment is known by.
    #[must_use]
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey {
            network: self.base.name.clone(),
            container_id: self.environment.container_id.clone(),
            ifname: self.environment.ifname.clone(),
        }
    }

    /// The path of the namespace; empty: not given.
    #[must_use]
    pub fn netns(&self) -> &str {
        self.environment.netns.as_deref().unwrap_or_default()
    }

    /// The tombstone of the key.
    #[must_use]
    pub fn tombstone(&self) -> Tombstone {
        Tombstone::of(self.base.socket.as_ref(), &self.key())
    }

    /// The daemon.
    ///
    /// # Errors
    /// The process can have no event descriptor.
    pub fn client(&self) -> Result<Client, Refusal> {
        Client::new(self.base.socket.as_ref(), self.base.timeout)
    }

    /// Does something with the IPAM plugin, if the configuration has one; `None`: it has none.
    pub fn with_ipam<T>(&self, act: impl FnOnce(Ipam<'_>) -> T) -> Option<T> {
        let kind = self.base.ipam.as_deref()?;
        let environment: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Some(act(Ipam {
            kind,
            path: &self.environment.path,
            config: &self.base.whole,
            version: self.version.text(),
            environment: &environment,
            timeout: IPAM_TIMEOUT,
        }))
    }
}

/// Time for one verb of an IPAM plugin. Some of them ask the API server, with retries of their own; the runtime's
/// patience (two minutes and more) is longer.
const IPAM_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests;
