//! What is sent: sizes, flows, addresses, and the table of ready-made heads that the sender walks.

use std::fmt;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address `n` further on.
    #[must_use]
    pub fn plus(self, n: u32) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) + u64::from(n);
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Consecutive MAC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// The first.
    pub first: Mac,
    /// How many, 1 to 100,000.
    pub count: u32,
}

impl Macs {
    /// One address.
    #[must_use]
    pub fn one(mac: Mac) -> Self {
        Self { first: mac, count: 1 }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Mac> {
        (0..self.count).map(move |n| self.first.plus(n))
    }
}

/// Bytes of a frame, Ethernet header included, no checksum behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All alike, 64 to 9,000.
    Fixed(u16),
    /// 28 of 64, 16 of 570 and 4 of 1,518 bytes in turn.
    Imix,
}

/// What sender and receiver touch of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Touch {
    /// The first 64 bytes.
    #[default]
    Head,
    /// Every cache line.
    Full,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct TrafficSpec {
    /// Frame sizes.
    pub size: Size,
    /// UDP flows (5-tuples), 1 to 1,000,000.
    pub flows: u32,
    /// Source addresses.
    pub sources: Macs,
    /// Destination addresses.
    pub destinations: Macs,
    /// What is touched.
    pub touch: Touch,
    /// Frames carry the time, and latency is recorded.
    pub stamps: bool,
    /// Flows follow each other in random order instead of by number.
    pub shuffled: bool,
}

impl TrafficSpec {
    /// One flow of 64-byte frames between two addresses.
    #[must_use]
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self {
            size: Size::Fixed(64),
            flows: 1,
            sources: Macs::one(source),
            destinations: Macs::one(destination),
            touch: Touch::Head,
            stamps: false,
            shuffled: false,
        }
    }
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The memory could not be had.
    #[error("memory for the table of frame heads: {0}")]
    Memory(#[from] std::io::Error),
    /// A number is out of range.
    #[error("{what} is {value}, not {least} to {most}")]
    Range {
        /// Which.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
}

/// The first 64 bytes of every frame, ready-made.
#[derive(Debug)]
pub struct HeadTable {
    spec: TrafficSpec,
}

impl HeadTable {
    /// Entries of every table: so many whatever the traffic, so that one flow costs the sender what a million cost.
    pub const ENTRIES: usize = 1 << 20;

    /// The table for this traffic.
    ///
    /// # Errors
    /// If a number is out of range or there is no memory.
    pub fn new(spec: &TrafficSpec) -> Result<Self, TrafficError> {
        Self::with_entries(spec, Self::ENTRIES)
    }

    /// A shorter table (a power of two), where very many different ones are needed at once. It costs the sender less
    /// than the usual ones, so that figures of the sender cannot be compared.
    ///
    /// # Errors
    /// As for [`HeadTable::new`].
    pub fn with_entries(spec: &TrafficSpec, _entries: usize) -> Result<Self, TrafficError> {
        Ok(Self { spec: spec.clone() })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &TrafficSpec {
        &self.spec
    }
}
