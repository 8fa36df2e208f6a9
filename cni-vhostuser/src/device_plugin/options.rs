//! Flags and configuration file, and what they come to.
//!
//! A flag overrides the file's key of the same name. Pools are given either by flags (one) or by `[[pool]]` tables.
//! Read once, at start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use proto::paths;
use serde::Deserialize;

use super::directories::Layout;
use super::host::{HostError, MountNamespace};
use super::pool::{MOST_NODES, Pool, PoolError};

const LONGEST_SOCKET_PATH: usize = 107;
const DEVICES: u32 = 64;

/// Offers the kubelet the directories that pods share with the switch.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "podswitch-device-plugin", version)]
pub struct Options {
    /// Configuration file in TOML; keys are the flags' names with _ for -, and [[pool]] tables
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where podswitchd's API is [default: unix:ROOT/api.sock]
    #[arg(long, value_name = "unix:PATH")]
    pub api: Option<String>,
    /// Directory shared with podswitchd [default: /run/podswitch]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of the kubelet's sockets [default: /var/lib/kubelet/device-plugins]
    #[arg(long, value_name = "DIR")]
    pub kubelet_dir: Option<PathBuf>,
    /// Resource that pods ask for [default: podswitch.io/vhost-user]
    #[arg(long, value_name = "DOMAIN/NAME")]
    pub resource: Option<String>,
    /// Devices for each NUMA node [default: 64]
    #[arg(long, value_name = "N")]
    pub devices: Option<u32>,
    /// NUMA nodes that have devices [default: auto, those where the switch has workers]
    #[arg(long, value_name = "auto|LIST")]
    pub nodes: Option<String>,
    /// Group of the socket directories, a number [default: 0]
    #[arg(long, value_name = "GID")]
    pub socket_group: Option<u32>,
    /// Size of the file system on a socket directory; 0: no file system of its own [default: 65536]
    #[arg(long, value_name = "BYTES")]
    pub socket_bytes: Option<u64>,
    /// Files that it holds, itself included [default: 64]
    #[arg(long, value_name = "N")]
    pub socket_inodes: Option<u64>,
    /// SELinux label of what pods see [default: none is set]
    #[arg(long, value_name = "LABEL")]
    pub selinux_label: Option<String>,
    /// Directory of podswitch-port on the host [default: /opt/podswitch/bin]
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Where to mount: the namespace of process 1, of a file, or our own [default: auto]
    #[arg(long, value_name = "auto|PATH|none")]
    pub mount_namespace: Option<String>,
    /// Directory of device-info files [default: /var/run/k8s.cni.cncf.io/devinfo/dp]
    #[arg(long, value_name = "DIR")]
    pub devinfo_dir: Option<PathBuf>,
    /// How long the switch may be away before devices are unhealthy, in ms [default: 30000]
    #[arg(long, value_name = "MS")]
    pub hold_down_ms: Option<u64>,
    /// Time between two looks at the switch, in ms [default: 5000]
    #[arg(long, value_name = "MS")]
    pub poll_ms: Option<u64>,
    /// Unmount and remove all that was made here, and end
    #[arg(long)]
    pub cleanup: bool,
    /// With --cleanup: also what pods still hold
    #[arg(long, requires = "cleanup")]
    pub force: bool,
    /// error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    api: Option<String>,
    root: Option<PathBuf>,
    kubelet_dir: Option<PathBuf>,
    resource: Option<String>,
    devices: Option<u32>,
    nodes: Option<String>,
    socket_group: Option<u32>,
    socket_bytes: Option<u64>,
    socket_inodes: Option<u64>,
    selinux_label: Option<String>,
    programs: Option<PathBuf>,
    mount_namespace: Option<String>,
    devinfo_dir: Option<PathBuf>,
    hold_down_ms: Option<u64>,
    poll_ms: Option<u64>,
    pool: Vec<PoolTable>,
}

/// A `[[pool]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolTable {
    resource: String,
    devices: Option<u32>,
    first: Option<u32>,
    #[serde(default)]
    uplinks: Vec<String>,
}

