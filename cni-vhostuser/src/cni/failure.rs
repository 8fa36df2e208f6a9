//! What goes wrong, as CNI tells it: a code, a message, details.
//!
//! Codes up to 99 are the specification's (CNI 1.1.0 §5), those from 100 are ours; docs/kubernetes.md lists them.

use serde::{Deserialize, Serialize};

/// The codes that this plugin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the meaning; docs/kubernetes.md says what to do")]
pub enum Code {
    IncompatibleVersion = 1,
    UnsupportedField = 2,
    UnknownContainer = 3,
    InvalidEnvironment = 4,
    Io = 5,
    Decode = 6,
    InvalidConfig = 7,
    InvalidNamespace = 8,
    TryAgainLater = 11,
    NotAvailable = 50,
    LimitedConnectivity = 51,
    UnknownNetwork = 100,
    NoRoom = 101,
    MacInUse = 102,
    AddressRefused = 103,
    VlanRefused = 104,
    NoDevice = 105,
    PathTooLong = 106,
    MtuRefused = 108,
    NoPort = 110,
    BackendDown = 111,
    SocketMissing = 112,
    NamespaceNotAllowed = 113,
    OverLimit = 114,
    AttachedOtherwise = 115,
    /// CHECK: what is there is not what was answered.
    Differs = 116,
    /// An IPAM plugin failed without a word.
    Ipam = 117,
    /// The link in the container could not be made.
    StubLink = 118,
}

/// A failure of a call, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct Failure {
    /// See [`Code`]; a code that an IPAM plugin answered is passed on as it is.
    pub code: u32,
    /// One line.
    pub msg: String,
    /// What to do, or more of the cause; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl Failure {
    /// A failure with a message alone.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code: code as u32, msg: msg.into(), details: String::new() }
    }

    /// The same with details.
    #[must_use]
    pub fn with(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}
