//! Where results go: standard output, as a table or as JSON. A closed pipe is an error here, not a panic.

use std::io::{self, Write as _};

use serde::Serialize;

use super::Error;
use super::args::Format;

#[derive(Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a message as it is, or as text.
    pub(super) fn print<T: Serialize>(
        &self,
        message: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        match self.format {
            Format::Table => line(&text(message)),
            Format::Json => {
                line(&serde_json::to_string_pretty(message).expect("the messages have string keys only"))
            }
        }
    }
}

/// Prints and flushes; empty text prints nothing.
pub(super) fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let text = text.trim_end();
    if !text.is_empty() {
        writeln!(out, "{text}")?;
    }
    Ok(out.flush()?)
}
