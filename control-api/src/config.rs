//! The daemon's configuration: a TOML file, and flags that win over it.
//!
//! [`File`] is the file word for word (unknown keys are refused); [`File::resolve`] checks it and gives the typed
//! [`Settings`] that the rest of the daemon uses. `deploy/podswitchd.toml` documents every key.

mod attachments;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane::spec::Idle;
use serde::{Deserialize, Serialize};

use crate::address::{ApiAddress, MetricsAddress};
use crate::cpus::WorkerCpus;
use crate::size;

pub use attachments::{AttachmentSettings, Attachments, SocketGroup};

/// Where the file is looked for when none is named.
pub const DEFAULT_PATH: &str = "/etc/podswitch/podswitchd.toml";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("--config: {path}: {source}; name a file that can be read, or leave the flag out")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not TOML, or with unknown keys.
    #[error("{path}: {reason}; deploy/podswitchd.toml shows every key")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and reason, on one line.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{key}: {reason}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// Why, and what to do.
        reason: String,
    },
}

/// What the command line may override.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--api`
    pub api: Option<String>,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--workers`
    pub workers: Option<String>,
    /// `--no-huge`
    pub no_huge: bool,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

/// The file, section by section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "each section has its own text")]
pub struct File {
    pub api: Api,
    pub state: State,
    pub workers: Workers,
    pub dpdk: Dpdk,
    pub limits: Limits,
    pub network: Network,
    pub attachments: Attachments,
    pub metrics: Metrics,
    pub log: Log,
}

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// `unix:PATH`.
    pub address: String,
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// A directory.
    pub directory: PathBuf,
}

/// The threads that move frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// A CPU list, or `auto:N`.
    pub cpus: String,
    /// What a worker does when there is nothing to do.
    pub idle: IdleWord,
    /// Longest sleep between polls of an adaptive worker, microseconds.
    pub idle_sleep_us: u64,
    /// Copies of a frame on its way, 1 or 2.
    pub copies: u8,
}

/// The two ways to idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdleWord {
    /// Polls, then pauses, then sleeps.
    Adaptive,
    /// Polls without a pause.
    Busy,
}

/// DPDK.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpdk {
    /// Megabytes it is given at start.
    pub memory: u32,
    /// Use hugepages if there are any.
    pub hugepages: bool,
}

/// Limits of a port that does not name its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory that a guest may share.
    pub port_memory: String,
}

/// What holds for every network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Seconds of silence after which a learned MAC address is forgotten.
    pub mac_ageing: u64,
    /// MAC addresses that a network holds.
    pub mac_table_size: u32,
    /// MAC addresses that one trusted port may have learned.
    pub mac_quota: u32,
}

/// Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `unix:PATH`, a loopback `ADDRESS:PORT`, `off`; empty: `metrics.sock` beside the API's socket.
    pub listen: String,
}

/// Log lines, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`, or tracing's directives.
    pub level: String,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Api {
    fn default() -> Self {
        Self { address: ApiAddress::DEFAULT.into() }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { directory: "/var/lib/podswitch".into() }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self { cpus: "auto:1".into(), idle: IdleWord::Adaptive, idle_sleep_us: 100, copies: 1 }
    }
}

impl Default for Dpdk {
    fn default() -> Self {
        Self { memory: 64, hugepages: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { port_memory: "16G".into() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { mac_ageing: 300, mac_table_size: 4096, mac_quota: 1024 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the API is.
    pub api: ApiAddress,
    /// Where objects are kept.
    pub state: PathBuf,
    /// What was asked for as the workers' CPUs.
    pub workers: WorkerCpus,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Copy every frame into private memory first.
    pub two_copies: bool,
    /// Megabytes for DPDK.
    pub dpdk_memory: u32,
    /// Hugepages, if there are any.
    pub hugepages: bool,
    /// Bytes a guest may share unless its port says otherwise.
    pub port_memory: u64,
    /// Ageing of learned MAC addresses.
    pub mac_ageing: Duration,
    /// MAC addresses a network.
    pub mac_table_size: u32,
    /// MAC addresses a trusted port.
    pub mac_quota: u32,
    /// What a container runtime attaches.
    pub attachments: AttachmentSettings,
    /// Where metrics are read.
    pub metrics: MetricsAddress,
    /// Directives for the log.
    pub log_level: String,
    /// Form of a log line.
    pub log_format: LogFormat,
}

impl File {
    /// Reads the file named, or the one in the default place, or takes the defaults where that does not exist.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::Parse`].
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.into(), source }),
        }
    }

