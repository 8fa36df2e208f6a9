//! The frames of one visit to a receive queue.
//!
//! A frame has a head, which is a private copy of its first bytes, and a body, which still lies in the sender's
//! memory (or in an mbuf). All decisions are made on heads; bodies are touched once, when they are written to the
//! receiver. A sender that rewrites a frame after it was checked therefore changes nothing that was decided.
#![expect(unsafe_code, reason = "heads are copied out of shared memory")]

use vhost::guest::{self, Level, guest_read};
use vhost::ring::{BURST, Chains, FrameSource, Segment};

/// Bytes of a frame that are copied into private memory at first.
pub(crate) const HEAD: usize = 128;

/// Bytes of a head after it was extended, which happens at most once.
pub(crate) const HEAD_MAX: usize = 512;

/// Room in front of a head for tags and tunnel headers.
const HEADROOM: usize = 64;

/// [`Burst::out`]: not decided yet.
pub(crate) const UNDECIDED: u16 = u16::MAX;
/// [`Burst::out`]: dropped and counted.
pub(crate) const DROPPED: u16 = u16::MAX - 1;
/// [`Burst::out`]: to every port of the network.
pub(crate) const FLOOD: u16 = u16::MAX - 2;

/// The private copy of a frame's first bytes, on cache lines of its own. 576 bytes: nine lines, so that the heads
/// of a burst do not compete for the same sets of the cache.
#[repr(C, align(64))]
struct Head {
    room: [u8; HEADROOM],
    bytes: [u8; HEAD_MAX],
}

/// Up to [`BURST`] frames that arrived on one queue. Allocated once for each worker.
pub(crate) struct Burst {
    /// The bodies: what has not been copied into the heads.
    pub(crate) chains: Chains,
    heads: Box<[Head; BURST]>,
    head_len: [u16; BURST],
    len: [u32; BURST],
    /// Slot of the port that receives the frame, or one of the values above.
    pub(crate) out: [u16; BURST],
    /// Destination MAC of each frame that was admitted.
    pub(crate) dst: [u64; BURST],
}

impl Burst {
    pub(crate) fn new() -> Self {
        let heads: Vec<Head> =
            (0..BURST).map(|_| Head { room: [0; HEADROOM], bytes: [0; HEAD_MAX] }).collect();
        Self {
            chains: Chains::new(),
            heads: heads.try_into().map_err(|_| ()).expect("collected exactly that many"),
            head_len: [0; BURST],
            len: [0; BURST],
            out: [UNDECIDED; BURST],
            dst: [0; BURST],
        }
    }

