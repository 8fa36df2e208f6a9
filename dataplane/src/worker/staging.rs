//! A second copy, to compare with: whole frames are brought into private memory before anything is delivered.
//!
//! That is what other switches do with every frame. Here it is a setting (`workers.copies = 2`), so that what the single
//! copy saves can be measured with everything else the same.
#![expect(unsafe_code, reason = "frames are copied out of shared memory")]

use vhost::address::HostAddr;
use vhost::guest::{Level, guest_read};
use vhost::ring::MAX_FRAME;

use crate::burst::Burst;

/// All that one visit can hold: a visit to a ring ends with the frame that brings it to 512 KB.
const BYTES: usize = (512 << 10) + 2 * MAX_FRAME as usize;

/// The private memory of a worker that copies twice; none in one that does not.
pub(super) struct Staging(Option<Box<[u8]>>);

impl Staging {
    pub(super) fn new(wanted: bool) -> Self {
        Self(wanted.then(|| vec![0; BYTES].into()))
    }

    /// Copies the bodies of the burst here, if that is wanted.
    #[inline(always)]
    pub(super) fn copy<L: Level>(&mut self, burst: &mut Burst) {
        if let Some(memory) = &mut self.0 {
            stage::<L>(memory, burst);
        }
    }
}

#[inline(never)]
fn stage<L: Level>(memory: &mut [u8], burst: &mut Burst) {
    let mut at = 0;
    for i in 0..burst.count() {
        let len = burst.chains.chain(i).len as usize;
        if len == 0 || memory.len() - at < len {
            continue;
        }
        let start = at;
        for piece in burst.chains.segments(i) {
            let to = &mut memory[at..at + piece.len as usize];
            // SAFETY: the piece lies in its mapping, as the ring checked; the slice has room for it.
            unsafe { guest_read::<L>(to.as_mut_ptr(), piece.at, to.len()) };
            at += to.len();
        }
        burst.chains.moved(i, HostAddr(memory[start..].as_ptr() as usize));
        at = at.next_multiple_of(64);
    }
    L::done();
}
