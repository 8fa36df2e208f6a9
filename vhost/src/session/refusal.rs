//! Why a message is refused, and why a connection ends.

use std::time::Duration;

use crate::channel::ChannelError;
use crate::fault::Fault;
use crate::memory::MapError;
use crate::message::{MessageError, Request};

/// Why a message is refused. With an acknowledgement asked for, the frontend is told and the connection goes
/// on; without one it ends, since the frontend would go on in a wrong belief.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not a message that we take.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It came with descriptors that it should not have, or without those that it should.
    #[error("{request:?} came with {got} descriptors")]
    Descriptors {
        /// The request.
        request: Request,
        /// Descriptors that came.
        got: usize,
    },
    /// There is no such ring.
    #[error("{request:?} names ring {index}; the port has {rings}")]
    Ring {
        /// The request.
        request: Request,
        /// The ring named.
        index: u32,
        /// Rings the port has.
        rings: usize,
    },
    /// Features that were not offered.
    #[error("features {asked:#x} were set, {offered:#x} were offered")]
    Features {
        /// Bits asked for.
        asked: u64,
        /// Bits offered.
        offered: u64,
    },
    /// A size that no ring can have.
    #[error("ring {index} cannot have {size} entries: a power of two up to 32768 is needed")]
    RingSize {
        /// The ring.
        index: u32,
        /// Entries asked for.
        size: u32,
    },
    /// An index that no split ring can have.
    #[error("ring {index} cannot begin at {base}")]
    RingBase {
        /// The ring.
        index: u32,
        /// The base asked for.
        base: u32,
    },
    /// The ring must be stopped first.
    #[error("{request:?} for ring {index} while it runs")]
    RingRuns {
        /// The request.
        request: Request,
        /// The ring.
        index: u32,
    },
    /// A kick or call descriptor of another kind.
    #[error("{request:?} for ring {index}: the descriptor is not an eventfd")]
    NotEventfd {
        /// The request.
        request: Request,
        /// The ring.
        index: u8,
    },
    /// An MTU that is none, or more than the port allows.
    #[error("an MTU of {asked} bytes was announced; 68 to {most} are possible")]
    Mtu {
        /// Bytes asked for.
        asked: u64,
        /// Largest possible.
        most: u16,
    },
    /// A device status that is none.
    #[error("{0:#x} is not a device status")]
    Status(u64),
    /// The memory was refused.
    #[error(transparent)]
    Memory(#[from] MapError),
}

impl Refusal {
    /// The fault that it is if the connection has to end.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Memory(error) => error.fault(),
            Self::RingSize { .. } | Self::RingBase { .. } => Fault::RingInvalid,
            _ => Fault::ProtocolViolation,
        }
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// A message was refused without an acknowledgement asked for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The socket.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A worker found a lie in a ring, or memory that vanished.
    #[error("{0}")]
    Worker(Fault),
    /// Workers did not let go of rings.
    #[error("a worker did not let go of a ring within {0:?}")]
    Stuck(Duration),
    /// The memory handed over could not be mapped in time.
    #[error("the memory handed over was not mapped within {0:?}")]
    MapTimeout(Duration),
}

impl Breach {
    /// The fault it is; `None` if the peer simply left.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault()),
            Self::Channel(error) => error.fault(),
            Self::Worker(fault) => Some(*fault),
            Self::Stuck(_) => Some(Fault::WorkerStuck),
            Self::MapTimeout(_) => Some(Fault::MemoryRefused),
        }
    }
}
