//! What is measured, and how: each method drives a load and gives figures of one round.
//!
//! A method knows no switch by name. It gets a running [`Switch`](crate::peers::Switch) with connected pods, or a
//! [`Peer`](crate::peers::Peer) where the method needs a switch of its own shape; what only podswitch can be asked
//! (changing ports, restarting) takes [`RunningPodswitch`](crate::peers::RunningPodswitch). Methods run on the calling
//! thread, which is pinned to the load CPU. Rounds, medians and spreads belong to whoever calls them again and again.

pub mod attach;
pub mod bed;
pub mod latency;
pub mod memory;
pub mod ports;
pub mod reconfigure;
pub mod restart;
pub mod saturation;
pub mod scale;
pub mod search;
pub mod tracked;

use std::path::PathBuf;

use crate::peers::PeerError;
use crate::pod::PodError;
use crate::traffic::TrafficError;

/// Why a method has no figures.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The switch.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A pod.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// What was to be sent.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// What the kernel tells of a process.
    #[error(transparent)]
    Memory(#[from] memory::MemoryError),
    /// A directory for sockets.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The hiccup meter could not run on a CPU.
    #[error("hiccup meter on CPUs {cpus:?}: {source}")]
    Hiccups {
        /// Which.
        cpus: Vec<u32>,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A CPU was moved while something was measured.
    #[error("the hypervisor moved a CPU while it was measured")]
    Moved,
    /// Nothing came through.
    #[error("no frame was delivered within {seconds:.1} s ({what})")]
    Silent {
        /// What was sent.
        what: &'static str,
        /// How long was waited.
        seconds: f64,
    },
    /// The thread that changes things beside the load failed.
    #[error("the thread beside the load failed")]
    Beside,
}
