//! Sending to a DPDK device: a frame from a guest is written into mbufs once, one from a device is sent on as it is.
#![expect(unsafe_code, reason = "mbufs are raw memory")]

use arrayvec::ArrayVec;
use vhost::address::HostAddr;
use vhost::guest::{Level, guest_read};
use vhost::ring::{BURST, Delivered, FrameSource};

use super::{Source, bytes_of};
use crate::dpdk::{MbufPtr, TxQueue};

/// Segments that one frame is written into at most: 64 KB in the usual 2 KB.
const MAX_SEGMENTS: usize = 48;

/// What became of frames that were to be sent.
pub(super) struct Sent {
    /// `no_room`: the device did not take them; `too_small`: it cannot take them in one piece.
    pub delivered: Delivered,
    /// Frames for which there was no memory.
    pub no_mbuf: u32,
}

/// Why a frame was not written.
enum Miss {
    NoMbuf,
    TooLong,
}

/// Sends frames on a transmit queue.
#[inline]
pub(super) fn send<L: Level, S: FrameSource>(
    queue: &mut TxQueue,
    frames: &S,
    source: &mut Source<'_>,
    which: &[u8],
    alone: bool,
) -> Sent {
    let mut no_mbuf = 0;
    let mut done = Delivered::default();
    let mut ready: ArrayVec<MbufPtr, BURST> = ArrayVec::new();
    let mut sizes: ArrayVec<u8, BURST> = ArrayVec::new();
    for &i in which {
        let mbuf = match source {
            Source::Mbufs(mbufs) if alone => take_over(queue, &mut mbufs[usize::from(i)]),
            _ => None,
        };
        match mbuf.map_or_else(|| write::<L, S>(queue, frames, usize::from(i)), Ok) {
            Ok(mbuf) => {
                ready.push(mbuf);
                sizes.push(i);
            }
            Err(Miss::NoMbuf) => no_mbuf += 1,
            Err(Miss::TooLong) => done.too_small += 1,
        }
    }
    L::done();
    let sent = if source.poisoned() {
        done.failed = ready.len() as u32;
        0
    } else {
        // SAFETY: all of `ready` are frames of ours that were just written or received; those sent are forgotten below.
        let sent = unsafe { queue.tx(&ready) };
        done.no_room = (ready.len() - sent) as u32;
        sent
    };
    done.frames = sent as u32;
    done.bytes = bytes_of(frames, &sizes[..sent]);
    for mbuf in ready.drain(..).skip(sent) {
        // SAFETY: the device did not take it, so it is ours and is used no more.
        unsafe { mbuf.free() };
    }
    Sent { delivered: done, no_mbuf }
}

/// A received frame as it is, if the device can send it so.
#[inline(always)]
fn take_over(queue: &TxQueue, mbuf: &mut MbufPtr) -> Option<MbufPtr> {
    // SAFETY: the mbuf is null or a frame that this worker received and still owns.
    unsafe {
        if mbuf.is_null() || (mbuf.nb_segs() > 1 && !queue.multi_segs()) {
            return None;
        }
        let mut frame = mbuf.take();
        frame.clear_ol_flags();
        Some(frame)
    }
}

/// Writes frame `i` into mbufs of the device's own pool.
#[inline(always)]
fn write<L: Level, S: FrameSource>(queue: &mut TxQueue, frames: &S, i: usize) -> Result<MbufPtr, Miss> {
    let len = frames.len(i) as usize;
    let room = queue.segment_room();
    let count = len.div_ceil(room).max(1);
    if count > MAX_SEGMENTS || (count > 1 && !queue.multi_segs()) {
        return Err(Miss::TooLong);
    }
    let mut segments = MbufPtr::array::<MAX_SEGMENTS>();
    if queue.alloc(&mut segments[..count]) != count {
        return Err(Miss::NoMbuf);
    }
    let mut places: ArrayVec<(HostAddr, usize), MAX_SEGMENTS> = ArrayVec::new();
    let mut left = len;
    for segment in &mut segments[..count] {
        let part = left.min(room);
        left -= part;
        // SAFETY: freshly allocated, so owned; `part` is at most what an empty segment holds.
        unsafe {
            segment.set_len(part as u16);
            places.push((HostAddr(segment.data() as usize), part));
        }
    }
    let mut place = places.iter().copied();
    let mut current = place.next().unwrap_or((HostAddr(0), 0));
    let mut put = |mut from: HostAddr, mut bytes: usize| {
        while bytes > 0 {
            if current.1 == 0 {
                let Some(next) = place.next() else { return };
                current = next;
            }
            let part = bytes.min(current.1);
            // SAFETY: the segment has `part` bytes left; `from` lies in the head or in a checked piece of the body.
            unsafe { guest_read::<L>(current.0.0 as *mut u8, from, part) };
            current = (current.0.add(part), current.1 - part);
            from = from.add(part);
            bytes -= part;
        }
    };
    let head = frames.head(i);
    put(HostAddr(head.as_ptr() as usize), head.len());
    for piece in frames.body(i) {
        put(piece.at, piece.len as usize);
    }
    let mut segments = segments.into_iter();
    let mut frame = segments.next().ok_or(Miss::NoMbuf)?;
    // SAFETY: all segments are owned, filled, and joined once; the last of the chain is what `append` returned.
    unsafe {
        let mut last = frame.alias();
        for segment in segments.take(count - 1) {
            last = frame.append(&last, segment);
        }
    }
    Ok(frame)
}

/// Sends one frame that is nobody's mbuf.
pub(super) fn send_one<L: Level>(queue: &mut TxQueue, frame: &impl FrameSource) -> Sent {
    send::<L, _>(queue, frame, &mut Source::Own, &[0], false)
}
