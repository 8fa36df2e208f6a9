//! What a process holds: its memory, without that of its tenants, and its share of a CPU.
//!
//! Counted from outside, from what the kernel says in `/proc/PID`: proportional set size, hugepages (which that leaves
//! out) and page tables. A switch maps the memory of the pods that it serves; that belongs to them, and is told apart
//! by the files mapped, which are also mapped by the process of the load generator. Called by the thread that measures,
//! while nothing is sent.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file could not be read: most likely the process has ended.
    #[error("{path}: {source}")]
    Read {
        /// In `/proc`.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel writes it in a way that we do not know.
    #[error("{path} has no {what}")]
    Form {
        /// In `/proc`.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Bytes that a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Proportional set size of everything but tenants' memory.
    pub pss: u64,
    /// Hugepages, tenants' left out.
    pub hugepages: u64,
    /// Page tables of the process, those of tenants' memory included.
    pub page_tables: u64,
    /// Memory of tenants that is mapped and present, hugepages included. Not in [`Held::own`].
    pub tenants: u64,
}

impl Held {
    /// What the process costs by itself, bytes.
    #[must_use]
    pub fn own(self) -> u64 {
        self.pss + self.hugepages + self.page_tables
    }

    /// As [`Held::own`], in units of 2^20 bytes.
    #[must_use]
    pub fn own_mb(self) -> f64 {
        self.own() as f64 / f64::from(1 << 20)
    }
}

/// What process `pid` holds now. Shared memory that this process maps too counts as its tenants'.
///
/// # Errors
/// If the process has ended.
pub fn held(pid: u32) -> Result<Held, MemoryError> {
    let tenants = mappings(&read(&path("self", "smaps"))?).into_iter().filter_map(|m| m.file).collect();
    let pid = pid.to_string();
    let mut held = sum(&mappings(&read(&path(&pid, "smaps"))?), &tenants);
    let status = path(&pid, "status");
    held.page_tables =
        kilobytes(&read(&status)?, "VmPTE:").ok_or(MemoryError::Form { path: status, what: "VmPTE" })?;
    Ok(held)
}

/// Share of one CPU that process `pid`, all its threads together, uses over `window`: 1 is a whole CPU.
///
/// # Errors
/// If the process has ended.
pub fn cpu_share(pid: u32, window: Duration) -> Result<f64, MemoryError> {
    let stat = path(&pid.to_string(), "stat");
    let ran = || {
        ticks(&read(&stat)?).ok_or_else(|| MemoryError::Form { path: stat.clone(), what: "processor times" })
    };
    let (begin, before) = (Instant::now(), ran()?);
    std::thread::sleep(window);
    let used = ran()?.saturating_sub(before);
    Ok(used as f64 / TICKS_A_SECOND / begin.elapsed().as_secs_f64())
}

/// `USER_HZ`: 100 on every machine that DPDK runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A file, by its device and inode as the kernel writes them.
type File = (String, u64);

/// One mapping of `smaps`, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mapping {
    /// The file behind it if that is a memfd, which is what pods share.
    file: Option<File>,
    pss: u64,
    rss: u64,
    hugepages: u64,
}

fn sum(mappings: &[Mapping], tenants: &HashSet<File>) -> Held {
    let mut held = Held::default();
    for mapping in mappings {
        if mapping.file.as_ref().is_some_and(|file| tenants.contains(file)) {
            held.tenants += mapping.rss + mapping.hugepages;
        } else {
            held.pss += mapping.pss;
            held.hugepages += mapping.hugepages;
        }
    }
    held
}

/// The mappings of `smaps`: a line with addresses begins one, lines of sizes follow.
fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if !first.ends_with(':') {
            let mut words = words.skip(2);
            let (device, inode) = (words.next(), words.next().and_then(|inode| inode.parse().ok()));
            let is_memfd = words.next().is_some_and(|path| path.starts_with("/memfd:"));
            let file = device.map(str::to_owned).zip(inode).filter(|_| is_memfd);
            all.push(Mapping { file, ..Mapping::default() });
            continue;
        }
        let Some(mapping) = all.last_mut() else { continue };
        let bytes = words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024;
        match first {
            "Pss:" => mapping.pss = bytes,
            "Rss:" => mapping.rss = bytes,
            "Shared_Hugetlb:" | "Private_Hugetlb:" => mapping.hugepages += bytes,
            _ => {}
        }
    }
    all
}

/// The value of a line such as `VmPTE:  44 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Clock ticks in user and kernel mode, of a line of `stat`. The program's name may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, kernel) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    Some(user + kernel)
}

fn path(pid: &str, file: &str) -> PathBuf {
    PathBuf::from("/proc").join(pid).join(file)
}

fn read(path: &Path) -> Result<String, MemoryError> {
    std::fs::read_to_string(path).map_err(|source| MemoryError::Read { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000200000 rw-s 00000000 00:0f 1234                       /memfd:pod (deleted)
Rss:                   8 kB
Pss:                   4 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:       0 kB
VmFlags: rd wr sh
7f0000200000-7f0000400000 rw-p 00200000 00:0f 99                         /anon_hugepage (deleted)
Rss:                   0 kB
Pss:                   0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    4096 kB
7f0000400000-7f0000600000 rw-p 00000000 00:00 0
Rss:                 100 kB
Pss:                 100 kB
";

    #[test]
    fn memory_of_tenants_is_told_apart() {
        let mappings = mappings(SMAPS);
        assert_eq!(mappings.len(), 3);
        let ours = sum(&mappings, &HashSet::new());
        assert_eq!((ours.pss, ours.hugepages, ours.tenants), (104 << 10, 6 << 20, 0));
        let tenants = HashSet::from([("00:0f".to_owned(), 1234)]);
        let held = sum(&mappings, &tenants);
        assert_eq!((held.pss, held.hugepages, held.tenants), (100 << 10, 4 << 20, (2 << 20) + (8 << 10)));
        assert_eq!(Held { page_tables: 1 << 20, ..held }.own(), (100 << 10) + (5 << 20));
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "17 (a ) b) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("17 no name"), None);
        assert_eq!(kilobytes("VmRSS:\t 5 kB\nVmPTE:\t  44 kB\n", "VmPTE:"), Some(44 << 10));
    }

    /// Against the kernel itself: a child that spins uses a CPU, and holds something.
    #[test]
    fn a_child_that_spins_is_seen() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let share = cpu_share(child.id(), Duration::from_millis(300));
        let memory = held(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(share.unwrap() > 0.05);
        let memory = memory.unwrap();
        assert!(memory.pss > 10 << 10 && memory.page_tables > 0 && memory.tenants == 0, "{memory:?}");
        assert!(matches!(held(child.id()), Err(MemoryError::Read { .. })));
    }
}
