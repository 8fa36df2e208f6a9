//! The table of frame heads: Ethernet, IPv4 and UDP, ready-made but for sequence and stamp.

use super::pages::Pages;
use super::{Mac, TrafficSpec};

/// Where the sequence number lies, 8 bytes, little-endian: stream (16 bits), run (8), number (40).
pub const SEQUENCE_AT: usize = 42;
/// Where the time of sending lies, ticks, 8 bytes, little-endian.
pub const STAMP_AT: usize = 50;
/// Where the mark lies by which the generator knows its frames, to the end of the first line.
pub const MAGIC_AT: usize = 58;

/// The mark of counted frames.
pub(crate) const MAGIC: [u8; 6] = *b"pswtch";
/// The mark of frames that only teach an address.
pub(crate) const LEARN_MAGIC: [u8; 6] = *b"pswlrn";

/// The first line of a frame.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Head(pub [u8; 64]);

impl Head {
    /// Bytes of the frame that begins with it, as its IPv4 header says.
    #[inline(always)]
    #[must_use]
    pub fn frame_len(&self) -> u32 {
        u32::from(u16::from_be_bytes([self.0[16], self.0[17]])) + 14
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
    pages: Pages,
}

impl HeadTable {
    /// Entries of every table: so many whatever the traffic, so that one flow costs the sender what a million cost.
    pub const ENTRIES: usize = 1 << 20;

    /// The table for this traffic. Takes 64 MB, in huge pages where there are.
    ///
    /// # Errors
    /// If a number is out of range or there is no memory.
    pub fn new(spec: &TrafficSpec) -> Result<Self, TrafficError> {
        Self::with_entries(spec, Self::ENTRIES)
    }

    /// A shorter table (a power of two), where very many different ones are needed at once. It costs the sender less
    /// than the usual ones, so that rates of the two kinds cannot be compared.
    ///
    /// # Errors
    /// As for [`HeadTable::new`].
    pub fn with_entries(spec: &TrafficSpec, entries: usize) -> Result<Self, TrafficError> {
        check(spec, entries)?;
        let mut pages = Pages::new(entries)?;
        let mut order: Vec<u32> = (0..entries as u32).collect();
        if spec.shuffled {
            shuffle(&mut order);
        }
        for (i, (head, number)) in pages.heads_mut().iter_mut().zip(order).enumerate() {
            let source = spec.sources.first.plus(number % spec.sources.count);
            let destination = spec.destinations.first.plus(number % spec.destinations.count);
            head.0 = compose(source, destination, number % spec.flows, spec.size.of(i), MAGIC);
        }
        Ok(Self { spec: spec.clone(), pages })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &TrafficSpec {
        &self.spec
    }

    /// All heads.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        self.pages.heads()
    }

    /// The head in entry `i`, taken modulo their number.
    #[inline(always)]
    #[must_use]
    pub fn head(&self, i: usize) -> &Head {
        self.pages.head(i)
    }
}

fn check(spec: &TrafficSpec, entries: usize) -> Result<(), TrafficError> {
    let range = |what, value: u64, least, most| match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(TrafficError::Range { what, value, least, most }),
    };
    let all = entries as u64;
    range("the number of flows", spec.flows.into(), 1, all.min(1_000_000))?;
    range("the number of source addresses", spec.sources.count.into(), 1, all.min(100_000))?;
    range("the number of destination addresses", spec.destinations.count.into(), 1, all.min(100_000))?;
    range("the frame size", spec.size.longest().into(), 64, 9000)?;
    let most = HeadTable::ENTRIES as u64;
    range("the number of entries", if all.is_power_of_two() { all } else { 0 }, 1, most)
}

/// The same order in every run.
fn shuffle(order: &mut [u32]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for i in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
}

/// The head of a frame of `len` bytes in UDP flow `flow`: every flow is another 5-tuple, spread over addresses and
/// source ports.
pub(crate) fn compose(source: Mac, destination: Mac, flow: u32, len: u16, magic: [u8; 6]) -> [u8; 64] {
    let mut head = [0; 64];
    head[..6].copy_from_slice(&destination.0);
    head[6..12].copy_from_slice(&source.0);
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    let [_, high, middle, low] = flow.to_be_bytes();
    head[14..34].copy_from_slice(&[
        0x45,
        0,
        0,
        0,
        0,
        0,
        0x40,
        0,
        64,
        17,
        0,
        0,
        10,
        1,
        middle,
        low,
        10,
        2,
        middle ^ low,
        high,
    ]);
    head[16..18].copy_from_slice(&(len - 14).to_be_bytes());
    let sum = checksum(&head[14..34]);
    head[24..26].copy_from_slice(&sum.to_be_bytes());
    head[34..36].copy_from_slice(&(1024 + u16::from(high)).to_be_bytes());
    head[36..38].copy_from_slice(&9u16.to_be_bytes());
    // A UDP checksum of 0 says that there is none (RFC 768).
    head[38..40].copy_from_slice(&(len - 34).to_be_bytes());
    head[MAGIC_AT..].copy_from_slice(&magic);
    head
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded >> 16) + folded) as u16
}
