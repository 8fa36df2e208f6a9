//! What a frontend is like, and how much memory that needs.

use std::time::Duration;

use super::poll::PollPair;
use crate::address::GuestPhys;
use crate::features::Features;
use crate::memory::MemfdKind;

const HUGE: u64 = 2 << 20;

/// What a frontend is like.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Queue pairs.
    pub pairs: u16,
    /// Entries of every ring, a power of two.
    pub ring_size: u16,
    /// Features to use if the device offers them.
    pub features: Features,
    /// Longest frame to be sent, bytes.
    pub frame_len: u32,
    /// Bytes of a receive buffer, virtio header included.
    pub receive_len: u32,
    /// Pieces of a receive buffer; see [`Shape::cuts`](super::Shape::cuts).
    pub receive_cuts: Vec<u32>,
    /// Receive buffers through indirect tables.
    pub receive_indirect: bool,
    /// Pages of the shared memory.
    pub memory: MemfdKind,
    /// First guest-physical address of the shared memory.
    pub guest: GuestPhys,
    /// Rings in poll mode ([`super::poll`]), of which `receive_cuts` and `receive_indirect` mean nothing.
    pub poll: bool,
    /// How long to wait for the device: for a connection, and for each answer.
    pub timeout: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            pairs: 1,
            ring_size: 256,
            features: Features::VERSION_1
                | Features::MRG_RXBUF
                | Features::INDIRECT_DESC
                | Features::IN_ORDER,
            frame_len: 9216,
            receive_len: 2048 + 128,
            receive_cuts: Vec::new(),
            receive_indirect: false,
            memory: MemfdKind::Plain,
            guest: GuestPhys(0x1_0000_0000),
            poll: false,
            timeout: Duration::from_secs(5),
        }
    }
}

impl DriverConfig {
    /// Bytes of memory that the rings and buffers need, in whole huge pages.
    pub(super) fn arena_len(&self) -> u64 {
        if self.poll {
            let pair = PollPair::memory(self.ring_size, self.frame_len, self.receive_len);
            return (u64::from(self.pairs) * pair).next_multiple_of(HUGE);
        }
        let buffer = |len: u32| u64::from(len).next_multiple_of(64) + 64;
        // A descriptor, an available and a used entry; a buffer with its indirect table. Twice, and some slack.
        let entry = 2 * (16 + 2 + 8) + 2 * 1024 + buffer(self.frame_len + 12) + buffer(self.receive_len);
        let pair = u64::from(self.ring_size) * entry + 4096;
        (u64::from(self.pairs) * pair).next_multiple_of(HUGE)
    }
}
