//! podswitch itself: the daemon on a state of its own, spoken to through its API as any client does.
//!
//! Unless a row says otherwise its ports have declared MAC addresses, so that learning and port security are at work,
//! and its worker polls without a pause (`idle = "busy"`), because the peers' workers do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{Process, Start};
use super::{Cpus, Layout, PATIENCE, Peer, PeerError, PortPlan, StageWork, Switch, Work};

mod api;

pub use api::PodswitchApi;

/// How podswitchd is started.
#[derive(Clone, Debug)]
pub struct Podswitch {
    /// As in the report.
    pub name: String,
    /// The daemon.
    pub daemon: PathBuf,
    /// Lowers the instruction set of its copies (`PODSWITCH_COPY`): `sse2`, `avx2`.
    pub copy_level: Option<String>,
    /// Copies each frame twice, as others do.
    pub two_copies: bool,
    /// Its worker sleeps when there is nothing to do, which is its default.
    pub adaptive: bool,
    /// Further sections of its configuration file (`[network]`, `[dpdk]`).
    pub config: String,
}

impl Podswitch {
    /// As the table's rows have it.
    #[must_use]
    pub fn new(daemon: &Path) -> Self {
        Self {
            name: "podswitch".into(),
            daemon: daemon.into(),
            copy_level: None,
            two_copies: false,
            adaptive: false,
            config: String::new(),
        }
    }

    /// The daemon beside our own executable, where cargo puts both.
    #[must_use]
    pub fn beside_us() -> Option<PathBuf> {
        let own = std::env::current_exe().ok()?;
        let mut directories = own.ancestors().skip(1).take(2);
        directories.find_map(|directory| Some(directory.join("podswitchd")).filter(|file| file.is_file()))
    }

    /// The daemon's configuration file.
    #[must_use]
    pub fn file(&self) -> String {
        let idle = if self.adaptive { "adaptive" } else { "busy" };
        let copies = if self.two_copies { "copies = 2\n" } else { "" };
        format!("[workers]\nidle = \"{idle}\"\n{copies}\n{}", self.config)
    }

    /// As [`Peer::start`], as what it is.
    ///
    /// # Errors
    /// As [`Peer::start`].
    pub fn launch(&self, layout: &Layout, cpus: &Cpus) -> Result<RunningPodswitch, PeerError> {
        if !self.daemon.is_file() {
            return Err(PeerError::Missing {
                what: self.daemon.display().to_string(),
                remedy: "build it: cargo build --release -p control-api",
            });
        }
        let temporary =
            || PeerError::File { path: std::env::temp_dir(), source: std::io::Error::last_os_error() };
        let directory =
            tempfile::Builder::new().prefix("podswitch-perf.").tempdir().map_err(|_| temporary())?;
        let config = directory.path().join("podswitchd.toml");
        std::fs::write(&config, self.file())
            .map_err(|source| PeerError::File { path: config.clone(), source })?;
        let mut start = Start::new(&self.daemon).with([
            "--config".into(),
            config.display().to_string(),
            "--api".into(),
            format!("unix:{}", directory.path().join("api.sock").display()),
            "--state".into(),
            directory.path().join("state").display().to_string(),
            "--workers".into(),
            cpus.switch.to_string(),
        ]);
        if let Some(level) = &self.copy_level {
            start = start.env("PODSWITCH_COPY", level);
        }
        let log = directory.path().join("podswitchd.log");
        let (process, api, started_in) = run(&start, cpus, &log)?;
        let switch = RunningPodswitch {
            name: self.name.clone(),
            file: self.file(),
            process,
            api,
            start,
            cpus: cpus.clone(),
            started_in,
            ports: layout.ports.len(),
            directory,
        };
        for network in 0..layout.networks() {
            switch.api.add_network(&PodswitchApi::network(network))?;
        }
        for (place, port) in layout.ports.iter().enumerate() {
            switch.api.add_port(&PortPlan::name(place), port)?;
        }
        Ok(switch)
    }
}

impl Peer for Podswitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, layout: &Layout, cpus: &Cpus) -> Result<Box<dyn Switch>, PeerError> {
        Ok(Box::new(self.launch(layout, cpus)?))
    }
}

