//! The control thread: one thread for the sockets of all ports.
//!
//! It *decides* for all of them and never blocks on anything that a tenant controls: sockets are non-blocking, with
//! deadlines and budgets; what a tenant hands over is mapped, looked at and closed by expendable threads; rings are
//! asked for and polled for. [`Control`] is the handle through which the control plane adds, changes and removes
//! ports; it may be used from any thread, and its calls wait for the control thread's answer.

mod backoff;
mod event_loop;
mod listening;
mod poller;
mod port;
mod view;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{EventfdFlags, eventfd};

use crate::fault::wake_eventfd;
use crate::features::Features;
use crate::memory::HolePolicy;
use crate::notify::NoLine;
use crate::owner::RingOwner;
use crate::socket::MAX_PATH;
use crate::tenant_fd::TenantFd;

pub use crate::session::{NotRunning, Peer, PortState, RingReport, State, Transitions};
pub use view::PortView;

/// Queue pairs that a port may have.
pub const MAX_PAIRS: u16 = 16;

/// A port's key: given by the caller, unique among the ports of one [`Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey(pub u32);

/// Who makes the socket, said from the container's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The application makes the socket and the switch connects, for ever anew: both sides may restart.
    #[default]
    Server,
    /// The switch makes the socket and the application connects.
    Client,
}

/// A port to be.
#[derive(Clone, Debug)]
pub struct VhostPortConfig {
    /// For logs and messages.
    pub name: String,
    /// The socket: absolute, at most 107 bytes.
    pub path: PathBuf,
    /// Who makes it.
    pub mode: Mode,
    /// Queue pairs, 1 to 16.
    pub pairs: u16,
    /// Feature bits offered ([`Features::OFFERED`] less those switched off).
    pub features: Features,
    /// Largest MTU that the guest may announce, bytes; any valid one if `None`.
    pub mtu: Option<u16>,
    /// Bytes of memory that the frontend may share.
    pub mem_limit: u64,
}

/// What can change without a reconnect. `None` leaves as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortChanges {
    /// Largest MTU that the guest may announce from now on.
    pub mtu: Option<Option<u16>>,
    /// Bytes of memory that the next memory table may have.
    pub mem_limit: Option<u64>,
}

/// Why a port cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddPortError {
    /// The key is in use, possibly by a port whose removal waits for a worker.
    #[error("port key {0:?} is in use")]
    KeyInUse(PortKey),
    /// Another port has the socket.
    #[error("socket {} belongs to port {port}", path.display())]
    PathInUse {
        /// The socket.
        path: PathBuf,
        /// The port that has it.
        port: String,
    },
    /// The path does not fit in a socket address.
    #[error("socket path has {0} bytes, at most {MAX_PATH} are possible")]
    PathTooLong(usize),
    /// The path does not begin with a slash, or names no file.
    #[error("socket path {} is not an absolute path of a file", .0.display())]
    PathNotAbsolute(PathBuf),
    /// The device cannot have so many queue pairs, or none.
    #[error("{0} queue pairs asked for, 1 to {MAX_PAIRS} are possible")]
    Pairs(u16),
    /// No more rings can be notified.
    #[error(transparent)]
    Lines(#[from] NoLine),
    /// The control thread has ended.
    #[error("the control thread has ended")]
    Stopped,
}

/// Why a port is not fully removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovePortError {
    /// There is none.
    #[error("there is no port with key {0:?}")]
    NoSuchPort(PortKey),
    /// A worker still has rings: the socket is gone, the mappings stay, the key stays in use until they are back.
    #[error("a worker did not let go of a ring within {0:?}; the port's memory stays mapped until it does")]
    WorkerStuck(Duration),
    /// The control thread has ended.
    #[error("the control thread has ended")]
    Stopped,
}

/// Why a port cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetPortError {
    /// There is none.
    #[error("there is no port with key {0:?}")]
    NoSuchPort(PortKey),
    /// The control thread has ended.
    #[error("the control thread has ended")]
    Stopped,
}

