//! One process: a plugin called once, or a shell command.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// After that a process is killed; kubelets wait no longer than some minutes, and nothing here is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit status; none if a signal ended it.
    pub exit: Option<i32>,
    /// That signal.
    pub signal: Option<i32>,
    /// It did not end by itself.
    pub hung: bool,
    /// Everything it printed.
    pub stdout: String,
    /// Everything it logged.
    pub stderr: String,
}

impl Outcome {
    /// Ended by itself with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit == Some(0)
    }
}

/// Runs a program with this environment and nothing else of ours.
pub fn call(program: &Path, env: &BTreeMap<String, String>, stdin: &[u8]) -> std::io::Result<Outcome> {
    let mut command = Command::new(program);
    command.env_clear().envs(env);
    finish(command, stdin)
}

/// Runs a shell command, with this process's PATH.
pub fn shell(script: &str) -> std::io::Result<Outcome> {
    let mut command = Command::new("sh");
    command.args(["-euc", script]);
    finish(command, b"")
}

fn finish(mut command: Command, stdin: &[u8]) -> std::io::Result<Outcome> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (pipe, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status, hung) = thread::scope(|scope| {
        scope.spawn(|| {
            // A program that fails early need not read: a broken pipe is fine.
            let _ = pipe.map(|mut pipe| pipe.write_all(stdin));
        });
        let stdout = scope.spawn(|| read(out));
        let stderr = scope.spawn(|| read(err));
        let started = Instant::now();
        let mut hung = false;
        let status = loop {
            match child.try_wait() {
                Ok(None) if started.elapsed() > PATIENCE && !hung => {
                    hung = true;
                    let _ = child.kill();
                }
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Ok(Some(status)) => break Ok(status),
                Err(error) => break Err(error),
            }
        };
        (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default(), status, hung)
    });
    let status = status?;
    Ok(Outcome { exit: status.code(), signal: status.signal(), hung, stdout, stderr })
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