    /// Frames.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.chains.len()
    }

    /// Copies the first [`HEAD`] bytes of every frame, after `chains` was filled. Returns the bytes of all frames.
    #[inline(always)]
    pub(crate) fn load<L: Level>(&mut self) -> u64 {
        let mut total = 0;
        for i in 0..self.chains.len() {
            let len = self.chains.chain(i).len;
            self.len[i] = len;
            self.out[i] = UNDECIDED;
            total += u64::from(len);
            if let Some(front) = self.chains.split_single(i, HEAD as u32) {
                let to = self.heads[i].bytes.as_mut_ptr();
                // SAFETY: the piece lies in its mapping, and the head has room for HEAD bytes.
                unsafe { guest_read::<L>(to, front.at, front.len as usize) };
                self.head_len[i] = front.len as u16;
            } else {
                self.head_len[i] = 0;
                self.fill::<L>(i, HEAD);
            }
        }
        L::done();
        total
    }

    /// Extends the head of frame `i` to [`HEAD_MAX`] bytes. `false` if it was extended before or the frame ends.
    #[cold]
    pub(crate) fn extend<L: Level>(&mut self, i: usize) -> bool {
        let before = self.head_len[i];
        if usize::from(before) >= HEAD_MAX || self.chains.chain(i).len == 0 {
            return false;
        }
        self.fill::<L>(i, HEAD_MAX);
        L::done();
        self.head_len[i] > before
    }

    /// Moves bytes from the body of frame `i` into its head until that holds `want`.
    #[inline(never)]
    fn fill<L: Level>(&mut self, i: usize, want: usize) {
        let have = usize::from(self.head_len[i]);
        let take = (want - have).min(self.chains.chain(i).len as usize);
        let to = self.heads[i].bytes[have..have + take].as_mut_ptr();
        let mut copied = 0;
        for piece in self.chains.segments(i) {
            let part = (piece.len as usize).min(take - copied);
            if part == 0 {
                break;
            }
            // SAFETY: the piece lies in its mapping for `part` bytes; the head has room for `take` bytes from `to`.
            unsafe { guest_read::<L>(to.add(copied), piece.at, part) };
            copied += part;
        }
        self.chains.advance(i, take as u32);
        self.head_len[i] = (have + take) as u16;
    }

    /// Brings the second line of what is left of each body near: the first was fetched when it was taken.
    #[inline(always)]
    pub(crate) fn prefetch_bodies(&self) {
        for i in 0..self.chains.len() {
            let chain = self.chains.chain(i);
            if chain.count > 0 {
                let piece = self.chains.segments(i)[0];
                guest::prefetch(piece.at);
                guest::prefetch(piece.at.add(64));
            }
        }
    }

    /// The head of frame `i`.
    #[inline(always)]
    pub(crate) fn head(&self, i: usize) -> &[u8] {
        &self.heads[i].bytes[..usize::from(self.head_len[i])]
    }

    /// Bytes of frame `i`, head and body.
    #[inline(always)]
    pub(crate) fn frame_len(&self, i: usize) -> u32 {
        self.len[i]
    }

    /// The first 16 bytes of the head of frame `i`: both MAC addresses, the type and two more bytes. What lies
    /// beyond a shorter frame is of an earlier one.
    #[inline(always)]
    pub(crate) fn ethernet(&self, i: usize) -> Ethernet {
        let bytes = &self.heads[i].bytes;
        let word = |at: usize| {
            u64::from_le_bytes([
                bytes[at],
                bytes[at + 1],
                bytes[at + 2],
                bytes[at + 3],
                bytes[at + 4],
                bytes[at + 5],
                bytes[at + 6],
                bytes[at + 7],
            ])
        };
        let (low, high) = (word(0), word(6));
        Ethernet {
            dst: low & 0xFFFF_FFFF_FFFF,
            src: high & 0xFFFF_FFFF_FFFF,
            kind: ((high >> 48) as u16).swap_bytes(),
        }
    }

    /// Puts a frame of our own into the burst, as if it had been received. Only for an empty burst.
    pub(crate) fn inject(&mut self, frame: &[u8]) {
        let len = frame.len().min(HEAD);
        self.chains.clear();
        let chain = self.chains.open();
        self.chains.close(chain);
        self.heads[0].bytes[..len].copy_from_slice(&frame[..len]);
        self.head_len[0] = len as u16;
        self.len[0] = len as u32;
        self.out[0] = UNDECIDED;
    }
}

/// The Ethernet header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ethernet {
    /// Destination MAC, low 48 bits ([`crate::ids::MacAddr::to_word`]).
    pub dst: u64,
    /// Source MAC.
    pub src: u64,
    /// EtherType.
    pub kind: u16,
}

impl Ethernet {
    /// Whether a MAC in this form is a group address.
    #[inline(always)]
    pub(crate) fn is_group(mac: u64) -> bool {
        mac & 1 == 1
    }
}

/// A burst, and the ring that its bodies lie behind, as something that can be delivered.
pub(crate) struct Sending<'a> {
    pub burst: &'a Burst,
    pub poisoned: &'a dyn Fn() -> bool,
}

impl FrameSource for Sending<'_> {
    #[inline(always)]
    fn head(&self, i: usize) -> &[u8] {
        self.burst.head(i)
    }

    #[inline(always)]
    fn body(&self, i: usize) -> &[Segment] {
        self.burst.chains.segments(i)
    }

    #[inline(always)]
    fn len(&self, i: usize) -> u32 {
        self.burst.len[i]
    }

    #[inline(always)]
    fn poisoned(&self) -> bool {
        (self.poisoned)()
    }
}
