//! What a status page shows of a port.

use std::time::SystemTime;

use super::lifecycle::{State, Transitions};
use crate::fault::Fault;
use crate::features::{Features, ProtocolFeatures};
use crate::owner::RingIndex;

/// Why a ring does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRunning {
    /// `SET_VRING_KICK` has not come since the ring was last stopped.
    #[error("the frontend has not started it")]
    NotStarted,
    /// `SET_FEATURES` has not come.
    #[error("no features are negotiated")]
    NoFeatures,
    /// `SET_VRING_NUM` has not come.
    #[error("its size is not set")]
    NoSize,
    /// `SET_VRING_ADDR` has not come.
    #[error("its addresses are not set")]
    NoAddress,
    /// No memory is shared.
    #[error("no memory is shared")]
    NoMemory,
    /// Place, size or alignment are not valid.
    #[error("{0}")]
    Invalid(Fault),
    /// Workers have not let go of it yet.
    #[error("a worker has not let go of it yet")]
    Stopping,
}

/// One ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingReport {
    /// Which.
    pub index: RingIndex,
    /// Entries; 0 if not set.
    pub size: u16,
    /// Workers serve it.
    pub started: bool,
    /// The guest wants it to move frames.
    pub enabled: bool,
    /// Why it does not run.
    pub why_not: Option<NotRunning>,
}

/// Process and user at the other end, as the kernel knew them when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id in our PID namespace; 0 if it is not visible from there.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// A snapshot of a port.
#[derive(Clone, Debug, Default)]
pub struct PortState {
    /// Where it stands.
    pub state: State,
    /// The fault of the last connection or refused message; none once a ring runs again.
    pub fault: Option<Fault>,
    /// Why it does not run, in one sentence; empty if it runs or nothing has happened yet.
    pub reason: String,
    /// Negotiated virtio features; empty if none are.
    pub features: Features,
    /// Negotiated protocol features; empty if none are.
    pub protocol: ProtocolFeatures,
    /// Bytes of memory that the frontend shares.
    pub guest_memory: u64,
    /// MTU that the guest announced, bytes.
    pub guest_mtu: Option<u16>,
    /// All rings, those included that the guest does not use.
    pub rings: Vec<RingReport>,
    /// How often each state was entered.
    pub transitions: Transitions,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that ended in a fault.
    pub faults: u64,
    /// Messages that were refused.
    pub refusals: u64,
    /// Stale socket files of crashed applications that were removed.
    pub stale_removed: u64,
    /// Who is connected.
    pub peer: Option<Peer>,
    /// Since when.
    pub connected_since: Option<SystemTime>,
}
