//! A node: podswitchd on a state of its own, with networks of every kind of policy, and what the tests need to have
//! installed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits it out.
const PATIENCE: Duration = Duration::from_secs(60);

/// Networks of [`Node::start`]: name and flags of `podswitch network add`.
const NETWORKS: &[&[&str]] = &[
    &["open", "--namespace", "*", "--allow-trusted", "--allow-source", "--without-device"],
    &["devices", "--namespace", "*"],
    &[
        "tenant",
        "--namespace",
        "a",
        "--range",
        "10.1.0.0/16",
        "--max-queues",
        "2",
        "--max-mtu",
        "1500",
        "--max-memory",
        "64M",
        "--without-device",
    ],
    &["nobody", "--without-device"],
];

/// A running daemon.
#[derive(Debug)]
pub struct Node {
    directory: TempDir,
    daemon: Child,
}

impl Node {
    /// Starts podswitchd and makes its networks, and one port of an operator's own with 02:00:00:00:ff:01 and 10.200.0.1
    /// in "open".
    #[must_use]
    pub fn start() -> Self {
        // Short, since sockets lie below it.
        let directory = tempfile::Builder::new().prefix("node-").tempdir().unwrap();
        let at = directory.path();
        let config = format!(
            "[attachments]\ndirectory = \"{root}\"\nkubelet = \"\"\n[metrics]\nlisten = \"off\"\n",
            root = at.join("run").display()
        );
        fs::write(at.join("podswitchd.toml"), config).unwrap();
        fs::create_dir_all(at.join("run/devices")).unwrap();
        let daemon = launch(at);
        let mut node = Self { directory, daemon };
        node.wait();
        for network in NETWORKS {
            node.podswitch(&[&["network", "add"], *network].concat());
        }
        let socket = node.directory.path().join("operator.sock").display().to_string();
        node.podswitch(&[
            "port",
            "add",
            "operator",
            "--network",
            "open",
            "--vhost-user",
            &socket,
            "--mac",
            "02:00:00:00:ff:01",
            "--ip",
            "10.200.0.1/24",
        ]);
        node
    }

    /// kill -9 to the daemon.
    pub fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    /// Starts it again on the same state.
    pub fn start_again(&mut self) {
        self.daemon = launch(self.directory.path());
        self.wait();
    }

    fn wait(&mut self) {
        let started = Instant::now();
        loop {
            if self.run(&["status"]).status.success() {
                return;
            }
            let ended = self.daemon.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "podswitchd does not serve ({ended:?}):\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root().join("api.sock")
    }

    /// attachments.directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// For the test's own files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The command line for this daemon, as a shell writes it.
    #[must_use]
    pub fn cli(&self) -> String {
        format!("{} --api unix:{}", program("podswitch").display(), self.socket().display())
    }

    /// Runs the command line, which must succeed, and returns what it prints.
    #[track_caller]
    pub fn podswitch(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "podswitch {words:?}: {}\npodswitchd:\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is attached, as JSON.
    #[track_caller]
    pub fn attachments(&self) -> String {
        self.podswitch(&["attachment", "list", "-o", "json"])
    }

    fn run(&self, words: &[&str]) -> std::process::Output {
        Command::new(program("podswitch"))
            .args(["--api", &format!("unix:{}", self.socket().display())])
            .args(words)
            .output()
            .unwrap()
    }

    /// What the profile of our plugin and the cases of `ours` are told, beside what they know.
    #[must_use]
    pub fn variables(&self, impostors: &Impostors) -> BTreeMap<String, String> {
        [
            ("socket", self.socket().display().to_string()),
            ("root", self.root().display().to_string()),
            ("cli", self.cli()),
            ("deaf", impostors.deaf.display().to_string()),
            ("nonsense", impostors.nonsense.display().to_string()),
        ]
        .map(|(name, value)| (name.into(), value))
        .into()
    }

    /// Everything that the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("podswitchd.log")).unwrap_or_default()
    }
}

fn launch(at: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(at.join("podswitchd.log")).unwrap();
    Command::new(program("podswitchd"))
        .args(["--no-huge", "--workers", "auto:1", "--config"])
        .arg(at.join("podswitchd.toml"))
        .arg("--state")
        .arg(at.join("state"))
        .args(["--api", &format!("unix:{}", at.join("run/api.sock").display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Daemons that are none, on sockets of their own.
#[derive(Debug)]
pub struct Impostors {
    _directory: TempDir,
    _deaf: UnixListener,
    /// Accepts, since the kernel does, and never answers.
    pub deaf: PathBuf,
    /// Answers every connection with a line of no protocol, and closes it.
    pub nonsense: PathBuf,
}

impl Impostors {
    /// Starts them; the thread of the second ends with the process.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("node-").tempdir().unwrap();
        let at = |name: &str| {
            fs::create_dir(directory.path().join(name)).unwrap();
            directory.path().join(name).join("api.sock")
        };
        let (deaf, nonsense) = (at("deaf"), at("nonsense"));
        let listener = UnixListener::bind(&nonsense).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"220 welcome\r\n");
            }
        });
        Self { _deaf: UnixListener::bind(&deaf).unwrap(), _directory: directory, deaf, nonsense }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A program of the workspace: beside the plugin, or named by the variable with its name in capitals.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let variable = name.to_ascii_uppercase();
    let path = std::env::var_os(&variable)
        .map_or_else(|| Path::new(env!("CARGO_BIN_EXE_cni-vhostuser")).with_file_name(name), PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there: `cargo build -p control-api` makes it, or name it with {variable}",
        path.display()
    );
    path
}

/// The plugin: the one that cargo has built, or the one that CNI_PLUGIN names (a release, a static build).
#[must_use]
pub fn plugin() -> PathBuf {
    std::env::var_os("CNI_PLUGIN").map_or_else(|| env!("CARGO_BIN_EXE_cni-vhostuser").into(), PathBuf::from)
}

/// Whether a test can run: root, and these files, each with the package that brings it. Where not, it says so; in CI
/// that is a failure.
#[must_use]
#[track_caller]
pub fn has(needs: &[(&str, &str)]) -> bool {
    let mut missing: Vec<String> = needs
        .iter()
        .filter(|(file, _)| !found(file))
        .map(|(file, package)| format!("{file} (package {package})"))
        .collect();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root".into());
    }
    if missing.is_empty() {
        return true;
    }
    let what = format!("missing: {}", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "{what}");
    not_tested(&what);
    false
}

/// Says so on the terminal, also where the test's output is captured.
pub fn not_tested(why: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "NOT TESTED, {test}: {why}");
}

fn found(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|directory| Path::new(directory).join(file).exists())
}
