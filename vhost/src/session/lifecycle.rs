//! The states of a port: one function a transition, with its log line and its counter.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LogLimit;
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::features::Features;

/// Where a port stands. Drawn in the head of [`crate::session`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection.
    #[default]
    Waiting,
    /// A frontend is connected and has not set features.
    Connected,
    /// Features are set, no ring has run.
    Negotiated,
    /// At least one ring runs.
    Running,
    /// Rings have run and none runs now.
    Paused,
    /// The connection was ended because of what the tenant did.
    Faulted(Fault),
    /// The port was removed.
    Gone,
}

impl State {
    /// One lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connected => "connected",
            Self::Negotiated => "negotiated",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Faulted(_) => "faulted",
            Self::Gone => "gone",
        }
    }
}

/// How often each state was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the states")]
pub struct Transitions {
    pub waiting: u64,
    pub connected: u64,
    pub negotiated: u64,
    pub running: u64,
    pub paused: u64,
    pub faulted: u64,
    pub gone: u64,
}

/// The state of a port and the ways between them.
#[derive(Debug)]
pub struct Lifecycle {
    name: Arc<str>,
    state: State,
    entered: Transitions,
    refusals: u64,
    last_fault: Option<Fault>,
    /// Why the port does not run: the last fault, refusal or disconnection.
    reason: String,
    log: LogLimit,
}

impl Lifecycle {
    pub(super) fn new(name: Arc<str>) -> Self {
        // A tenant can connect and disconnect as often as it likes: ten lines at once, then one in five seconds.
        let log = LogLimit::new(10, Duration::from_secs(5));
        Self {
            name,
            state: State::Waiting,
            entered: Transitions::default(),
            refusals: 0,
            last_fault: None,
            reason: String::new(),
            log,
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often each was entered.
    #[must_use]
    pub fn transitions(&self) -> Transitions {
        self.entered
    }

    /// Messages that were refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The fault of the last connection or of the last refused message, until a ring runs again.
    #[must_use]
    pub fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }

    pub(super) fn reason(&self, into: &mut String) {
        into.clone_from(&self.reason);
    }

    /// Waiting or Faulted → Connected.
    pub(super) fn connected(&mut self) {
        self.entered.connected += 1;
        self.state = State::Connected;
        self.log(format_args!("a frontend connected"));
    }

    /// Connected → Negotiated.
    pub(super) fn negotiated(&mut self, features: Features) {
        if self.state == State::Connected {
            self.entered.negotiated += 1;
            self.state = State::Negotiated;
            self.log(format_args!("features {:#x} negotiated", features.bits()));
        }
    }

    /// Any state with a connection → Running.
    pub(super) fn running(&mut self) {
        if self.state != State::Running {
            self.entered.running += 1;
            self.state = State::Running;
            self.last_fault = None;
            self.reason.clear();
            self.log(format_args!("a ring runs"));
        }
    }

    /// Running → Paused.
    pub(super) fn paused(&mut self) {
        if self.state == State::Running {
            self.entered.paused += 1;
            self.state = State::Paused;
            self.log(format_args!("all rings stopped"));
        }
    }

    /// Any state with a connection → Waiting.
    pub(super) fn waiting(&mut self, why: &dyn Display) {
        self.entered.waiting += 1;
        self.state = State::Waiting;
        self.set_reason(why);
        self.log(format_args!("disconnected: {why}"));
    }

    /// Any state with a connection → Faulted.
    pub(super) fn faulted(&mut self, fault: Fault, why: &dyn Display, now: Instant) {
        self.entered.faulted += 1;
        self.state = State::Faulted(fault);
        self.last_fault = Some(fault);
        self.set_reason(why);
        if let Some(suppressed) = self.log.allow(now) {
            tracing::warn!(port = %self.name, state = self.state.name(), suppressed, "faulted: {why}");
        }
    }

    /// Any state → Gone.
    pub(super) fn gone(&mut self) {
        if self.state != State::Gone {
            self.entered.gone += 1;
            self.state = State::Gone;
            self.log(format_args!("removed"));
        }
    }

    /// A message was refused; the connection goes on.
    pub(super) fn refused(&mut self, why: &Refusal, now: Instant) {
        self.refusals += 1;
        self.last_fault = Some(why.fault());
        self.set_reason(why);
        if let Some(suppressed) = self.log.allow(now) {
            tracing::warn!(port = %self.name, state = self.state.name(), suppressed, "refused: {why}");
        }
    }

    fn set_reason(&mut self, why: &dyn Display) {
        self.reason.clear();
        let _ = write!(self.reason, "{why}");
    }

    fn log(&mut self, text: std::fmt::Arguments<'_>) {
        if let Some(suppressed) = self.log.allow(Instant::now()) {
            tracing::info!(port = %self.name, state = self.state.name(), suppressed, "{text}");
        }
    }
}
