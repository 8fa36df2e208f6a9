//! What is going on, on standard error: one line that changes on a terminal, a line a step otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How far a run is.
#[derive(Debug)]
pub struct Progress {
    begin: Instant,
    terminal: bool,
    silent: bool,
    /// Phases begun, and all.
    phase: (usize, usize),
    name: String,
}

impl Progress {
    /// Of a run with so many phases.
    #[must_use]
    pub fn new(phases: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { begin: Instant::now(), terminal, silent: false, phase: (0, phases), name: String::new() }
    }

    /// One that shows nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { silent: true, ..Self::new(0) }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The next phase begins.
    pub(super) fn phase(&mut self, name: &str) {
        self.phase.0 += 1;
        name.clone_into(&mut self.name);
        self.step("");
    }

    /// A step of this phase begins.
    pub(super) fn step(&self, what: &str) {
        let seconds = self.elapsed().as_secs();
        let separator = if what.is_empty() { "" } else { ": " };
        let (at, all) = self.phase;
        let time = format!("{}:{:02}", seconds / 60, seconds % 60);
        self.show(&format!("[{at}/{all} {time}] {}{separator}{what}", self.name), false);
    }

    /// Something failed; stays on the terminal.
    pub(super) fn trouble(&self, what: &str) {
        self.show(&format!("bench: {what}"), true);
    }

    /// Nothing more comes.
    pub(super) fn done(&self) {
        if self.terminal && !self.silent {
            eprint!("\r\x1b[2K");
        }
    }

    fn show(&self, text: &str, stays: bool) {
        if self.silent {
            return;
        }
        if self.terminal {
            let short: String = text.chars().take(if stays { usize::MAX } else { 78 }).collect();
            eprint!("\r\x1b[2K{short}{}", if stays { "\n" } else { "" });
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }
}