/// NUMA nodes that have devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// Those where the switch has workers.
    Auto,
    /// These.
    Listed(Vec<u32>),
}

/// What was asked for, checked.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) api: PathBuf,
    pub(super) layout: Layout,
    pub(super) kubelet_dir: PathBuf,
    pub(super) nodes: Nodes,
    pub(super) programs: PathBuf,
    pub(super) mount_namespace: MountNamespace,
    pub(super) devinfo_dir: PathBuf,
    pub(super) pools: Vec<Pool>,
    pub(super) hold_down: Duration,
    pub(super) poll: Duration,
    pub(super) cleanup: bool,
    pub(super) force: bool,
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The file is not such TOML.
    #[error("{path}: {error}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's word, with line and column.
        error: Box<toml::de::Error>,
    },
    /// A path that is relative, or has a part that is no name.
    #[error("{option}: \"{path}\" is not an absolute path of plain names", path = path.display())]
    Path {
        /// Which.
        option: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// A socket whose path the kernel does not take.
    #[error("the socket {path} has more than {LONGEST_SOCKET_PATH} bytes; use a shorter directory", path = path.display())]
    Long {
        /// The path.
        path: PathBuf,
    },
    /// Not the address of an API.
    #[error("--api: \"{0}\" is no address; use unix:PATH")]
    Api(String),
    /// Not a list of nodes.
    #[error("--nodes: \"{0}\" is not auto or a list of numbers below {MOST_NODES}, as in 0,1")]
    Nodes(String),
    /// A number outside its range.
    #[error("{option}: {value} is outside {range}")]
    Range {
        /// Which.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// Pools given twice.
    #[error("pools are given by [[pool]] in the file and by resource or devices too; use one of the two")]
    PoolsTwice,
    /// A pool of something that the switch does not have yet.
    #[error("pool {resource}: uplinks ({uplinks}) are not offered by this switch; leave them out")]
    Uplinks {
        /// The pool.
        resource: String,
        /// What it names.
        uplinks: String,
    },
    /// The mount namespace.
    #[error("--mount-namespace: {0}")]
    Namespace(#[source] HostError),
    /// A pool, or two that do not go together.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl Options {
    /// Reads the file, if one is named, and checks everything.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub(super) fn settle(self) -> Result<Settings, OptionsError> {
        let file = self.config.as_deref().map_or_else(|| Ok(File::default()), File::load)?;
        let pools = pools(&self, &file)?;
        let root = absolute("--root", self.root.or(file.root), paths::ROOT)?;
        let api = match self.api.or(file.api) {
            None => root.join("api.sock"),
            Some(text) => match text.strip_prefix("unix:") {
                Some(path) if path.starts_with('/') => PathBuf::from(path),
                _ => return Err(OptionsError::Api(text)),
            },
        };
        let kubelet_dir = absolute(
            "--kubelet-dir",
            self.kubelet_dir.or(file.kubelet_dir),
            "/var/lib/kubelet/device-plugins",
        )?;
        let longest = "n00-0000";
        let sockets = [api.clone(), paths::DeviceDirectories::new(&root, longest).socket_file()];
        let endpoints = pools.iter().map(|p| kubelet_dir.join(p.endpoint()));
        for path in sockets.into_iter().chain(endpoints).chain([kubelet_dir.join("kubelet.sock")]) {
            if path.as_os_str().len() > LONGEST_SOCKET_PATH {
                return Err(OptionsError::Long { path });
            }
        }
        let inodes = self.socket_inodes.or(file.socket_inodes).unwrap_or(64);
        within("--socket-inodes", inodes, 4, 65_536, "4 to 65536")?;
        let bytes = self.socket_bytes.or(file.socket_bytes).unwrap_or(65_536);
        if bytes != 0 {
            within("--socket-bytes", bytes, 4096, 1 << 30, "4096 to 1073741824, or 0 for none")?;
        }
        let hold_down = self.hold_down_ms.or(file.hold_down_ms).unwrap_or(30_000);
        within("--hold-down-ms", hold_down, 0, 3_600_000, "0 to 3600000")?;
        let poll = self.poll_ms.or(file.poll_ms).unwrap_or(5000);
        within("--poll-ms", poll, 20, 600_000, "20 to 600000")?;
        let namespace = self.mount_namespace.or(file.mount_namespace);
        Ok(Settings {
            api,
            layout: Layout {
                root,
                group: self.socket_group.or(file.socket_group).unwrap_or(0),
                bytes,
                inodes,
                label: self.selinux_label.or(file.selinux_label).filter(|l| !l.is_empty()),
            },
            kubelet_dir,
            nodes: nodes(self.nodes.or(file.nodes).as_deref().unwrap_or("auto"))?,
            programs: absolute("--programs", self.programs.or(file.programs), paths::HOST_PROGRAMS)?,
            mount_namespace: namespace
                .as_deref()
                .unwrap_or("auto")
                .parse()
                .map_err(OptionsError::Namespace)?,
            devinfo_dir: absolute(
                "--devinfo-dir",
                self.devinfo_dir.or(file.devinfo_dir),
                "/var/run/k8s.cni.cncf.io/devinfo/dp",
            )?,
            pools,
            hold_down: Duration::from_millis(hold_down),
            poll: Duration::from_millis(poll),
            cleanup: self.cleanup,
            force: self.force,
        })
    }
}

impl File {
    fn load(path: &Path) -> Result<Self, OptionsError> {
        let text =
            fs::read_to_string(path).map_err(|error| OptionsError::Read { path: path.into(), error })?;
        toml::from_str(&text)
            .map_err(|error| OptionsError::Parse { path: path.into(), error: Box::new(error) })
    }
}

fn pools(flags: &Options, file: &File) -> Result<Vec<Pool>, OptionsError> {
    let resource = flags.resource.as_ref().or(file.resource.as_ref());
    let devices = flags.devices.or(file.devices);
    let pools = if file.pool.is_empty() {
        let resource = resource.map_or(paths::RESOURCE, String::as_str);
        vec![Pool::new(resource, 0, devices.unwrap_or(DEVICES))?]
    } else if resource.is_some() || devices.is_some() {
        return Err(OptionsError::PoolsTwice);
    } else {
        file.pool.iter().enumerate().map(|(index, table)| pool(index, table)).collect::<Result<_, _>>()?
    };
    Pool::check_together(&pools)?;
    Ok(pools)
}

fn pool(index: usize, table: &PoolTable) -> Result<Pool, OptionsError> {
    if !table.uplinks.is_empty() {
        let uplinks = table.uplinks.join(", ");
        return Err(OptionsError::Uplinks { resource: table.resource.clone(), uplinks });
    }
    // Far enough apart that a pool can grow without touching the ids of the next.
    let first = table.first.unwrap_or_else(|| u32::try_from(index).unwrap_or(u32::MAX).saturating_mul(1000));
    Ok(Pool::new(&table.resource, first, table.devices.unwrap_or(DEVICES))?)
}

fn nodes(text: &str) -> Result<Nodes, OptionsError> {
    if text == "auto" {
        return Ok(Nodes::Auto);
    }
    let wrong = || OptionsError::Nodes(text.into());
    let mut listed = Vec::new();
    for word in text.split(',') {
        let node = word.trim().parse::<u32>().map_err(|_| wrong())?;
        if node >= MOST_NODES {
            return Err(wrong());
        }
        listed.push(node);
    }
    listed.sort_unstable();
    listed.dedup();
    Ok(Nodes::Listed(listed))
}

fn absolute(option: &'static str, given: Option<PathBuf>, default: &str) -> Result<PathBuf, OptionsError> {
    let path = given.unwrap_or_else(|| default.into());
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if path.is_absolute() && plain { Ok(path) } else { Err(OptionsError::Path { option, path }) }
}

fn within(
    option: &'static str,
    value: u64,
    least: u64,
    most: u64,
    range: &'static str,
) -> Result<(), OptionsError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(OptionsError::Range { option, value, range }) }
}

#[cfg(test)]
mod tests;
