//! A node: directories, a mount namespace that stands for the host's, and device plugins that run on it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_podswitch-device-plugin");
/// Far beyond what anything takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// False, with a word about it, where the test cannot run.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("NOT RUN: {test} mounts file systems and so needs root");
    }
    root
}

/// Waits until `done`, and panics with `what` when it takes too long.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A command whose process ends with this test.
pub(crate) fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

pub(crate) struct Node {
    directory: TempDir,
    holder: Child,
}

impl Node {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["run", "kubelet", "programs"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let holder =
            bound("unshare").args(["--mount", "--propagation", "private", "sleep", "infinity"]).spawn();
        let node = Self { directory, holder: holder.unwrap() };
        let (ours, its) = (PathBuf::from("/proc/self/ns/mnt"), node.namespace());
        let number = |path: &Path| fs::metadata(path).map(|m| m.ino()).ok();
        let command = PathBuf::from(format!("/proc/{}/comm", node.holder.id()));
        until("the namespace is there", || {
            number(&its).is_some_and(|its| number(&ours) != Some(its))
                && fs::read_to_string(&command).is_ok_and(|name| name == "sleep\n")
        })
        .await;
        node
    }

    /// A path on the node.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// The file of its mount namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/mnt", self.holder.id()).into()
    }

    /// A path on the node as its own mount namespace sees it.
    pub(crate) fn seen(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path(path).strip_prefix("/").unwrap())
    }

    /// Lines of the list of mounts of a process that are below a path of the node.
    pub(crate) fn mounts_of(&self, process: &str, path: &str) -> Vec<String> {
        let path = self.path(path);
        let list = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
        let below = |line: &&str| Path::new(line.split(' ').nth(4).unwrap()).starts_with(&path);
        list.lines().filter(below).map(str::to_owned).collect()
    }

    /// The same of the node's namespace.
    pub(crate) fn mounts(&self, path: &str) -> Vec<String> {
        self.mounts_of(&self.holder.id().to_string(), path)
    }

    /// Runs a command in the node's mount namespace.
    pub(crate) fn run(&self, command: &[&str]) {
        let namespace = format!("--mount={}", self.namespace().display());
        let status = Command::new("nsenter").arg(namespace).arg("--").args(command).status().unwrap();
        assert!(status.success(), "{command:?}");
    }

    /// What every device plugin here is told.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let flags = [
            ("--root", self.path("run")),
            ("--kubelet-dir", self.path("kubelet")),
            ("--devinfo-dir", self.path("devinfo/dp")),
            ("--programs", self.path("programs")),
        ];
        let mut arguments: Vec<String> = flags
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.to_str().unwrap().to_owned()])
            .collect();
        arguments.extend(["--poll-ms", "50"].map(str::to_owned));
        arguments
    }

    /// Starts a device plugin that makes directories in the node's namespace.
    pub(crate) fn plugin(&self, arguments: &[&str]) -> Plugin {
        let mut command = bound(PROGRAM);
        command.arg("--mount-namespace").arg(self.namespace());
        self.start(command, arguments)
    }

    /// Starts `command` with the arguments of a device plugin.
    pub(crate) fn start(&self, mut command: Command, arguments: &[&str]) -> Plugin {
        let log = self.directory.path().join("log");
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let process = command
            .args(self.arguments())
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Plugin { process, log }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}

pub(crate) struct Plugin {
    process: Child,
    log: PathBuf,
}

impl Plugin {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How often a text is in the log of the node's plugins.
    pub(crate) fn said(&self, text: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches(text).count()
    }

    /// Ends it as an uncaught signal does.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end, and waits.
    pub(crate) async fn terminate(self) -> ExitStatus {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let mut status = None;
        until("the device plugin has ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
