//! One run of a plugin's program: input in, output out, both bounded, and an end that comes.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Most bytes that a plugin may print.
const LONGEST_OUTPUT: u64 = 1 << 20;
/// Threads here copy bytes, no more.
const STACK: usize = 64 << 10;

/// How a program ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("it could not be run: {0}")]
    Io(#[from] io::Error),
    #[error("it did not end in time and was killed")]
    Deadline,
    #[error("it printed more than {LONGEST_OUTPUT} bytes and was killed")]
    TooLong,
}

/// Runs `program` with `environment` set over this process's own.
pub(super) fn run(
    program: &Path,
    verb: &str,
    environment: &[(&str, &str)],
    input: Vec<u8>,
    deadline: Instant,
) -> Result<Ended, RunError> {
    let mut child = Command::new(program)
        .envs(environment.iter().copied())
        .env("CNI_COMMAND", verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A group of its own, so that what the plugin started dies with it.
        .process_group(0)
        .spawn()?;
    let ended = attend(&mut child, input, deadline);
    if ended.is_err() {
        kill(&mut child);
    }
    ended
}

fn attend(child: &mut Child, input: Vec<u8>, deadline: Instant) -> Result<Ended, RunError> {
    let mut stdin = child.stdin.take().expect("it was asked for above");
    let stdout = child.stdout.take().expect("it was asked for above");
    // Both at once: a program may print before it has read everything, or never read. If it dies early the pipe breaks,
    // which its exit status tells better. Neither thread is waited for: a killed group closes both pipes.
    thread::Builder::new().stack_size(STACK).spawn(move || {
        let _ = stdin.write_all(&input);
    })?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().stack_size(STACK).spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(LONGEST_OUTPUT + 1).read_to_end(&mut output);
        let _ = sender.send(read.map(|_| output));
    })?;
    let output = receiver
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .map_err(|_| RunError::Deadline)??;
    if output.len() as u64 > LONGEST_OUTPUT {
        return Err(RunError::TooLong);
    }
    // Its output is closed, so it is about to end.
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended { status, output });
        }
        if Instant::now() >= deadline {
            return Err(RunError::Deadline);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn kill(child: &mut Child) {
    // It has not been waited for, so its number is still its own.
    if let Ok(number) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
