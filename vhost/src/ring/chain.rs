//! What a worker takes from a ring in one visit: chains, and the pieces of memory they consist of.

use crate::address::HostAddr;

/// Frames a worker takes from a ring in one visit at most.
pub const BURST: usize = 32;

/// Pieces that one frame may consist of at most.
pub const MAX_FRAME_SEGMENTS: usize = 256;

/// Bytes of the longest frame that is taken: a 64 KB packet, its Ethernet header and two tags.
pub const MAX_FRAME: u32 = 65_535 + 22;

/// Pieces of all frames of a burst together at most.
const MAX_SEGMENTS: usize = 1024;

/// A piece of memory of which a frame consists.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it begins: in a guest's mapping, or in memory of ours.
    pub at: HostAddr,
    /// Bytes.
    pub len: u32,
}

/// One frame of a burst, as pieces of the sender's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    /// Its first piece in [`Chains::segments`].
    pub first: u16,
    /// Number of pieces; 0: nothing that could be a frame (it is still returned to the guest).
    pub count: u16,
    /// Bytes of the frame, without the virtio header.
    pub len: u32,
}

/// The frames of one burst. Allocated once for each worker and used again and again.
pub struct Chains {
    chains: [Chain; BURST],
    count: usize,
    segments: [Segment; MAX_SEGMENTS],
    used: usize,
}

impl Default for Chains {
    fn default() -> Self {
        Self::new()
    }
}

impl Chains {
    /// An empty burst.
    #[must_use]
    pub fn new() -> Self {
        const NONE: Segment = Segment { at: HostAddr(0), len: 0 };
        Self {
            chains: [Chain { first: 0, count: 0, len: 0 }; BURST],
            count: 0,
            segments: [NONE; MAX_SEGMENTS],
            used: 0,
        }
    }

    /// Forgets all frames.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.count = 0;
        self.used = 0;
    }

    /// Frames held.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there are none.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes it a burst of `count` frames of one piece each, which [`Chains::set`] has said.
    #[inline(always)]
    pub(super) fn hold(&mut self, count: usize) {
        self.count = count;
        self.used = count;
    }

    /// Says that frame `i` is the `i`th piece, in an empty burst.
    #[inline(always)]
    pub(super) fn set(&mut self, i: usize, segment: Segment) {
        self.segments[i] = segment;
        self.chains[i] = Chain { first: i as u16, count: 1, len: segment.len };
    }

    /// If frame `i` is one piece: passes over its first bytes, at most `most`, and returns where they are and how many.
    #[inline(always)]
    pub fn split_single(&mut self, i: usize, most: u32) -> Option<Segment> {
        let chain = &mut self.chains[i];
        if chain.count != 1 {
            return None;
        }
        let piece = &mut self.segments[usize::from(chain.first)];
        let front = Segment { at: piece.at, len: piece.len.min(most) };
        piece.at = piece.at.add(front.len as usize);
        piece.len -= front.len;
        chain.len = piece.len;
        chain.count = u16::from(piece.len != 0);
        Some(front)
    }

    /// True while a further frame of any shape fits.
    #[inline(always)]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.count < BURST && self.used + MAX_FRAME_SEGMENTS <= MAX_SEGMENTS
    }

    /// Frame `i`.
    #[inline(always)]
    #[must_use]
    pub fn chain(&self, i: usize) -> Chain {
        self.chains[i]
    }

    /// The pieces of frame `i`.
    #[inline(always)]
    #[must_use]
    pub fn segments(&self, i: usize) -> &[Segment] {
        let chain = self.chains[i];
        &self.segments[usize::from(chain.first)..usize::from(chain.first) + usize::from(chain.count)]
    }

    /// Passes over the first `bytes` bytes of frame `i`, which have been read.
    #[inline(always)]
    pub fn advance(&mut self, i: usize, mut bytes: u32) {
        let chain = &mut self.chains[i];
        chain.len -= bytes;
        while bytes > 0 {
            let piece = &mut self.segments[usize::from(chain.first)];
            if piece.len > bytes {
                piece.at = piece.at.add(bytes as usize);
                piece.len -= bytes;
                return;
            }
            bytes -= piece.len;
            chain.first += 1;
            chain.count -= 1;
        }
    }

    /// Says that frame `i`, which has bytes left, lies in one piece at `at`: it was copied there.
    #[inline(always)]
    pub fn moved(&mut self, i: usize, at: HostAddr) {
        let chain = &mut self.chains[i];
        chain.count = 1;
        self.segments[usize::from(chain.first)] = Segment { at, len: chain.len };
    }

    /// Adds a piece to the frame that [`Chains::close`] will end. `false`: the frame has too many.
    #[inline(always)]
    pub fn push_segment(&mut self, open: &mut Chain, segment: Segment) -> bool {
        if usize::from(open.count) == MAX_FRAME_SEGMENTS || self.used == MAX_SEGMENTS {
            return false;
        }
        self.segments[self.used] = segment;
        self.used += 1;
        open.count += 1;
        open.len += segment.len;
        true
    }

    /// Begins a frame.
    #[inline(always)]
    #[must_use]
    pub fn open(&self) -> Chain {
        Chain { first: self.used as u16, count: 0, len: 0 }
    }

    /// Ends a frame.
    #[inline(always)]
    pub fn close(&mut self, chain: Chain) {
        self.chains[self.count] = chain;
        self.count += 1;
    }

    /// Ends a frame that is none: its pieces are forgotten, its place is kept.
    #[inline(always)]
    pub fn close_empty(&mut self, chain: Chain) {
        self.used = usize::from(chain.first);
        self.close(Chain { first: chain.first, count: 0, len: 0 });
    }
}