/// Bounds that hold for all ports.
#[derive(Clone, Copy, Debug)]
pub struct ControlConfig {
    /// For a message that was begun to be finished, and a reply to be read.
    pub message_deadline: Duration,
    /// For workers to let go of rings.
    pub let_go: Duration,
    /// For a memory table to be mapped.
    pub map: Duration,
    /// Messages that one connection may have handled before the others' turn.
    pub messages_per_visit: usize,
    /// What missing pages of shared memory mean.
    pub holes: HolePolicy,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            message_deadline: Duration::from_secs(5),
            let_go: Duration::from_secs(1),
            map: Duration::from_secs(5),
            messages_per_visit: 32,
            holes: HolePolicy::default(),
        }
    }
}

enum Command {
    Add {
        key: PortKey,
        config: Box<VhostPortConfig>,
        owner: Box<dyn RingOwner>,
        reply: Sender<Result<PortView, AddPortError>>,
    },
    Remove {
        key: PortKey,
        reply: Sender<Result<(), RemovePortError>>,
    },
    Set {
        key: PortKey,
        changes: PortChanges,
        reply: Sender<Result<(), SetPortError>>,
    },
    Stop,
}

/// The handle of the control thread. When the last clone is dropped, all ports are removed and the thread ends.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the control thread, the notifier and the mapper. The guard against vanishing memory is installed
    /// here: where DPDK is used, its environment must have been started before.
    ///
    /// # Errors
    /// If the kernel refuses a descriptor, a thread or asynchronous I/O, or procfs is not mounted on `/proc`.
    pub fn spawn(config: ControlConfig) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        if !TenantFd::from(wake.try_clone()?).is_eventfd() {
            return Err(io::Error::other(
                "/proc does not tell what a descriptor is: procfs must be mounted there",
            ));
        }
        let (commands, inbox) = crossbeam_channel::unbounded();
        let event_loop = event_loop::EventLoop::new(config, inbox, Arc::clone(&wake))?;
        let thread =
            std::thread::Builder::new().name("vhost-control".into()).spawn(move || event_loop.run())?;
        Ok(Self(Arc::new(Inner { commands, wake, thread: Some(thread) })))
    }

    /// Adds a port. It begins at once to look for its socket, or to listen.
    ///
    /// # Errors
    /// See [`AddPortError`]. That the socket is not there yet is no error but a state of the port.
    pub fn add_port(
        &self,
        key: PortKey,
        config: VhostPortConfig,
        owner: Box<dyn RingOwner>,
    ) -> Result<PortView, AddPortError> {
        config.check()?;
        let config = Box::new(config);
        self.ask(|reply| Command::Add { key, config, owner, reply }).unwrap_or(Err(AddPortError::Stopped))
    }

    /// Removes a port: closes its connection and its socket, and waits until all its rings are back.
    ///
    /// # Errors
    /// See [`RemovePortError`]. Returns after the bound [`ControlConfig::let_go`] at the latest.
    pub fn remove_port(&self, key: PortKey) -> Result<(), RemovePortError> {
        self.ask(|reply| Command::Remove { key, reply }).unwrap_or(Err(RemovePortError::Stopped))
    }

    /// Changes a port in place; nothing reconnects.
    ///
    /// # Errors
    /// See [`SetPortError`].
    pub fn set_port(&self, key: PortKey, changes: PortChanges) -> Result<(), SetPortError> {
        self.ask(|reply| Command::Set { key, changes, reply }).unwrap_or(Err(SetPortError::Stopped))
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.0.commands.send(command(reply)).ok()?;
        wake_eventfd(&self.0.wake);
        answer.recv().ok()
    }
}

impl VhostPortConfig {
    fn check(&self) -> Result<(), AddPortError> {
        let bytes = self.path.as_os_str().len();
        if bytes > MAX_PATH {
            return Err(AddPortError::PathTooLong(bytes));
        }
        if !self.path.is_absolute() || self.path.file_name().is_none() {
            return Err(AddPortError::PathNotAbsolute(self.path.clone()));
        }
        if !(1..=MAX_PAIRS).contains(&self.pairs) {
            return Err(AddPortError::Pairs(self.pairs));
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        wake_eventfd(&self.wake);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
