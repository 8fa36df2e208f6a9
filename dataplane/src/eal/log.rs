//! DPDK's log: into `tracing`, never to the terminal; and its first error is kept to explain a failure.
//!
//! DPDK reports why something failed in its log and hardly in its return codes. It logs on the thread that
//! made the call, so the lines between begin and end of a call on one thread are that call's. The first error is
//! the one that says what is wrong; layer after layer above then reports that it failed as well. Called from
//! any thread that is inside DPDK; on workers only when a driver complains.

use std::cell::RefCell;
use std::fmt;
use std::panic::catch_unwind;

use dpdk_sys as sys;

/// Longest line kept; the rest is cut off.
const LINE_MAX: usize = 1024;

#[derive(Default)]
struct Lines {
    /// Text of a line that has not ended yet.
    partial: Vec<u8>,
    /// Set while [`record`] runs.
    recording: bool,
    /// The most important line since: its level, and its text. Of equal levels the first.
    kept: Option<(u32, String)>,
}

thread_local! {
    static LINES: RefCell<Lines> = RefCell::default();
}

/// Directs DPDK's log here. Before EAL starts.
pub(super) fn open() {
    // SAFETY: `sink` lives as long as the process. DPDK owns the stream from here on.
    let done = unsafe { sys::shim_log_open(Some(sink)) };
    if done < 0 {
        tracing::warn!("DPDK's log goes to standard error: no memory for a stream");
    }
    // SAFETY: sets a number.
    unsafe { sys::rte_log_set_global_level(sys::SHIM_LOG_INFO) };
}

/// Runs a call into DPDK, and returns with its result the first error (or, without one, warning) that it
/// logged on this thread.
pub(crate) fn record<T>(call: impl FnOnce() -> T) -> (T, Option<String>) {
    LINES.with_borrow_mut(|lines| {
        lines.recording = true;
        lines.kept = None;
    });
    let result = call();
    let kept = LINES.with_borrow_mut(|lines| {
        lines.recording = false;
        lines.kept.take()
    });
    (result, kept.map(|(_, text)| text))
}

/// A cause as the end of an error message: `: DPDK says "…"`, or nothing.
pub(crate) struct Cause<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, ": DPDK says \"{text}\""),
            None => Ok(()),
        }
    }
}

extern "C" fn sink(text: *const core::ffi::c_char, length: usize) {
    // SAFETY: the C library hands over `length` bytes that stay where they are during the call.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    // SAFETY: reads a variable of the thread.
    let level = unsafe { sys::rte_log_cur_msg_loglevel() };
    // A subscriber that panics must not unwind into C; and a thread that is ending has no lines any more.
    let _ = catch_unwind(|| LINES.try_with(|lines| take(lines, text, u32::try_from(level).unwrap_or(0))));
}

fn take(lines: &RefCell<Lines>, text: &[u8], level: u32) {
    for piece in text.split_inclusive(|byte| *byte == b'\n') {
        // Not while a line is being emitted: a subscriber could itself end up in DPDK's log.
        let Ok(mut lines) = lines.try_borrow_mut() else { return };
        let room = LINE_MAX.saturating_sub(lines.partial.len());
        lines.partial.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.ends_with(b"\n") {
            let line = String::from_utf8_lossy(&lines.partial).trim().to_owned();
            lines.partial.clear();
            if line.is_empty() {
                continue;
            }
            if lines.recording
                && level <= sys::SHIM_LOG_WARNING
                && lines.kept.as_ref().is_none_or(|(kept, _)| level < *kept)
            {
                lines.kept = Some((level, line.clone()));
            }
            drop(lines);
            emit(level, &line);
        }
    }
}

/// What DPDK calls an error is often the outcome of a request that is refused with a reason of ours: it is a
/// warning here.
fn emit(level: u32, line: &str) {
    if level <= sys::SHIM_LOG_WARNING {
        tracing::warn!(target: "dpdk", "{line}");
    } else if level <= sys::SHIM_LOG_INFO {
        tracing::debug!(target: "dpdk", "{line}");
    } else {
        tracing::trace!(target: "dpdk", "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(level: u32, text: &str) {
        LINES.with(|lines| take(lines, text.as_bytes(), level));
    }

    #[test]
    fn the_first_error_is_kept_over_warnings_and_later_errors() {
        let ((), cause) = record(|| {
            say(sys::SHIM_LOG_INFO, "EAL: chatter\n");
            say(sys::SHIM_LOG_WARNING, "EAL: a warning\n");
            say(sys::SHIM_LOG_ERR, "driver: no su");
            say(sys::SHIM_LOG_ERR, "ch file\nEAL: ");
            say(sys::SHIM_LOG_ERR, "it failed\n");
        });
        assert_eq!(cause.as_deref(), Some("driver: no such file"));
    }

    #[test]
    fn lines_outside_a_call_are_not_kept_and_long_ones_are_cut() {
        say(sys::SHIM_LOG_ERR, "EAL: before\n");
        assert_eq!(record(|| ()).1, None);
        let ((), cause) = record(|| say(sys::SHIM_LOG_ERR, &format!("{}\n", "x".repeat(5000))));
        assert_eq!(cause.map(|text| text.len()), Some(LINE_MAX));
    }

    #[test]
    fn a_cause_reads_as_the_end_of_a_sentence() {
        assert_eq!(format!("no{}", Cause(Some("EAL: why"))), "no: DPDK says \"EAL: why\"");
        assert_eq!(format!("no{}", Cause(None)), "no");
    }
}
