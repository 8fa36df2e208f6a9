//! The CNI plugin as a process: one call, its time, its memory; and network namespaces to call it for.

use std::io::{ErrorKind, PipeWriter, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::methods::MethodError;
use crate::peers::PeerError;

/// Longest time for one call.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the plugin is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Del,
}

/// A pod's interface.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) container: String,
    pub(super) netns: PathBuf,
    pub(super) config: String,
}

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) program: PathBuf,
    /// Where it finds others.
    pub(super) path: String,
}

impl Plugin {
    /// A call to its end; gives how long it took.
    pub(super) fn run(&self, verb: Verb, call: &Call) -> Result<Duration, MethodError> {
        let begin = Instant::now();
        let child = self.begin(&mut self.command(verb, call), call)?;
        let output = child.wait_with_output().map_err(|source| self.failed(source))?;
        let time = begin.elapsed();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let command = format!("{} ({verb:?})", self.program.display());
            return Err(PeerError::Command { command, output: said }.into());
        }
        Ok(time)
    }

    /// Asks for its version: it starts, and has nothing else to do.
    pub(super) fn version(&self) -> Result<(), MethodError> {
        let mut command = Command::new(&self.program);
        command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).stdout(Stdio::null());
        command.status().map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// The most memory that it holds during an addition, bytes: it is looked at when it has done everything and only its
    /// answer is left, which does not fit into the pipe until it was looked at.
    pub(super) fn peak(&self, call: &Call) -> Result<u64, MethodError> {
        let failed = |source| self.failed(source);
        let (mut reader, mut writer) = std::io::pipe().map_err(failed)?;
        fill(&mut writer).map_err(failed)?;
        let mut command = self.command(Verb::Add, call);
        command.stdout(writer);
        let child = self.begin(&mut command, call)?;
        // Our end of the writer goes with the command: the reading below ends with the child.
        drop(command);
        let end = Instant::now() + PATIENCE;
        let waits_for_us = loop {
            let place = std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
            if place.contains("pipe_write") || Instant::now() > end {
                break place;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let mut answer = String::new();
        let _ = reader.read_to_string(&mut answer);
        let output = child.wait_with_output().map_err(failed)?;
        self.run(Verb::Del, call)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        match kilobytes.filter(|_| output.status.success() && waits_for_us.contains("pipe_write")) {
            Some(kilobytes) => Ok(kilobytes << 10),
            None => {
                let command = format!("{} (Add)", self.program.display());
                Err(PeerError::Command { command, output: answer.trim().to_owned() }.into())
            }
        }
    }

    /// The command of a call, with this environment and no other.
    pub(super) fn command(&self, verb: Verb, call: &Call) -> Command {
        let mut command = Command::new(&self.program);
        self.environment(&mut command, verb, call);
        command
    }

    pub(super) fn environment(&self, command: &mut Command, verb: Verb, call: &Call) {
        command.env_clear();
        command.env("CNI_COMMAND", if verb == Verb::Add { "ADD" } else { "DEL" });
        command.env("CNI_CONTAINERID", &call.container).env("CNI_NETNS", &call.netns);
        command.env("CNI_IFNAME", "net1").env("CNI_PATH", &self.path);
        command.env("CNI_ARGS", "IgnoreUnknown=true;K8S_POD_NAMESPACE=perf;K8S_POD_NAME=pod");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    }

    /// Starts it and gives it its configuration.
    pub(super) fn begin(&self, command: &mut Command, call: &Call) -> Result<Child, MethodError> {
        let mut child = command.spawn().map_err(|source| self.failed(source))?;
        if let Some(mut input) = child.stdin.take() {
            // If it has ended already, its status says why.
            let _ = input.write_all(call.config.as_bytes());
        }
        Ok(child)
    }

    fn failed(&self, source: std::io::Error) -> MethodError {
        PeerError::Spawn { program: self.program.clone(), source }.into()
    }
}

/// Writes blanks into a pipe until nothing more fits.
fn fill(writer: &mut PipeWriter) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&*writer)?;
    rustix::fs::fcntl_setfl(&*writer, flags | OFlags::NONBLOCK)?;
    while match writer.write(&[b' '; 4096]) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => return Err(error),
    } {}
    Ok(rustix::fs::fcntl_setfl(&*writer, flags)?)
}

/// A network namespace, removed with the value.
#[derive(Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    pub(super) fn make() -> Result<Self, MethodError> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("psw-perf-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        crate::peers::process::Start::new("ip").with(["netns", "add", &name]).run()?;
        Ok(Self(name))
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = crate::peers::process::Start::new("ip").with(["netns", "del", &self.0]).run();
    }
}
