//! What the control plane can see.

use vhost::features::Features;

use crate::drops::DropReason;
use crate::ids::{CoreId, MacAddr, PortId};

/// Where a port is in its life (the states of the vhost-user session; a DPDK port is `Running` or `Waiting`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nobody is connected.
    Waiting,
    /// Connected, nothing agreed yet.
    Connected,
    /// Features are agreed, no ring ran yet.
    Negotiated,
    /// At least one ring runs.
    Running,
    /// Rings ran and are stopped.
    Paused,
    /// Taken out of service because of what the tenant did.
    Faulted,
    /// Being removed.
    Gone,
}

/// Where the MAC address in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacSource {
    /// Declared by the operator.
    Declared(MacAddr),
    /// The first unicast source that the port used.
    Adopted(MacAddr),
    /// Trusted: any.
    Any,
    /// Not known yet.
    None,
}

/// One queue pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// The CPU that polls what the guest or device sends.
    pub worker: CoreId,
    /// Whether the guest's transmit ring runs.
    pub rx_running: bool,
    /// Whether the guest's receive ring runs.
    pub tx_running: bool,
    /// Entries of the guest's transmit ring; 0: not known.
    pub rx_size: u32,
    /// Entries of the guest's receive ring; 0: not known.
    pub tx_size: u32,
}

/// A port as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// Where it is in its life.
    pub state: PortState,
    /// Why it is faulted, or not running; empty otherwise.
    pub reason: String,
    /// The MAC address in force.
    pub mac: MacSource,
    /// Negotiated virtio features.
    pub features: Features,
    /// Bytes the guest shares.
    pub guest_memory: u64,
    /// Private bytes the switch spends on the port.
    pub switch_memory: u64,
    /// A queue pair each.
    pub queues: Vec<QueueReport>,
    /// Connections since it was added.
    pub connections: u64,
    /// Faults since it was added.
    pub faults: u64,
    /// NUMA node of the guest's memory or the device.
    pub numa_node: Option<u32>,
    /// Driver of a DPDK port, empty otherwise.
    pub driver: String,
    /// Why no traffic flows, with what to do; empty if nothing hinders it.
    pub hint: String,
}

/// Frames and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes, from the destination MAC to the end of the payload.
    pub bytes: u64,
}

/// Counters of one queue pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Received from the guest or device.
    pub rx: Traffic,
    /// Delivered to it.
    pub tx: Traffic,
}

/// Counters of one port, summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// A queue pair each.
    pub queues: Vec<QueueCounters>,
    /// Frames dropped, by reason; only reasons that occurred.
    pub drops: Vec<(DropReason, u64)>,
}

impl PortCounters {
    /// Received, all queues.
    #[must_use]
    pub fn rx(&self) -> Traffic {
        sum(self.queues.iter().map(|q| q.rx))
    }

    /// Delivered, all queues.
    #[must_use]
    pub fn tx(&self) -> Traffic {
        sum(self.queues.iter().map(|q| q.tx))
    }
}

fn sum(parts: impl Iterator<Item = Traffic>) -> Traffic {
    parts.fold(Traffic::default(), |a, b| Traffic { frames: a.frames + b.frames, bytes: a.bytes + b.bytes })
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Its CPU.
    pub core: CoreId,
    /// That CPU's NUMA node.
    pub numa_node: Option<u32>,
    /// Time-stamp-counter cycles in turns that moved frames.
    pub busy_cycles: u64,
    /// Cycles in turns that did not.
    pub idle_cycles: u64,
    /// Turns.
    pub turns: u64,
    /// Frames received.
    pub frames: u64,
    /// Longest turn since start, cycles.
    pub longest_turn: u64,
    /// Where the cycles go: what a sample of the visits to its queues took.
    pub stages: Vec<StageCycles>,
    /// The queues it polls: port and queue pair.
    pub queues: Vec<(PortId, u16)>,
    /// Kernel thread id (for /proc/self/task/TID/schedstat).
    pub tid: i32,
    /// It has not finished a turn for longer than the watchdog allows.
    pub stuck: bool,
}

/// The stages of a worker's visit to a queue, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkStage {
    /// Reads indexes and descriptors, and checks and translates addresses.
    Take,
    /// Copies the heads of the frames into private memory.
    Head,
    /// Port security, and learning of sources.
    Admit,
    /// Finds where frames go.
    Forward,
    /// Writes them to their receivers and publishes them.
    Emit,
    /// Returns the buffers to the sender.
    Return,
}

impl WorkStage {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Take, Self::Head, Self::Admit, Self::Forward, Self::Emit, Self::Return];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Head => "head",
            Self::Admit => "admit",
            Self::Forward => "forward",
            Self::Emit => "emit",
            Self::Return => "return",
        }
    }
}

/// What one stage took in the visits that were timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageCycles {
    /// The stage.
    pub stage: WorkStage,
    /// Cycles of the time stamp counter.
    pub cycles: u64,
    /// Frames of those visits: the same for all stages.
    pub frames: u64,
}

/// How an entry came into a MAC table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacKind {
    /// Declared for a port.
    Declared,
    /// Adopted by a port without a declared one.
    Adopted,
    /// Learned behind a trusted port.
    Learned,
}

/// One entry of a network's MAC table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The address.
    pub mac: MacAddr,
    /// The port it is behind.
    pub port: PortId,
    /// How it came in.
    pub kind: MacKind,
    /// Seconds since it was last seen.
    pub age: u32,
}

/// Memory of the dataplane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Hugepages that we hold, bytes.
    pub hugepages: u64,
    /// Bytes of tenants' memory that are mapped.
    pub tenants: u64,
    /// Bytes that DPDK was given.
    pub dpdk: u64,
    /// Bytes of them in use.
    pub dpdk_used: u64,
}
