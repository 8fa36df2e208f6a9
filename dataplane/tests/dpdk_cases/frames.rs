//! Making and reading frames.

use std::time::{Duration, Instant};

use dataplane::dpdk::{DpdkPort, DpdkPortConfig, MAX_BURST, MbufPtr, QueuePair, RxQueue, TxQueue};
use dataplane::eal::Eal;

pub(crate) fn open(eal: &Eal, devargs: &str) -> (DpdkPort, QueuePair) {
    open_with(eal, devargs, &DpdkPortConfig::default())
}

pub(crate) fn open_with(eal: &Eal, devargs: &str, config: &DpdkPortConfig) -> (DpdkPort, QueuePair) {
    let mut port =
        DpdkPort::open(eal, "test", devargs, config).unwrap_or_else(|why| panic!("{devargs}: {why}"));
    let mut queues = port.take_queues();
    assert_eq!(queues.len(), usize::from(config.queue_pairs));
    assert!(port.take_queues().is_empty(), "queues are given once");
    let pair = queues.remove(0);
    (port, pair)
}

/// Bytes that say where they stand and in which frame.
pub(crate) fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(31) ^ (index >> 8) ^ seed.wrapping_mul(97)) as u8).collect()
}

/// A frame of `bytes`, in as many segments as it takes.
pub(crate) fn build(tx: &mut TxQueue, bytes: &[u8]) -> MbufPtr {
    let room = tx.segment_room();
    let mut pieces = bytes.chunks(room);
    let mut frame = one(tx, pieces.next().unwrap());
    let mut last = frame.alias();
    for piece in pieces {
        let segment = one(tx, piece);
        // SAFETY: frame and segment are owned; `last` is what the frame ends in.
        last = unsafe { frame.append(&last, segment) };
    }
    // SAFETY: the frame is owned.
    assert_eq!(unsafe { frame.check() }, None, "{} bytes in segments of {room}", bytes.len());
    frame
}

fn one(tx: &mut TxQueue, bytes: &[u8]) -> MbufPtr {
    let [mut mbuf] = MbufPtr::array::<1>();
    assert_eq!(tx.alloc(std::slice::from_mut(&mut mbuf)), 1, "the pool is empty");
    // SAFETY: the mbuf is owned, and the bytes fit.
    unsafe {
        assert_eq!((mbuf.nb_segs(), mbuf.data_len(), mbuf.headroom()), (1, 0, 128));
        assert!(mbuf.tailroom() >= bytes.len());
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), mbuf.data(), bytes.len());
        mbuf.set_len(bytes.len() as u16);
    }
    mbuf
}

/// The bytes of a frame, which is freed.
pub(crate) fn read(frame: MbufPtr) -> Vec<u8> {
    let mut bytes = Vec::new();
    // SAFETY: the frame is owned; segments are read before it is freed.
    unsafe {
        assert_eq!(frame.check(), None);
        bytes.extend_from_slice(frame.segment());
        let mut segment = frame.next();
        let mut segments = 1;
        while !segment.is_null() {
            bytes.extend_from_slice(segment.segment());
            segment = segment.next();
            segments += 1;
        }
        assert_eq!((bytes.len(), segments), (frame.pkt_len(), frame.nb_segs()));
        frame.free();
    }
    bytes
}

pub(crate) fn send(tx: &mut TxQueue, frame: MbufPtr) {
    // SAFETY: the frame is owned and sound; it is forgotten when taken.
    assert_eq!(unsafe { tx.tx(&[frame]) }, 1, "the device does not take the frame");
}

/// Frames that arrive until `count` are there or a second has passed.
pub(crate) fn receive(rx: &mut RxQueue, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    while frames.len() < count && Instant::now() < deadline {
        let mut burst = MbufPtr::array::<MAX_BURST>();
        let received = rx.rx(&mut burst);
        frames.extend(burst.into_iter().take(received).map(read));
    }
    frames
}
