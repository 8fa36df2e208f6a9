//! The environment of a call: the `CNI_*` variables, read once and checked (CNI 1.1.0 §2, "Parameters").
//!
//! Everything here comes from the container runtime; what is wrong with it is code 4. Values are only ever compared,
//! sent on or opened as a path, never cut to a length that somebody assumed.

mod arguments;

use std::collections::BTreeMap;
use std::fmt;

pub use arguments::Arguments;

use super::failure::{Code, Failure};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's words")]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As in `CNI_COMMAND`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables that must not be empty, beside `CNI_COMMAND`.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &[CONTAINERID, NETNS, IFNAME, PATH],
            Self::Del => &[CONTAINERID, IFNAME, PATH],
            Self::Gc | Self::Status => &[PATH],
            Self::Version => &[],
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

const COMMAND: &str = "CNI_COMMAND";
const CONTAINERID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const PATH: &str = "CNI_PATH";
const ARGS: &str = "CNI_ARGS";
const NETNS_OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// Bytes of an interface name in the kernel, without the final zero.
const LONGEST_IFNAME: usize = 15;

/// The variables of one process, `CNI_*` alone.
pub type Variables = BTreeMap<String, String>;

/// The environment of one call.
#[derive(Clone, Debug)]
pub struct Environment {
    /// What is to be done.
    pub verb: Verb,
    /// Empty for GC, STATUS and VERSION.
    pub container_id: String,
    /// `None`: not given, or empty.
    pub netns: Option<String>,
    /// Empty for GC, STATUS and VERSION.
    pub ifname: String,
    /// Directories of plugins, separated by colons.
    pub path: String,
    /// Whether the plugin's own namespace is accepted.
    pub netns_override: bool,
    /// `CNI_ARGS` as it stands; see [`Self::arguments`].
    args: String,
}

/// The `CNI_*` variables of this process. A value that is not UTF-8 is kept with replacement characters, which no
/// check lets pass.
#[must_use]
pub fn of_process() -> Variables {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .filter(|(name, _)| name.starts_with("CNI_"))
        .collect()
}

impl Environment {
    /// Reads the variables. `None`: there is no `CNI_COMMAND`, so no runtime calls.
    ///
    /// # Errors
    /// Code 4: an unknown command, or variables that it needs are missing, all of which are named.
    pub fn read(variables: &Variables) -> Result<Option<Self>, Failure> {
        let get = |name: &str| variables.get(name).cloned().unwrap_or_default();
        let command = get(COMMAND);
        if command.is_empty() {
            return Ok(None);
        }
        let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.word() == command) else {
            let all = Verb::ALL.map(Verb::word).join(", ");
            return Err(wrong(format!("unknown {COMMAND} \"{}\"", shown(&command)))
                .with(format!("the commands are {all}")));
        };
        let missing: Vec<&str> =
            verb.required().iter().copied().filter(|name| get(name).is_empty()).collect();
        if !missing.is_empty() {
            let what = "required environment variables are missing";
            return Err(wrong(format!("{verb}: {what}: {}", missing.join(", "))));
        }
        Ok(Some(Self {
            verb,
            container_id: get(CONTAINERID),
            netns: Some(get(NETNS)).filter(|path| !path.is_empty()),
            ifname: get(IFNAME),
            path: get(PATH),
            netns_override: matches!(get(NETNS_OVERRIDE).to_ascii_lowercase().as_str(), "1" | "true"),
            args: get(ARGS),
        }))
    }

    /// Checks the names that a call about a container carries.
    ///
    /// # Errors
    /// Code 4.
    pub fn check_names(&self) -> Result<(), Failure> {
        if !matches!(self.verb, Verb::Add | Verb::Del | Verb::Check) {
            return Ok(());
        }
        if !is_identifier(&self.container_id) {
            return Err(wrong(format!(
                "{CONTAINERID} \"{}\" is not a container id",
                shown(&self.container_id)
            ))
            .with(IDENTIFIER));
        }
        let why = if self.ifname.len() > LONGEST_IFNAME {
            "is longer than 15 bytes"
        } else if matches!(self.ifname.as_str(), "." | "..") {
            "is a directory"
        } else if self
            .ifname
            .contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
        {
            "holds a slash, a colon, white space or a control character"
        } else {
            return Ok(());
        };
        Err(wrong(format!("{IFNAME} \"{}\" is not an interface name: it {why}", shown(&self.ifname))))
    }

    /// `CNI_ARGS`, taken apart.
    ///
    /// # Errors
    /// Code 4.
    pub fn arguments(&self) -> Result<Arguments, Failure> {
        Arguments::parse(&self.args)
    }
}

/// What [`is_identifier`] asks for, in words.
pub const IDENTIFIER: &str = "it begins with a letter or digit, and letters, digits, '_', '.' and '-' follow";

/// Whether a text can be a container id or the name of a network.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A value from outside in a message: one line, not too long.
#[must_use]
pub fn shown(value: &str) -> String {
    const MOST: usize = 100;
    let mut text: String = value.chars().take(MOST).flat_map(char::escape_debug).collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

fn wrong(msg: String) -> Failure {
    Failure::new(Code::InvalidEnvironment, msg)
}

#[cfg(test)]
mod tests;
