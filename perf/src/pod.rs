//! A port of the generator: a vhost-user frontend with one poll-mode queue pair, as an application in a pod has it.
//!
//! Set up on any thread, then driven by one at a time. In mode `server` it creates the socket and waits for the
//! switch, again and again if need be; in mode `client` it connects to the switch's socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vhost::driver::poll::PollPair;
use vhost::driver::{Arena, DriverConfig, Frontend, FrontendError};
use vhost::features::Features;
use vhost::memory::MemfdKind;

/// Who creates the socket, said from the container's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The pod creates it and the switch connects.
    #[default]
    Server,
    /// The switch creates it and the pod connects.
    Client,
}

/// What a pod is like.
#[derive(Clone, Debug)]
pub struct PodConfig {
    /// The socket.
    pub socket: PathBuf,
    /// Who creates it.
    pub mode: Mode,
    /// Entries of each ring, a power of two.
    pub ring: u16,
    /// Bytes of a receive buffer with its headroom of 128, as DPDK counts them (`--mbuf-size`).
    pub receive_buffer: u32,
    /// Bytes of the longest frame that is sent.
    pub frame_room: u32,
    /// Features to use if the switch offers them.
    pub features: Features,
    /// Memory in huge pages of 2 MB; without, ordinary pages.
    pub huge: bool,
    /// How long to wait for the switch: to connect, and for each answer.
    pub timeout: Duration,
}

impl PodConfig {
    /// A pod in mode `server` at `socket`, with everything as testpmd has it.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            mode: Mode::Server,
            ring: 1024,
            receive_buffer: 2176,
            frame_room: 9216,
            features: Features::VERSION_1
                | Features::MRG_RXBUF
                | Features::INDIRECT_DESC
                | Features::IN_ORDER,
            huge: true,
            timeout: Duration::from_secs(10),
        }
    }

    fn driver(&self) -> DriverConfig {
        DriverConfig {
            pairs: 1,
            ring_size: self.ring,
            features: self.features,
            frame_len: self.frame_room,
            receive_len: self.receive_buffer,
            memory: if self.huge { MemfdKind::Huge2M } else { MemfdKind::Plain },
            timeout: self.timeout,
            poll: true,
            ..DriverConfig::default()
        }
    }
}

/// Why a pod does not work.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The frontend failed.
    #[error("{socket}: {source}")]
    Frontend {
        /// Which socket.
        socket: PathBuf,
        /// What went wrong.
        source: FrontendError,
    },
    /// There is no memory.
    #[error("memory of a pod: {0}")]
    Memory(std::io::Error),
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// None of a pod that no switch can connect to.
    frontend: Option<Frontend>,
    features: Features,
    queues: Option<PollPair>,
    socket: PathBuf,
}

impl Pod {
    /// Mode `server`: creates the socket (a stale one is removed). [`Pod::accept`] waits for the switch.
    ///
    /// # Errors
    /// If the socket cannot be created or there is no memory.
    pub fn listen(config: &PodConfig) -> Result<Self, PodError> {
        let _stale = std::fs::remove_file(&config.socket);
        Self::new(config, Frontend::listen(&config.socket, config.driver()))
    }

    /// Mode `client`: connects to the switch's socket.
    ///
    /// # Errors
    /// If there is no switch or it refuses something.
    pub fn connect(config: &PodConfig) -> Result<Self, PodError> {
        let mut pod = Self::new(config, Frontend::connect(&config.socket, config.driver()))?;
        pod.take_queues();
        Ok(pod)
    }

    /// Creates the socket and waits for the switch, or connects to it, as the mode says.
    ///
    /// # Errors
    /// If the switch does not come in time, or refuses something.
    pub fn open(config: &PodConfig) -> Result<Self, PodError> {
        match config.mode {
            Mode::Client => Self::connect(config),
            Mode::Server => {
                let mut pod = Self::listen(config)?;
                pod.accept()?;
                Ok(pod)
            }
        }
    }

    /// A pod without a socket, whose rings a device in this process serves ([`crate::null`]).
    ///
    /// # Errors
    /// If there is no memory.
    pub fn detached(config: &PodConfig, features: Features) -> Result<Self, PodError> {
        let driver = config.driver();
        let (ring, frame, receive) = (driver.ring_size, driver.frame_len, driver.receive_len);
        let len = PollPair::memory(ring, frame, receive).next_multiple_of(2 << 20);
        let arena = Arena::new(driver.memory, len, driver.guest).map_err(PodError::Memory)?;
        let queues = PollPair::new(&Arc::new(arena), ring, frame, receive, features);
        let queues = queues.ok_or_else(|| PodError::Memory(std::io::ErrorKind::OutOfMemory.into()))?;
        Ok(Self { frontend: None, features, queues: Some(queues), socket: PathBuf::new() })
    }

    fn new(config: &PodConfig, frontend: Result<Frontend, FrontendError>) -> Result<Self, PodError> {
        let frontend =
            frontend.map_err(|source| PodError::Frontend { socket: config.socket.clone(), source })?;
        let socket = config.socket.clone();
        Ok(Self { frontend: Some(frontend), features: Features::empty(), queues: None, socket })
    }

    /// Mode `server`: waits for the switch.
    ///
    /// # Errors
    /// If it does not come in time, or refuses something, and for a pod of another kind.
    pub fn accept(&mut self) -> Result<(), PodError> {
        let failed = |source| PodError::Frontend { socket: self.socket.clone(), source };
        let frontend = self.frontend.as_mut().ok_or(FrontendError::Closed).map_err(failed)?;
        frontend.accept().map_err(failed)?;
        self.take_queues();
        Ok(())
    }

    /// Mode `server`: waits for the switch after it has gone. Rings go on where they are.
    ///
    /// # Errors
    /// As for [`Pod::accept`].
    pub fn reaccept(&mut self) -> Result<(), PodError> {
        self.accept()
    }

    /// What was negotiated; nothing before the switch has connected.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The queues; `None` before the switch has connected.
    pub fn queues(&mut self) -> Option<&mut PollPair> {
        self.queues.as_mut()
    }

    /// True for a pod without a socket.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.frontend.is_none()
    }

    /// The socket; empty for a detached pod.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn take_queues(&mut self) {
        if let Some(frontend) = &mut self.frontend {
            self.features = frontend.features();
            if let Some(pair) = frontend.take_poll_pairs().pop() {
                self.queues = Some(pair);
            }
        }
    }
}
