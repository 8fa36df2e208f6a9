//! What the checks look at: files below a root directory, what the kernel grants this process, what the daemon says.
//!
//! All of it is gathered before the first check, but for the files, which are read when they are asked for. Tests put
//! a made-up tree and made-up answers in its place.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use dataplane::ids::CoreId;
use proto::v1;
use rustix::net::{AddressFamily, SocketType, socket};
use vhost::memory::{MemfdKind, holes_are_faults, memfd};

use crate::config::{ConfigError, DEFAULT_PATH, File, Overrides, Settings};
use crate::cpus;

/// No file that is looked at is longer; what is beyond is not read.
const LARGEST_FILE: u64 = 1 << 20;

/// The machine as this process sees it.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    /// The configuration, or why podswitchd would refuse it.
    pub(super) settings: Result<Settings, ConfigError>,
    pub(super) probes: Probes,
    pub(super) daemon: Daemon,
}

/// What the kernel said when it was asked for something, and gave it back.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was given.
    Granted,
    /// It was not.
    Refused(String),
    /// Nobody asked: the files must do.
    NotAsked,
}

/// System calls that were tried.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) userfaultfd: Answer,
    pub(super) aio: Answer,
    pub(super) huge_memfd: Answer,
    pub(super) packet: Answer,
    pub(super) xdp: Answer,
}

/// What the daemon answered.
#[derive(Debug)]
pub(super) enum Daemon {
    /// There is no socket.
    Absent,
    /// There is one, and nobody behind it answers, for this reason.
    Silent(String),
    /// Its status.
    Answers(Box<v1::NodeStatus>),
}

impl From<io::Result<()>> for Answer {
    fn from(result: io::Result<()>) -> Self {
        result.map_or_else(|e| Self::Refused(e.to_string()), |()| Self::Granted)
    }
}

impl Probes {
    /// Asks this kernel.
    pub(super) fn ask() -> Self {
        let raw = |family| socket(family, SocketType::RAW, None).map(drop).map_err(io::Error::from).into();
        Self {
            userfaultfd: holes_are_faults().into(),
            aio: vhost::notify::available().into(),
            huge_memfd: memfd(MemfdKind::Huge2M, 0).map(drop).into(),
            packet: raw(AddressFamily::PACKET),
            xdp: raw(AddressFamily::XDP),
        }
    }

    /// Asks nobody, for a tree that is not this machine's.
    pub(super) fn none() -> Self {
        Self {
            userfaultfd: Answer::NotAsked,
            aio: Answer::NotAsked,
            huge_memfd: Answer::NotAsked,
            packet: Answer::NotAsked,
            xdp: Answer::NotAsked,
        }
    }
}

impl Machine {
    /// The machine whose files lie below `root`; the configuration is read from `config`, or from its default place
    /// below the root.
    pub(super) fn new(root: &Path, config: Option<&Path>, probes: Probes, daemon: Daemon) -> Self {
        let mut machine = Self {
            root: root.into(),
            settings: File::default().resolve(Overrides::default()),
            probes,
            daemon,
        };
        let file = match config {
            Some(path) => File::load(Some(path)),
            None => {
                let path = machine.path(DEFAULT_PATH);
                if path.exists() { File::load(Some(&path)) } else { Ok(File::default()) }
            }
        };
        machine.settings = file.and_then(|file| file.resolve(Overrides::default()));
        machine
    }

    /// Where an absolute path lies below the root.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn there(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// The text of a file without blanks around it; `None` if it cannot be read.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(path)).ok()?.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// CPUs in a file with a list of them; none if it is empty or not there.
    pub(super) fn cpus(&self, path: impl AsRef<Path>) -> Vec<CoreId> {
        self.text(path).and_then(|text| cpus::parse(&text).ok()).unwrap_or_default()
    }

    /// Names in a directory, sorted; none if it is not there.
    pub(super) fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The value of a line `KEY: VALUE` of /proc/self/status.
    pub(super) fn own_status(&self, key: &str) -> Option<String> {
        let text = self.text("/proc/self/status")?;
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    }

    /// CPUs that this process may use.
    pub(super) fn allowed(&self) -> Vec<CoreId> {
        self.own_status("Cpus_allowed_list").and_then(|list| cpus::parse(&list).ok()).unwrap_or_default()
    }

    /// CPUs of the workers: those that run, or those that would be chosen.
    pub(super) fn workers(&self) -> Vec<CoreId> {
        if let Daemon::Answers(status) = &self.daemon {
            return status.workers.iter().map(|worker| CoreId(worker.cpu)).collect();
        }
        let Ok(settings) = &self.settings else { return Vec::new() };
        let online = self.cpus("/sys/devices/system/cpu/online");
        settings.workers.choose(&self.allowed(), &online).unwrap_or_default()
    }

    /// Whether this process has a capability, by its number.
    pub(super) fn has_capability(&self, number: u32) -> bool {
        let effective = self.own_status("CapEff");
        effective.and_then(|hex| u64::from_str_radix(&hex, 16).ok()).is_some_and(|set| set >> number & 1 == 1)
    }

    /// What is mounted, in the kernel's order.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let text = self.text("/proc/self/mountinfo").unwrap_or_default();
        text.lines().filter_map(Mount::parse).collect()
    }
}

/// A line of /proc/self/mountinfo (proc(5)).
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) kind: String,
    /// Of the mount and of its filesystem, with commas.
    pub(super) options: String,
    /// Whether mounts that are made elsewhere appear here.
    pub(super) receives: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let point = PathBuf::from(mount.next()?.replace("\\040", " "));
        let options = mount.next()?;
        let receives = mount.any(|field| field.starts_with("shared:") || field.starts_with("master:"));
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next()?.to_owned();
        let options = format!("{options},{}", filesystem.nth(1).unwrap_or_default());
        Some(Self { point, kind, options, receives })
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|other| other == option)
    }
}