    /// # Errors
    /// [`ConfigError::Parse`], which names `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| text[..span.start].lines().count().max(1));
            let place = line.map(|n| format!("line {n}: ")).unwrap_or_default();
            ConfigError::Parse {
                path: path.into(),
                reason: format!("{place}{}", e.message().replace('\n', " ")),
            }
        })
    }

    /// Checks every value and lets the flags win.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key (or flag) at fault.
    pub fn resolve(self, flags: Overrides) -> Result<Settings, ConfigError> {
        let api = match &flags.api {
            Some(text) => text.parse().map_err(|e| value("--api", &e))?,
            None => self.api.address.parse::<ApiAddress>().map_err(|e| value("api.address", &e))?,
        };
        let workers = match &flags.workers {
            Some(text) => text.parse().map_err(|e| value("--workers", &e))?,
            None => self.workers.cpus.parse().map_err(|e| value("workers.cpus", &e))?,
        };
        let metrics = match self.metrics.listen.as_str() {
            "" => MetricsAddress::Unix(api.path().with_file_name("metrics.sock")),
            text => text.parse().map_err(|e| value("metrics.listen", &e))?,
        };
        let state = flags.state.unwrap_or(self.state.directory);
        if !state.is_absolute() {
            return Err(value(
                "state.directory",
                &format!("\"{}\" is not absolute; begin it with /", state.display()),
            ));
        }
        within("workers.idle_sleep_us", self.workers.idle_sleep_us, 1, 10_000)?;
        within("workers.copies", self.workers.copies.into(), 1, 2)?;
        within("dpdk.memory", self.dpdk.memory.into(), 16, 1 << 20)?;
        within("network.mac_ageing", self.network.mac_ageing, 1, 1_000_000)?;
        within("network.mac_table_size", self.network.mac_table_size.into(), 64, 1 << 20)?;
        within("network.mac_quota", self.network.mac_quota.into(), 1, self.network.mac_table_size.into())?;
        let port_memory =
            size::parse(&self.limits.port_memory).map_err(|e| value("limits.port_memory", &e))?;
        within("limits.port_memory", port_memory, 1 << 20, 1 << 46)?;
        Ok(Settings {
            api,
            state,
            workers,
            idle: match self.workers.idle {
                IdleWord::Busy => Idle::Busy,
                IdleWord::Adaptive => Idle::Adaptive(Duration::from_micros(self.workers.idle_sleep_us)),
            },
            two_copies: self.workers.copies == 2,
            dpdk_memory: self.dpdk.memory,
            hugepages: self.dpdk.hugepages && !flags.no_huge,
            port_memory,
            mac_ageing: Duration::from_secs(self.network.mac_ageing),
            mac_table_size: self.network.mac_table_size,
            mac_quota: self.network.mac_quota,
            attachments: self.attachments.resolve()?,
            metrics,
            log_level: flags.log_level.unwrap_or(self.log.level),
            log_format: flags.log_format.unwrap_or(self.log.format),
        })
    }
}

fn value(key: &'static str, reason: &impl ToString) -> ConfigError {
    ConfigError::Value { key, reason: reason.to_string() }
}

fn within(key: &'static str, given: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(value(key, &format!("{given} is out of range; use {least} to {most}")))
}

#[cfg(test)]
mod tests;
