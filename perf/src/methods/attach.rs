//! What it costs to plug a pod in and out through the CNI plugin, as a container runtime does it.
//!
//! Every call is a process of its own, timed from its start to its end, so that all is in it: the program's start, the
//! call to the daemon, the write to disk. Ports that stay are there while calls are timed, and a number of calls is in
//! flight all the time: first additions, as on a node that starts, then the deletions of the same pods, as on one that is
//! drained, and so on. No container runs: what is measured is what stands between a pod's creation and its first
//! container. Needs root for network namespaces; runs on the calling thread and its own.

mod crowd;
mod plugin;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use super::MethodError;
use crate::peers::{Cpus, Layout, PeerError, Podswitch, RunningPodswitch, Switch as _};
use crate::report::Bound;

pub use crowd::Crowd;
use plugin::{Call, Namespace, Plugin, Verb};

/// CNI plugins of others, where Debian has them.
const OTHERS: &str = "/usr/lib/cni";
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// What `host-local` gives out of: more addresses than there are ports at any time.
const SUBNET: &str = "10.64.0.0/16";
/// Pods that are added before they are deleted, for each call in flight.
const TURNS: usize = 5;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ports that are there and stay.
    pub present: usize,
    /// Calls in flight.
    pub at_once: usize,
    /// Additions, and as many deletions, that are timed.
    pub pods: usize,
    /// Of these, with `host-local`.
    pub pods_with_ipam: usize,
    /// Of these, one after the other.
    pub pods_alone: usize,
    /// Starts of the program that are timed.
    pub starts: usize,
    /// Additions at once in a small control group.
    pub crowd: usize,
}

impl Settings {
    /// What figures are made of.
    pub const FULL: Self = Self {
        present: 200,
        at_once: 32,
        pods: 960,
        pods_with_ipam: 320,
        pods_alone: 100,
        starts: 100,
        crowd: 50,
    };
    /// An indication.
    pub const QUICK: Self = Self { pods: 320, pods_with_ipam: 96, pods_alone: 20, starts: 20, ..Self::FULL };
    /// As little as shows that it works.
    pub const SMOKE: Self =
        Self { present: 4, at_once: 4, pods: 8, pods_with_ipam: 4, pods_alone: 2, starts: 3, crowd: 4 };
}

/// How long additions and deletions took, microseconds.
#[derive(Clone, Debug)]
pub struct Times {
    /// ADD.
    pub add: Histogram<u64>,
    /// DEL.
    pub del: Histogram<u64>,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Without IPAM.
    pub plain: Times,
    /// The same, one call after the other.
    pub alone: Times,
    /// With `host-local`; `None` where it is not installed.
    pub host_local: Option<Times>,
    /// From the start of the program to its end when it is asked for its version, microseconds.
    pub start: Histogram<u64>,
    /// Most memory that the program ever held during an addition, bytes.
    pub peak: u64,
    /// Additions at once in a small control group, or why that could not be tried.
    pub crowd: Result<Crowd, String>,
}

/// One number of all that, and what it may be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// For programs.
    pub key: &'static str,
    /// For people.
    pub text: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// `None`: not measured.
    pub value: Option<f64>,
    /// What it must reach.
    pub bound: Option<Bound>,
}

