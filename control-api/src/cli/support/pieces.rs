//! The list of what goes into the archive, and where each piece comes from.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::Command;

use proto::v1;
use serde::Serialize;

use super::super::Error;
use super::super::client::Client;
use crate::config::DEFAULT_PATH;

/// Every name that can be inside, beside MANIFEST, and what it is.
pub(super) const LIST: [(&str, &str); 16] = [
    ("version.txt", "versions of this program and of the kernel"),
    ("doctor.txt", "`podswitch doctor`"),
    ("config.toml", "the daemon's configuration file"),
    ("status.json", "`podswitch status`: memory, workers, store, warnings"),
    ("networks.json", "networks and their policies"),
    ("ports.json", "ports, with their states"),
    ("attachments.json", "attachments and their owners"),
    ("stats.json", "counters of ports"),
    ("drops.json", "dropped frames by port and reason"),
    ("workers.json", "workers and where their cycles go"),
    ("meminfo.txt", "/proc/meminfo"),
    ("hugepages.txt", "hugepages by NUMA node and size"),
    ("cpuinfo.txt", "model and flags of the first CPU, and how many there are"),
    ("mounts.txt", "mounts of hugetlbfs, and what /run is on"),
    ("limits.txt", "control group and limits of this process"),
    ("journal.txt", "the last 2000 lines of podswitchd in the journal"),
];

/// What is read from one file, at most.
const LARGEST_FILE: u64 = 1 << 20;
const LARGEST_JOURNAL: usize = 8 << 20;

/// A file of the archive, or why it is not there.
#[derive(Debug)]
pub(super) struct Piece {
    /// One of [`LIST`].
    pub(super) name: &'static str,
    pub(super) content: Result<Vec<u8>, String>,
}

impl Piece {
    pub(super) fn text(name: &'static str, text: String) -> Self {
        Self { name, content: Ok(text.into_bytes()) }
    }

    pub(super) fn version() -> Self {
        let kernel = std::fs::read_to_string("/proc/version").unwrap_or_default();
        Self::text("version.txt", format!("podswitch {}\n{kernel}", env!("CARGO_PKG_VERSION")))
    }

    fn of(name: &'static str, content: Result<Vec<u8>, impl ToString>) -> Self {
        Self { name, content: content.map_err(|e| e.to_string().replace('\n', " ")) }
    }

    fn json<T: Serialize>(name: &'static str, answer: Result<tonic::Response<T>, tonic::Status>) -> Self {
        let bytes = answer.map(|answer| {
            serde_json::to_vec_pretty(answer.get_ref()).expect("the messages have string keys only")
        });
        Self::of(name, bytes.map_err(Error::from))
    }
}

/// What the daemon says, each by one request.
pub(super) async fn of_daemon(client: Result<Client, Error>) -> Vec<Piece> {
    const NAMES: [&str; 7] = [
        "status.json",
        "networks.json",
        "ports.json",
        "attachments.json",
        "stats.json",
        "drops.json",
        "workers.json",
    ];
    let client = match client {
        Ok(client) => client,
        Err(e) => return NAMES.map(|name| Piece::of(name, Err(&e))).into(),
    };
    let all = String::new;
    let status = client.node().status(v1::NodeStatusRequest {}).await;
    let networks = client.networks().list(v1::NetworkListRequest {}).await;
    let ports = client.ports().list(v1::PortListRequest { network: all() }).await;
    let attachments = client.attachments().list(v1::AttachmentListRequest { network: all() }).await;
    let stats = client.stats().ports(v1::PortStatsRequest { port: all() }).await;
    let drops = client.stats().drops(v1::DropsRequest { port: all() }).await;
    let workers = client.stats().workers(v1::WorkerStatsRequest {}).await;
    vec![
        Piece::json(NAMES[0], status),
        Piece::json(NAMES[1], networks),
        Piece::json(NAMES[2], ports),
        Piece::json(NAMES[3], attachments),
        Piece::json(NAMES[4], stats),
        Piece::json(NAMES[5], drops),
        Piece::json(NAMES[6], workers),
    ]
}

/// What this machine says.
pub(super) fn of_machine(config: Option<&Path>) -> Vec<Piece> {
    vec![
        file("config.toml", config.unwrap_or(Path::new(DEFAULT_PATH))),
        file("meminfo.txt", Path::new("/proc/meminfo")),
        Piece::text("hugepages.txt", hugepages()),
        Piece::of("cpuinfo.txt", read(Path::new("/proc/cpuinfo")).map(|text| cpu(&text).into_bytes())),
        Piece::of(
            "mounts.txt",
            read(Path::new("/proc/self/mountinfo")).map(|text| mounts(&text).into_bytes()),
        ),
        Piece::of("limits.txt", limits()),
        Piece::of("journal.txt", journal()),
    ]
}

/// The name of this machine, as it may stand in a file name.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
    let name: String = name.trim().trim_start_matches('.').chars().take(63).map(plain).collect();
    if name.is_empty() { "node".into() } else { name }
}

fn file(name: &'static str, path: &Path) -> Piece {
    Piece::of(name, read(path).map(String::into_bytes).map_err(|e| format!("{}: {e}", path.display())))
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn hugepages() -> String {
    let mut lines = Vec::new();
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let mut places = vec![Path::new("/sys/kernel/mm/hugepages").to_owned()];
    places.extend(names(Path::new("/sys/devices/system/node")).iter().map(|node| node.join("hugepages")));
    for pool in places.iter().flat_map(|place| names(place)) {
        for counter in names(&pool) {
            if let Ok(value) = read(&counter) {
                lines.push(format!("{} {}", counter.display(), value.trim()));
            }
        }
    }
    lines.join("\n")
}

/// Of every line only the first of its key, and only those that tell CPUs apart.
fn cpu(text: &str) -> String {
    const KEYS: [&str; 6] = ["vendor_id", "model name", "stepping", "microcode", "flags", "Features"];
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    let mut lines = vec![format!("CPUs: {count}")];
    for key in KEYS {
        lines.extend(text.lines().find(|line| line.starts_with(key)).map(str::to_owned));
    }
    lines.join("\n")
}

fn mounts(text: &str) -> String {
    let wanted = |line: &&str| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        line.contains(" - hugetlbfs ") || ["/", "/run", proto::paths::ROOT].contains(&point)
    };
    text.lines().filter(wanted).collect::<Vec<_>>().join("\n")
}

fn limits() -> io::Result<Vec<u8>> {
    let group = read(Path::new("/proc/self/cgroup"))?;
    let limits = read(Path::new("/proc/self/limits"))?;
    Ok(format!("{group}\n{limits}").into_bytes())
}

fn journal() -> Result<Vec<u8>, String> {
    // A journal on a disk that hangs must not keep the rest.
    let output = Command::new("timeout")
        .args([
            "20",
            "journalctl",
            "--unit",
            "podswitchd",
            "--lines",
            "2000",
            "--no-pager",
            "--output",
            "short-iso",
        ])
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!(
            "journalctl: {}",
            if words.is_empty() { output.status.to_string() } else { words }
        ));
    }
    let excess = output.stdout.len().saturating_sub(LARGEST_JOURNAL);
    Ok(output.stdout[excess..].to_vec())
}
