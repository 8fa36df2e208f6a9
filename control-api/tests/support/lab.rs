//! Where one test lives: a temporary directory with a short path, the CPUs it may use, and what it needs to run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// One test's place.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
    cpus: Vec<u32>,
}

impl Lab {
    /// Opens a laboratory, or says why this machine cannot have one: then the caller returns. In CI (`CI` is set)
    /// that is a failure; elsewhere it is said on the terminal, past the capture of the test harness.
    #[must_use]
    pub fn open() -> Option<Self> {
        let missing = missing();
        if missing.is_empty() {
            return Some(Self::new());
        }
        let line =
            format!("NOT TESTED, end to end: {}; `make setup` as root provides it", missing.join(", "));
        assert!(std::env::var_os("CI").is_none(), "{line}");
        let _ = writeln!(std::io::stderr(), "\n{line}");
        None
    }

    /// A laboratory without a look at what the machine has.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("psw-").tempdir_in("/tmp").unwrap();
        Self { directory, cpus: allowed_cpus() }
    }

    /// A file of this test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The n-th CPU that we may use; round again when there are fewer.
    #[must_use]
    pub fn cpu(&self, n: usize) -> u32 {
        self.cpus[n % self.cpus.len()]
    }

    /// How many CPUs we may use.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }
}

/// What the end-to-end tests need and this machine lacks.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !is_root() {
        missing.push("root");
    }
    for tool in ["dpdk-testpmd", "stdbuf", "setpriv", "ip"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(tool).exists());
        if !found {
            missing.push(tool);
        }
    }
    if free_hugepages() < 128 {
        missing.push("128 free hugepages of 2 MB");
    }
    missing
}

/// Hugepages of 2 MB that nobody uses.
#[must_use]
pub fn free_hugepages() -> u64 {
    let pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(pool).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn allowed_cpus() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    list.split(',').flat_map(cpu_range).collect()
}

fn cpu_range(part: &str) -> std::ops::RangeInclusive<u32> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    first.parse().unwrap()..=last.parse().unwrap()
}