impl Attached {
    /// All numbers.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let ms = |times: &Histogram<u64>, share: f64| Some(times.value_at_quantile(share) as f64 / 1e3);
        let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let with = self.host_local.as_ref();
        let crowd = self.crowd.as_ref().ok();
        let line = |key, text, unit, value, bound| Line { key, text, unit, value, bound };
        let at_most = |bound| Some(Bound::AtMost(bound));
        vec![
            line("attach_add_p50", "ADD, p50", "ms", ms(&self.plain.add, 0.5), at_most(50.0)),
            line("attach_add_p99", "ADD, p99", "ms", ms(&self.plain.add, 0.99), at_most(250.0)),
            line("attach_del_p50", "DEL, p50", "ms", ms(&self.plain.del, 0.5), at_most(30.0)),
            line("attach_del_p99", "DEL, p99", "ms", ms(&self.plain.del, 0.99), None),
            line("attach_alone_add_p50", "ADD alone, p50", "ms", ms(&self.alone.add, 0.5), None),
            line("attach_alone_del_p50", "DEL alone, p50", "ms", ms(&self.alone.del, 0.5), None),
            line(
                "attach_ipam_add_p50",
                "ADD with host-local, p50",
                "ms",
                with.and_then(|t| ms(&t.add, 0.5)),
                None,
            ),
            line(
                "attach_ipam_add_p99",
                "ADD with host-local, p99",
                "ms",
                with.and_then(|t| ms(&t.add, 0.99)),
                None,
            ),
            line(
                "attach_ipam_del_p50",
                "DEL with host-local, p50",
                "ms",
                with.and_then(|t| ms(&t.del, 0.5)),
                None,
            ),
            line("attach_start", "start of the plugin, p50", "ms", ms(&self.start, 0.5), at_most(10.0)),
            line("attach_peak", "most memory of the plugin", "MB", Some(mb(self.peak)), at_most(8.0)),
            line(
                "attach_crowd_failed",
                "ADDs that fail, all at once in 50 MB",
                "calls",
                crowd.map(|crowd| (crowd.asked - crowd.done) as f64),
                at_most(0.0),
            ),
            line(
                "attach_crowd_peak",
                "memory of their control group",
                "MB",
                crowd.and_then(|c| c.peak).map(mb),
                None,
            ),
        ]
    }
}

/// Measures all of it with a daemon of its own.
///
/// # Errors
/// A missing daemon or plugin, no right to make namespaces, a call that fails.
pub fn attach(
    daemon: &Path,
    plugin: &Path,
    cpus: &Cpus,
    settings: Settings,
) -> Result<Attached, MethodError> {
    if !plugin.is_file() {
        let what = plugin.display().to_string();
        return Err(PeerError::Missing { what, remedy: "build it: make static" }.into());
    }
    // As on a node: what pods share with the switch is in memory, the store and others' addresses are on disk.
    let memory = Path::new(MEMORY);
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = tempfile::Builder::new()
        .prefix("psw-perf.")
        .tempdir_in(&place)
        .map_err(|source| MethodError::Directory { path: place, source })?;
    let peer = Podswitch {
        adaptive: true,
        config: format!(
            "[attachments]\ndirectory = \"{}\"\nkubelet = \"\"\n",
            directory.path().join("run").display()
        ),
        ..Podswitch::new(daemon)
    };
    let switch = peer.launch(&Layout { ports: Vec::new(), longest_frame: 1518 }, cpus)?;
    let measured = with(&switch, plugin, settings);
    Box::new(switch).stop();
    measured
}

fn with(switch: &RunningPodswitch, plugin: &Path, settings: Settings) -> Result<Attached, MethodError> {
    switch.api().add_open_network("pods")?;
    let plain = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "type": "cni-vhostuser",
        "socket": switch.api_socket(),
        "timeoutMs": 60_000,
    });
    let mut addressed = plain.clone();
    addressed["ipam"] = json!({
        "type": "host-local",
        "dataDir": switch.directory().join("addresses"),
        "ranges": [[{ "subnet": SUBNET }]],
    });
    let namespaces: Vec<Namespace> =
        (0..settings.at_once).map(|_| Namespace::make()).collect::<Result<_, _>>()?;
    let plugin = Plugin { program: plugin.to_path_buf(), path: OTHERS.into() };
    let bed = Bed { plugin: &plugin, namespaces: &namespaces, calls: AtomicUsize::new(0) };

    let start = starts(&plugin, settings.starts)?;
    let stay: Vec<Call> = (0..settings.present).map(|number| bed.call(number, &plain)).collect();
    bed.each(&stay, Verb::Add)?;
    let peak = plugin.peak(&bed.call(0, &plain))?;
    let times = bed.churn(&plain, settings.pods)?;
    let one = Bed { namespaces: &namespaces[..1], ..bed };
    let alone = one.churn(&plain, settings.pods_alone)?;
    let bed = Bed { namespaces: &namespaces, ..one };
    let host_local = match PathBuf::from(OTHERS).join("host-local").is_file() {
        true => Some(bed.churn(&addressed, settings.pods_with_ipam)?),
        false => None,
    };
    let calls: Vec<Call> = (0..settings.crowd).map(|number| bed.call(number, &plain)).collect();
    let crowd = crowd::add(&plugin, &calls).map_err(|error| error.to_string());
    bed.each(&calls, Verb::Del)?;
    bed.each(&stay, Verb::Del)?;
    Ok(Attached { plain: times, alone, host_local, start, peak, crowd })
}

