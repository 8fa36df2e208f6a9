//! Ports come and go, and memory with them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use dataplane::dpdk::{DpdkError, DpdkPort, DpdkPortConfig, MbufPtr, TxQueue};
use dataplane::eal::Eal;

use super::frames::{build, open, open_with, pattern, read, receive, send};
use super::process;

/// What DPDK's heap may differ by after the same things were allocated and freed: padding for alignment counts as
/// used, and net_ring forgets a ring of 1,024 entries of a device that was never started. A pool is 100 times
/// as much.
const SLACK: u64 = 16 << 10;

/// Waits until EAL's memory in use is back at `used`.
pub(crate) fn settled(eal: &Eal, used: u64) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while eal.memory().used_bytes > used + SLACK {
        assert!(Instant::now() < deadline, "{} bytes in use, {used} before", eal.memory().used_bytes);
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn fifty_times_open_and_close(eal: &Eal) {
    let mut before = None;
    for round in 0..50 {
        let (port, mut pair) = open(eal, "net_ring0");
        let bytes = pattern(3000, round);
        let frame = build(&mut pair.tx, &bytes);
        send(&mut pair.tx, frame);
        assert_eq!(receive(&mut pair.rx, 1), [bytes]);
        drop(pair);
        port.close().unwrap();
        // What DPDK keeps for good (net_ring never frees its rings) it makes in the first round.
        let (used, files) = *before.get_or_insert_with(|| (settle(eal), process::open_files()));
        if round % 10 == 9 {
            println!("  open and close {}: {} bytes in use", round + 1, settle(eal));
        }
        settled(eal, used);
        assert_eq!(process::open_files(), files);
    }
}

/// Bytes in use once retired pools are gone.
pub(crate) fn settle(eal: &Eal) -> u64 {
    sleep(Duration::from_millis(30));
    let _ = eal.memory();
    sleep(Duration::from_millis(30));
    eal.memory().used_bytes
}

pub(crate) fn frames_may_outlive_their_port(eal: &Eal) {
    let used = settle(eal);
    let (port, mut pair) = open(eal, "net_null0");
    let pool = port.pool_bytes();
    let bytes = pattern(5000, 1);
    let frame = build(&mut pair.tx, &bytes);
    assert_eq!(port.mbufs_in_use(), 3);
    drop(pair);
    port.close().unwrap();
    let kept = settle(eal);
    assert!(kept >= used + pool / 2, "the pool was freed under a frame: {kept} bytes in use, {used} before");
    assert_eq!(read(frame), bytes);
    settled(eal, used);
}

/// Workers must not take page faults: an open port's buffers are there. Shown on a port with large buffers (DPDK
/// itself writes only to the start of each), and before other cases have used EAL's memory.
pub(crate) fn buffers_are_present(eal: &Eal, devargs: &str) {
    let mut frames = Vec::new();
    frames.resize_with(4096, || MbufPtr::NULL);
    // Once for code and stack, which are loaded when first used.
    let small = DpdkPortConfig { pool_frames: Some(256), ..DpdkPortConfig::default() };
    let (port, mut pair) = open_with(eal, devargs, &small);
    fill(&mut pair.tx, &mut frames);
    drop(pair);
    port.close().unwrap();

    let (port, mut pair) = open(eal, devargs);
    let before = process::page_faults();
    let count = fill(&mut pair.tx, &mut frames);
    let faults = process::page_faults() - before;
    println!("  {faults} page faults for {count} buffers of {} bytes", pair.tx.segment_room());
    assert!(count > 512);
    assert_eq!(faults, 0);
    drop(pair);
    port.close().unwrap();
}

/// Writes to every buffer of the pool; how many there were.
fn fill(tx: &mut TxQueue, frames: &mut [MbufPtr]) -> usize {
    let room = tx.segment_room();
    let mut count = 0;
    while tx.alloc(&mut frames[count..=count]) == 1 {
        // SAFETY: the mbuf is owned and has that much room.
        unsafe { frames[count].data().write_bytes(0x5a, room) };
        count += 1;
    }
    // SAFETY: they are owned.
    unsafe { MbufPtr::free_all(&mut frames[..count]) };
    count
}

pub(crate) fn queues_keep_the_device(eal: &Eal) {
    let used = settle(eal);
    let (port, mut pair) = open(eal, "net_null0");
    assert!(matches!(port.close(), Err(DpdkError::QueuesHeld { queues: 2 })));
    assert_eq!(receive(&mut pair.rx, 64).len(), 64, "the queue works until it is dropped");
    drop(pair);
    settled(eal, used);
}

pub(crate) fn as_many_ports_as_dpdk_takes(eal: &Eal) {
    let used = settle(eal);
    let config = DpdkPortConfig { pool_frames: Some(256), ..DpdkPortConfig::default() };
    let mut ports = Vec::new();
    let why = loop {
        match DpdkPort::open(eal, "many", &format!("net_null{}", ports.len()), &config) {
            Ok(port) => ports.push(port),
            Err(why) => break why,
        }
    };
    println!("  after {} ports: {why}", ports.len());
    match why {
        DpdkError::TooManyPorts { limit } => assert_eq!(ports.len(), limit as usize),
        DpdkError::Memory { needed, free } => assert!(needed > free && ports.len() > 8),
        other => panic!("{other:?}"),
    }
    for port in ports {
        port.close().unwrap();
    }
    settled(eal, used);
}
