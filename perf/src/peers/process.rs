//! Programs that are started for a measurement and must not outlive it.
//!
//! A [`Process`] is killed by the kernel when we die (`setpriv --pdeathsig`), and ended when it goes out of scope. For
//! the kernel the parent is the thread that forked, so one thread that never ends starts them all. A process runs on
//! all CPUs that we were given, not on the one that the measuring thread has pinned itself to. Its output goes to a
//! file, whose end is shown when it fails. Called from any thread.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::PeerError;

/// How long a process may take to end on request.
const END: Duration = Duration::from_secs(5);

/// A program and its arguments, before it runs.
#[derive(Debug)]
pub struct Start {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// In a network namespace of its own.
    apart: bool,
}

impl Start {
    /// A program by its path, or by its name where it is in PATH.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), apart: false }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives it a network namespace of its own: network devices that it makes are nobody else's and go with it.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// As it could be typed.
    #[must_use]
    pub fn text(&self) -> String {
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let program = self.program.display().to_string();
        let arguments = self.arguments.iter().map(|word| {
            if word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=/.:,@+".contains(c)) {
                word.clone()
            } else {
                format!("'{word}'")
            }
        });
        variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
    }

    /// Starts it on the CPUs `cpus`, its output appended to `log`. Its standard input stays open while it runs.
    ///
    /// # Errors
    /// [`PeerError::Spawn`], [`PeerError::File`].
    pub fn spawn(&self, cpus: &str, log: &Path) -> Result<Process, PeerError> {
        let file = |source| PeerError::File { path: log.into(), source };
        let output = File::options().create(true).append(true).open(log).map_err(file)?;
        let errors = output.try_clone().map_err(file)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.apart {
            command.args(["unshare", "--net"]);
        }
        command.args(["taskset", "-c", cpus]).arg(&self.program).args(&self.arguments);
        command.env_remove("PODSWITCH_API").envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let child =
            fork(command).map_err(|source| PeerError::Spawn { program: self.program.clone(), source })?;
        Ok(Process { child, program: self.program.clone(), log: log.into(), text: self.text() })
    }

    /// Runs it to its end; gives what it printed.
    ///
    /// # Errors
    /// [`PeerError::Command`] with what it said, [`PeerError::Spawn`].
    pub fn run(&self) -> Result<String, PeerError> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| PeerError::Spawn { program: self.program.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(PeerError::Command { command: self.text(), output: last_lines(&said, 3) })
    }
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts it on the thread that lives as long as we do.
fn fork(command: Command) -> std::io::Result<Child> {
    static PARENT: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    let gone = || std::io::Error::other("the thread that starts processes has ended");
    let orders = parent.lock().unwrap_or_else(PoisonError::into_inner);
    orders.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: PathBuf,
    log: PathBuf,
    text: String,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command it was started with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Everything that it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// # Errors
    /// [`PeerError::Ended`] if it has.
    pub fn check(&mut self) -> Result<(), PeerError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(PeerError::Ended {
                program: self.program.clone(),
                status: ended.map_or_else(
                    |error| error.to_string(),
                    |status| status.map_or_else(String::new, |s| s.to_string()),
                ),
                log: last_lines(&self.output(), 5),
            }),
        }
    }

    /// Asks `probe` until it answers.
    ///
    /// # Errors
    /// [`PeerError::NotReady`] after `patience`, [`PeerError::Ended`].
    pub fn wait<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut probe: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, PeerError> {
        let begin = Instant::now();
        loop {
            if let Some(answer) = probe(self) {
                return Ok(answer);
            }
            self.check()?;
            if begin.elapsed() > patience {
                return Err(PeerError::NotReady { what: what.into(), waited: patience });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM; SIGKILL if that does not do. True if it ended by itself.
    pub fn terminate(&mut self) -> bool {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        let begin = Instant::now();
        while begin.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
    }
}

/// Where a program is, if it is anywhere in PATH or in the places where Debian puts those for root.
#[must_use]
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    places.map(|place| place.join(program.as_ref())).find(|file| file.is_file())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> String {
        crate::machine::allowed_cpus()
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let directory = tempfile::tempdir().unwrap();
        let process =
            Start::new("sleep").with(["1000"]).spawn(&all(), &directory.path().join("log")).unwrap();
        let place = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(place.exists());
        drop(process);
        assert!(!place.exists());
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let start = Start::new("sleep").with(["1000"]);
        let mut process = std::thread::spawn(move || start.spawn(&all(), &log).unwrap()).join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        process.check().unwrap();
    }

    #[test]
    fn the_end_of_its_log_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let start = Start::new("sh").with(["-c", "echo first; echo the reason >&2; exit 3"]);
        let mut process = start.spawn(&all(), &directory.path().join("log")).unwrap();
        let error = process.wait(Duration::from_secs(20), "nothing", |_| None::<()>).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the reason") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_wait_ends() {
        let directory = tempfile::tempdir().unwrap();
        let mut process =
            Start::new("sleep").with(["1000"]).spawn(&all(), &directory.path().join("log")).unwrap();
        let error = process.wait(Duration::from_millis(30), "a miracle", |_| None::<()>).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let start = Start::new("/bin/x").with(["-a", "b c"]).env("K", "v");
        assert_eq!(start.text(), "K=v /bin/x -a 'b c'");
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let error = Start::new("sh").with(["-c", "echo no good >&2; exit 1"]).run().unwrap_err();
        assert!(error.to_string().contains("no good"), "{error}");
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