/// The plugin beside our own executable, or where `make static` puts it.
#[must_use]
pub fn beside_us() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let named = format!("{}-unknown-linux-gnu/node/cni-vhostuser", std::env::consts::ARCH);
    let mut places = own
        .ancestors()
        .skip(1)
        .take(3)
        .flat_map(|directory| [directory.join(&named), directory.join("cni-vhostuser")]);
    // The static one is what runs on nodes.
    let all: Vec<PathBuf> = places.by_ref().filter(|file| file.is_file()).collect();
    all.iter().find(|file| file.ends_with(&named)).or(all.first()).cloned()
}

/// Where calls are made.
struct Bed<'a> {
    plugin: &'a Plugin,
    namespaces: &'a [Namespace],
    /// Calls made so far: none has the container id of another.
    calls: AtomicUsize,
}

impl Bed<'_> {
    fn call(&self, place: usize, config: &serde_json::Value) -> Call {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let namespace = &self.namespaces[place % self.namespaces.len()];
        Call {
            container: format!("{:032x}{number:032x}", std::process::id()),
            netns: namespace.path(),
            config: config.to_string(),
        }
    }

    /// The same for all, as many at once as there are namespaces; gives how long each took.
    fn each(&self, calls: &[Call], verb: Verb) -> Result<Histogram<u64>, MethodError> {
        let all = Mutex::new(histogram());
        let next = AtomicUsize::new(0);
        self.threads(|| {
            let mut times = histogram();
            while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                times.saturating_record(micros(self.plugin.run(verb, call)?));
            }
            // All have the same shape.
            let _ = all.lock().unwrap_or_else(PoisonError::into_inner).add(&times);
            Ok(())
        })?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds and deletes `pods` pods, a few for each call in flight at a time.
    fn churn(&self, config: &serde_json::Value, pods: usize) -> Result<Times, MethodError> {
        let mut times = Times { add: histogram(), del: histogram() };
        let mut left = pods;
        while left > 0 {
            let count = left.min(TURNS * self.namespaces.len());
            let calls: Vec<Call> = (0..count).map(|number| self.call(number, config)).collect();
            // All have the same shape.
            let _ = times.add.add(self.each(&calls, Verb::Add)?);
            let _ = times.del.add(self.each(&calls, Verb::Del)?);
            left -= count;
        }
        Ok(times)
    }

    fn threads(&self, work: impl Fn() -> Result<(), MethodError> + Sync) -> Result<(), MethodError> {
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..self.namespaces.len()).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| MethodError::Beside)?)
        })
    }
}

/// How long the program takes that has nothing to do but to start.
fn starts(plugin: &Plugin, count: usize) -> Result<Histogram<u64>, MethodError> {
    let mut times = histogram();
    for _ in 0..count {
        let begin = Instant::now();
        plugin.version()?;
        times.saturating_record(micros(begin.elapsed()));
    }
    Ok(times)
}

/// Microseconds, up to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("these bounds are valid")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