/// A running podswitchd.
#[derive(Debug)]
pub struct RunningPodswitch {
    name: String,
    file: String,
    process: Process,
    api: PodswitchApi,
    start: Start,
    cpus: Cpus,
    /// From the start of the process until the API answered.
    pub started_in: Duration,
    ports: usize,
    /// Goes last.
    directory: tempfile::TempDir,
}

impl RunningPodswitch {
    /// Its API, on the caller's thread.
    #[must_use]
    pub fn api(&self) -> &PodswitchApi {
        &self.api
    }

    /// Where its API is: another thread makes its own client with [`PodswitchApi::connect`].
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// A directory that goes with it, for sockets of more ports.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// SIGKILL, as a crash would have it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, as an upgrade would have it; returns when it has ended. True if it did so by itself.
    pub fn terminate(&mut self) -> bool {
        self.process.terminate()
    }

    /// Starts it again on the same state.
    ///
    /// # Errors
    /// [`PeerError::Ended`], [`PeerError::NotReady`].
    pub fn start_again(&mut self) -> Result<(), PeerError> {
        let log = self.directory.path().join("podswitchd.log");
        (self.process, self.api, self.started_in) = run(&self.start, &self.cpus, &log)?;
        Ok(())
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

impl Switch for RunningPodswitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn instruction_set(&self) -> String {
        self.api.status().map_or_else(|_| "unknown".into(), |status| status.copy_level.to_uppercase())
    }

    fn version(&self) -> String {
        self.api.status().map_or_else(|_| "unknown".into(), |status| format!("podswitchd {}", status.version))
    }

    fn pid(&self) -> Option<u32> {
        Some(self.process.pid())
    }

    fn commands(&self) -> Vec<String> {
        let lines = self.file.lines().filter(|line| !line.is_empty());
        vec![self.start.text(), format!("# podswitchd.toml: {}", lines.collect::<Vec<_>>().join("; "))]
    }

    fn ready(&mut self) -> Result<(), PeerError> {
        let (api, ports) = (&self.api, self.ports);
        self.process.wait(PATIENCE, "podswitch to serve every port", |_| {
            (api.running_ports().ok()? >= ports).then_some(())
        })
    }

    fn work(&mut self) -> Option<Work> {
        let workers = self.api.workers().ok()?.workers;
        Some(workers.iter().fold(Work::default(), |sum, worker| Work {
            busy_cycles: sum.busy_cycles + worker.busy_cycles,
            idle_cycles: sum.idle_cycles + worker.idle_cycles,
            frames: sum.frames + worker.frames,
        }))
    }

    fn stages(&mut self) -> Vec<StageWork> {
        self.api.stages().unwrap_or_default()
    }

    fn as_podswitch(&mut self) -> Option<&mut RunningPodswitch> {
        Some(self)
    }

    fn stop(mut self: Box<Self>) {
        self.process.terminate();
    }
}

fn run(start: &Start, cpus: &Cpus, log: &Path) -> Result<(Process, PodswitchApi, Duration), PeerError> {
    let begin = Instant::now();
    let socket = start_socket(start);
    let mut process = start.spawn(&cpus.all, log)?;
    let api = process.wait(PATIENCE, "the API of podswitchd", |_| {
        let api = PodswitchApi::connect(&socket).ok()?;
        api.status().is_ok().then_some(api)
    })?;
    Ok((process, api, begin.elapsed()))
}

/// The API's socket, as the command names it.
fn start_socket(start: &Start) -> PathBuf {
    let text = start.text();
    let unix = text.split_whitespace().find_map(|word| word.strip_prefix("unix:"));
    PathBuf::from(unix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_file_holds_what_differs() {
        let mut podswitch = Podswitch::new(Path::new("/x"));
        assert_eq!(podswitch.file(), "[workers]\nidle = \"busy\"\n\n");
        podswitch.two_copies = true;
        podswitch.config = "[network]\nmac_quota = 5\n".into();
        assert_eq!(podswitch.file(), "[workers]\nidle = \"busy\"\ncopies = 2\n\n[network]\nmac_quota = 5\n");
    }

    #[test]
    fn a_daemon_that_is_not_built_is_missing() {
        let layout = Layout { ports: vec![], longest_frame: 1518 };
        let cpus = Cpus { load: 0, switch: 1, control: 0, all: "0-1".into() };
        let error = Podswitch::new(Path::new("/nonexistent/podswitchd")).launch(&layout, &cpus).unwrap_err();
        assert!(matches!(error, PeerError::Missing { .. }), "{error}");
    }
}
