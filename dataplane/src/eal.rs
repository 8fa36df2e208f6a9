//! DPDK's environment (EAL): started once in a process, before the first worker.
//!
//! `rte_eal_init` pins the thread that calls it and DPDK remembers that thread as its main lcore, so EAL gets
//! a thread of its own that waits until the end and then cleans up. All others keep the affinity they have.
//! The control thread starts it and asks for figures; workers register themselves through
//! [`Eal::register_thread`].
//!
//! Nothing stays behind: there are no files on hugetlbfs (`--in-memory`) nor a shared configuration, and the
//! empty directory that EAL insists on making under `/run/dpdk` is removed as soon as EAL is up.

#![expect(unsafe_code, reason = "calls into DPDK's C interface")]

mod arguments;
mod hugepages;
mod lcore;
pub(crate) mod log;

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, fs, io, ptr};

use dpdk_sys as sys;

pub use lcore::LcoreToken;

use crate::dpdk::RetiredPool;

/// Which memory DPDK is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Hugepages if enough of them can be had, else ordinary memory.
    #[default]
    Auto,
    /// Ordinary memory.
    No,
}

/// How to start EAL.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Which memory to use.
    pub hugepages: HugePages,
    /// Megabytes of memory DPDK takes at start, and never more. Receive and transmit buffers of DPDK ports
    /// come out of it; vhost-user ports need none.
    pub memory_mb: u32,
    /// Whether PCI devices can be opened. None is touched before it is asked for.
    pub pci: bool,
    /// Name under which EAL keeps its run-time directory while it starts; unique to the process by default.
    pub file_prefix: Option<String>,
    /// More EAL arguments, for what this structure has no field for.
    pub extra: Vec<String>,
}

impl EalConfig {
    /// What [`EalConfig::default`] takes: room for some six ports at 1,500 bytes.
    pub const DEFAULT_MEMORY_MB: u32 = 64;
}

impl Default for EalConfig {
    fn default() -> Self {
        Self {
            hugepages: HugePages::Auto,
            memory_mb: Self::DEFAULT_MEMORY_MB,
            pci: true,
            file_prefix: None,
            extra: Vec::new(),
        }
    }
}

/// Which memory DPDK got, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Hugepages.
    HugePages,
    /// Ordinary pages, because that was asked for.
    OrdinaryAsked,
    /// Ordinary pages, because only `free` bytes of hugepages could be had.
    OrdinaryFallback {
        /// Bytes of free hugepages at start.
        free: u64,
    },
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HugePages => f.write_str("hugepages"),
            Self::OrdinaryAsked => f.write_str("ordinary pages, as configured"),
            Self::OrdinaryFallback { free } => {
                write!(f, "ordinary pages, as only {} MB of hugepages can be had", free >> 20)
            }
        }
    }
}

/// Memory that DPDK holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EalMemory {
    /// All that EAL was given.
    pub total_bytes: u64,
    /// Of which allocated.
    pub used_bytes: u64,
    /// Hugepages taken from the system (0 without hugepages).
    pub hugepage_bytes: u64,
}

impl EalMemory {
    /// Bytes not allocated.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.used_bytes)
    }
}

/// Why EAL did not start, or a thread could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// EAL starts once in a process, and cannot start again after it ended.
    #[error("DPDK has been started in this process already")]
    AlreadyStarted,
    /// The thread for EAL could not be made.
    #[error("cannot start DPDK's thread: {0}")]
    Thread(#[source] io::Error),
    /// An argument contains a zero byte.
    #[error("the DPDK argument {0:?} contains a zero byte")]
    Argument(String),
    /// `rte_eal_init` refused.
    #[error("DPDK does not start ({reason}){}", log::Cause(.cause.as_deref()))]
    Init {
        /// DPDK's error code in words.
        reason: String,
        /// The first error that EAL logged.
        cause: Option<String>,
    },
    /// DPDK has no place for another thread, or was started in a way that allows none.
    #[error("DPDK does not take another thread, it was built for {limit} ({reason})")]
    Register {
        /// Threads that this DPDK was built for.
        limit: u32,
        /// DPDK's error code in words.
        reason: String,
    },
}

/// DPDK, running. Clones share it; when the last is dropped EAL is cleaned up.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

struct Inner {
    kind: MemoryKind,
    start_time: Duration,
    /// Pools of closed ports, some of whose mbufs are still on their way elsewhere.
    retired: Mutex<Vec<RetiredPool>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL. Takes 0.15 s to 0.4 s, most of it for loading the drivers.
    ///
    /// # Errors
    /// When EAL ran before in this process, or refuses; the cause is EAL's own line.
    pub fn start(config: &EalConfig) -> Result<Self, EalError> {
        let begin = Instant::now();
        let kind = hugepages::choose(config.hugepages, config.memory_mb);
        let arguments = arguments::list(config, kind)
            .into_iter()
            .map(|text| CString::new(text.clone()).map_err(|_| EalError::Argument(text)))
            .collect::<Result<Vec<_>, _>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }

        let (stop, stopped) = channel::<()>();
        let (report, reported) = sync_channel(1);
        let thread = Builder::new()
            .name("eal".into())
            .spawn(move || {
                let outcome = init(&arguments);
                let runs = outcome.is_ok();
                // Whoever started us waits for the answer.
                let _ = report.send(outcome);
                if runs {
                    // Ends when the sender is dropped with the last `Eal`.
                    let _ = stopped.recv();
                    // SAFETY: EAL runs, this is its main thread, and ports and registered threads, which
                    // each hold an `Eal`, are gone.
                    unsafe { sys::rte_eal_cleanup() };
                    remove_runtime_directory();
                }
            })
            .map_err(EalError::Thread)?;
        reported.recv().expect("the thread answers before it ends")?;

