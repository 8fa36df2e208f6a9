//! What is sent: sizes, flows, addresses, and the table of ready-made heads that the sender walks.

mod pages;
mod table;

pub use table::{Head, HeadTable, MAGIC_AT, SEQUENCE_AT, STAMP_AT, TrafficError};
pub(crate) use table::{LEARN_MAGIC, MAGIC, compose};

use std::fmt;
use std::str::FromStr;

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

/// A text that is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address has six bytes in hexadecimal with colons between them")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(NotAMac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Self(bytes)) }
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

impl Size {
    /// Of the frame in entry `i` of a table, bytes.
    #[must_use]
    pub fn of(self, i: usize) -> u16 {
        const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64];
        match self {
            Self::Fixed(len) => len,
            Self::Imix => IMIX[i % IMIX.len()],
        }
    }

    /// The longest frame, bytes.
    #[must_use]
    pub fn longest(self) -> u16 {
        match self {
            Self::Fixed(len) => len,
            Self::Imix => 1518,
        }
    }

    /// The mean frame, bytes.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::Fixed(len) => f64::from(len),
            Self::Imix => (28.0 * 64.0 + 16.0 * 570.0 + 4.0 * 1518.0) / 48.0,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(len) => write!(out, "{len}"),
            Self::Imix => write!(out, "imix"),
        }
    }
}

/// A text that is no frame size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame size is 64 to 9000, or imix")]
pub struct NotASize;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        match text {
            "imix" => Ok(Self::Imix),
            _ => text.parse().ok().filter(|len| (64..=9000).contains(len)).map(Self::Fixed).ok_or(NotASize),
        }
    }
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

#[cfg(test)]
mod tests;
