//! The daemon: started on a state of its own, killed with the value that stands for it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use proto::v1::{DropsResponse, Port, PortStats, PortStatsResponse};

use super::cli::{Cli, Outcome, binary};
use super::lab::Lab;
use super::pod::{Mode, PodSpec};
use super::wait;

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// CPUs of the workers, or `auto:N`.
    pub workers: String,
    /// Workers never sleep.
    pub busy: bool,
    /// Takes no hugepages.
    pub no_huge: bool,
    /// Further sections of the configuration file.
    pub config: String,
    /// All that the daemon may do as root, as `setpriv` names capabilities; `None`: whatever we may.
    pub capabilities: Option<Vec<String>>,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// Workers on the laboratory's first `workers` CPUs that sleep when idle.
    #[must_use]
    pub fn new(lab: &Lab, workers: usize) -> Self {
        let cpus: Vec<String> = (0..workers.min(lab.cpus())).map(|n| lab.cpu(n).to_string()).collect();
        Self {
            workers: cpus.join(","),
            busy: false,
            no_huge: false,
            config: String::new(),
            capabilities: None,
            environment: Vec::new(),
        }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Switch {
    directory: PathBuf,
    setup: Setup,
    child: Child,
    /// From the start of the process until the API answered.
    pub started_in: Duration,
}

impl Switch {
    /// Starts the daemon in the laboratory's directory and waits until its API answers.
    #[must_use]
    pub fn start(lab: &Lab, setup: Setup) -> Self {
        let directory = lab.directory().to_path_buf();
        write_config(&directory, &setup);
        let (child, started_in) = launch(&directory, &setup);
        Self { directory, setup, child, started_in }
    }

    /// The command line for this daemon.
    #[must_use]
    pub fn cli(&self) -> Cli {
        Cli::new(&self.api())
    }

    /// Its API socket.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    /// The directory of its store.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("podswitchd.log")).unwrap_or_default()
    }

    /// SIGTERM; it must end well within the usual patience.
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        wait::until("podswitchd to end after SIGTERM", || self.child.try_wait().unwrap())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same state after [`Switch::terminate`] or [`Switch::kill`].
    pub fn start_again(&mut self) {
        (self.child, self.started_in) = launch(&self.directory, &self.setup);
    }

    /// Adds the port that a pod is made for. `more` are further words of `port add`.
    #[track_caller]
    pub fn plug(&self, pod: &PodSpec, network: &str, more: &[&str]) {
        let socket = pod.socket.display().to_string();
        let queues = pod.queues.to_string();
        let mode = if pod.mode == Mode::Server { "server" } else { "client" };
        let mut words = vec!["port", "add", &pod.name, "--network", network, "--vhost-user", &socket];
        words.extend(["--mode", mode, "--queues", &queues]);
        words.extend(more);
        self.cli().ok(&words);
    }

    /// The port as it is.
    #[track_caller]
    pub fn port(&self, name: &str) -> Port {
        self.cli().get(&["port", "show", name])
    }

    /// Waits until every ring of the port runs.
    #[track_caller]
    pub fn wait_running(&self, name: &str) {
        let mut last = None;
        let running = wait::attempt(wait::PATIENCE, || {
            let status = self.port(name).status.unwrap_or_default();
            let runs =
                !status.queues.is_empty() && status.queues.iter().all(|q| q.rx_running && q.tx_running);
            last = Some(status);
            runs.then_some(())
        });
        assert!(running.is_some(), "port {name} does not run: {last:?}");
    }

    /// The counters of a port.
    #[track_caller]
    pub fn stats(&self, name: &str) -> PortStats {
        let mut all: PortStatsResponse = self.cli().get(&["port", "stats", name]);
        assert_eq!(all.ports.len(), 1, "port stats {name}: {all:?}");
        all.ports.remove(0)
    }

    /// The counters of every port.
    #[track_caller]
    pub fn all_stats(&self) -> Vec<PortStats> {
        self.cli().get::<PortStatsResponse>(&["port", "stats"]).ports
    }

    /// Every drop, as (port, reason, frames).
    #[track_caller]
    pub fn drops(&self) -> Vec<(String, String, u64)> {
        let response: DropsResponse = self.cli().get(&["drops"]);
        response.drops.into_iter().map(|drop| (drop.port, drop.reason, drop.frames)).collect()
    }

    /// Waits until no counter of any port moves, and gives them.
    #[track_caller]
    pub fn settle(&self) -> Vec<PortStats> {
        wait::settled(Duration::from_millis(300), || self.all_stats())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && !wait::interrupted() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the last of the daemon's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Starts a daemon that is expected to refuse; gives how it ended.
pub fn refused_start(arguments: &[&str]) -> Outcome {
    let mut child = Command::new(binary("podswitchd"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait::attempt(Duration::from_secs(20), || child.try_wait().unwrap());
    if ended.is_none() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended.is_some(), "podswitchd {} was expected to refuse, but runs", arguments.join(" "));
    Outcome {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal by name ("TERM", "STOP", …).
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

fn write_config(directory: &Path, setup: &Setup) {
    let idle = if setup.busy { "busy" } else { "adaptive" };
    let text = format!("[workers]\nidle = \"{idle}\"\n\n{}", setup.config);
    std::fs::write(directory.join("podswitchd.toml"), text).unwrap();
}

fn launch(directory: &Path, setup: &Setup) -> (Child, Duration) {
    let begin = Instant::now();
    let log = directory.join("podswitchd.log");
    let append = || -> File { OpenOptions::new().create(true).append(true).open(&log).unwrap() };
    let api = directory.join("api.sock");
    // Dies with us, whatever becomes of us.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(capabilities) = &setup.capabilities {
        let bounds: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        command.args(["--no-new-privs", "--inh-caps", "-all", "--bounding-set", &format!("-all{bounds}")]);
    }
    command.arg(binary("podswitchd")).envs(setup.environment.iter().cloned());
    command.arg("--config").arg(directory.join("podswitchd.toml"));
    command.arg("--api").arg(format!("unix:{}", api.display()));
    command.arg("--state").arg(directory.join("state")).args(["--workers", &setup.workers]);
    if setup.no_huge {
        command.arg("--no-huge");
    }
    let mut child = command.stdin(Stdio::null()).stdout(append()).stderr(append()).spawn().unwrap();
    let cli = Cli::new(&api);
    wait::until("the API of podswitchd to answer", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("podswitchd ended at its start ({status}): {}", std::fs::read_to_string(&log).unwrap());
        }
        (api.exists() && cli.run(&["status"]).status == 0).then_some(())
    });
    (child, begin.elapsed())
}