        let start_time = begin.elapsed();
        let memory = config.memory_mb;
        tracing::info!(version = Self::version(), memory, %kind, ?start_time, "DPDK runs");
        let inner = Inner {
            kind,
            start_time,
            retired: Mutex::new(Vec::new()),
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Registers the calling thread with DPDK, which gives it its own cache of free mbufs in each pool. Every
    /// worker does this after it is pinned and before its first burst.
    ///
    /// # Errors
    /// When DPDK has no place for it.
    pub fn register_thread(&self) -> Result<LcoreToken, EalError> {
        LcoreToken::new(self.clone())
    }

    /// Memory given and used. Walks DPDK's heaps under their locks: for the control thread.
    #[must_use]
    pub fn memory(&self) -> EalMemory {
        self.reap();
        let mut memory = EalMemory::default();
        for node in numa_nodes() {
            let (total, used) = heap(node);
            memory.total_bytes += total;
            memory.used_bytes += used;
        }
        if self.inner.kind == MemoryKind::HugePages {
            memory.hugepage_bytes = memory.total_bytes;
        }
        memory
    }

    /// Which memory DPDK got.
    #[must_use]
    pub fn memory_kind(&self) -> MemoryKind {
        self.inner.kind
    }

    /// How long the start took.
    #[must_use]
    pub fn start_time(&self) -> Duration {
        self.inner.start_time
    }

    /// The version of DPDK that runs, such as "DPDK 22.11.11".
    #[must_use]
    pub fn version() -> &'static str {
        // SAFETY: returns a static string that ends in zero.
        unsafe { CStr::from_ptr(sys::rte_version()) }.to_str().unwrap_or("DPDK")
    }

    /// How many DPDK ports can exist at once: fixed when DPDK was built.
    #[must_use]
    pub fn device_limit() -> u32 {
        sys::SHIM_MAX_ETHPORTS
    }

    /// Keeps the pool of a closed port until its last mbuf has come back.
    pub(crate) fn retire(&self, pool: RetiredPool) {
        self.retired().push(pool);
        self.reap();
    }

    /// Frees the pools of closed ports whose mbufs have all come back.
    pub(crate) fn reap(&self) {
        self.retired().retain_mut(|pool| !pool.try_free());
    }

    /// Whether pools of closed ports have not been freed yet.
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired().is_empty()
    }

    fn retired(&self) -> MutexGuard<'_, Vec<RetiredPool>> {
        // A panic elsewhere leaves the list as it was.
        self.inner.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal").field("kind", &self.inner.kind).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked inside DPDK; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

fn init(arguments: &[CString]) -> Result<(), EalError> {
    let mut argv: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
    let count = c_int::try_from(argv.len()).expect("a dozen arguments");
    argv.push(ptr::null_mut());
    log::open();
    // SAFETY: argv holds `count` strings and a null; EAL permutes the array, copies what it keeps of the
    // strings, and writes to none. No other thread is inside EAL, which `STARTED` sees to.
    let (parsed, cause) = log::record(|| unsafe { sys::rte_eal_init(count, argv.as_mut_ptr()) });
    remove_runtime_directory();
    if parsed < 0 { Err(EalError::Init { reason: errno_text(errno()), cause }) } else { Ok(()) }
}

/// EAL makes this directory even when it keeps nothing in it.
fn remove_runtime_directory() {
    // SAFETY: returns a static buffer that ends in zero, empty when EAL never set it.
    let text = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    let directory = PathBuf::from(text.to_string_lossy().into_owned());
    // Named for this process; `remove_dir` takes it only when it is empty.
    if directory.parent().is_some_and(|parent| parent != Path::new("/")) {
        let _ = fs::remove_dir(directory);
    }
}

/// The code of the calling thread's last failed DPDK call.
pub(crate) fn errno() -> i32 {
    // SAFETY: reads a variable of the thread.
    unsafe { sys::shim_errno() }
}

/// A DPDK error code, of either sign, in words.
pub(crate) fn errno_text(code: i32) -> String {
    // SAFETY: returns a buffer of the calling thread that ends in zero, for any code.
    let text = unsafe { CStr::from_ptr(sys::rte_strerror(code.saturating_abs())) };
    text.to_string_lossy().into_owned()
}

/// DPDK's NUMA nodes.
pub(crate) fn numa_nodes() -> impl Iterator<Item = c_int> {
    // SAFETY: EAL runs.
    let count = unsafe { sys::rte_socket_count() };
    // SAFETY: the index is below the count.
    (0..count).map(|index| unsafe { sys::rte_socket_id_by_idx(index) })
}

/// Total and used bytes of a node's heap.
pub(crate) fn heap(node: c_int) -> (u64, u64) {
    let mut stats = sys::rte_malloc_socket_stats::default();
    // SAFETY: `stats` is ours to fill; an unknown node is refused.
    let done = unsafe { sys::rte_malloc_get_socket_stats(node, &raw mut stats) };
    if done < 0 { (0, 0) } else { (stats.heap_totalsz_bytes as u64, stats.heap_allocsz_bytes as u64) }
}
