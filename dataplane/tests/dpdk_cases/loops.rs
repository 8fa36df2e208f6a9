//! Frames in are frames out.

use std::fs;

use dataplane::dpdk::{DpdkPortConfig, MAX_BURST, MbufPtr};
use dataplane::eal::Eal;

use super::frames::{build, open, open_with, pattern, read, receive, send};

/// Lengths about the ends of one and of several buffers of 2,048 bytes.
const LENGTHS: [usize; 13] = [60, 61, 64, 127, 128, 1514, 2047, 2048, 2049, 4096, 4097, 8192 + 100, 9000];

pub(crate) fn null_device_makes_frames(eal: &Eal) {
    let (port, mut queues) = open(eal, "net_null0,size=72");
    assert_eq!((port.driver(), port.device()), ("net_null", "net_null0"));
    let mut burst = MbufPtr::array::<32>();
    let mut frames = 0;
    for _ in 0..1000 {
        assert_eq!(queues.rx.rx(&mut burst), 32);
        for frame in &burst {
            // SAFETY: received, so owned.
            assert_eq!(unsafe { (frame.pkt_len(), frame.nb_segs(), frame.ol_flags()) }, (72, 1, 0));
        }
        // SAFETY: owned; half is sent, half freed.
        unsafe {
            assert_eq!(queues.tx.tx(&burst[..16]), 16);
            MbufPtr::free_all(&mut burst[16..]);
        }
        assert!(burst[16..].iter().all(MbufPtr::is_null));
        frames += 32;
    }
    let stats = port.stats();
    assert_eq!((stats.rx_frames, stats.tx_frames), (frames, frames / 2));
    assert!(port.xstats().iter().any(|(name, value)| name == "rx_good_packets" && *value == frames));
    assert!(port.link().up && !port.is_gone());
    drop(queues);
    port.close().unwrap();
}

pub(crate) fn ring_returns_frames_byte_for_byte(eal: &Eal) {
    let config = DpdkPortConfig { pool_frames: Some(2048), ..DpdkPortConfig::default() };
    let (port, mut queues) = open_with(eal, "net_ring0", &config);
    let idle = port.mbufs_in_use();
    for length in LENGTHS.into_iter().chain([65_000, 65_535]) {
        for seed in 0..3 {
            let bytes = pattern(length, seed);
            let frame = build(&mut queues.tx, &bytes);
            // SAFETY: the frame is owned.
            assert_eq!(unsafe { frame.nb_segs() }, length.div_ceil(2048));
            send(&mut queues.tx, frame);
            assert_eq!(receive(&mut queues.rx, 1), [bytes], "{length} bytes");
        }
    }
    front_moves(&mut queues.tx);
    assert_eq!(port.mbufs_in_use(), idle, "a frame was lost");
    drop(queues);
    port.close().unwrap();
}

fn front_moves(tx: &mut dataplane::dpdk::TxQueue) {
    let mut frame = build(tx, &pattern(5000, 9));
    // SAFETY: the frame is owned; what comes in at the front is written.
    unsafe {
        frame.move_front(14);
        assert_eq!((frame.pkt_len(), frame.data_len(), frame.headroom()), (4986, 2034, 142));
        frame.move_front(-18);
        frame.data().write_bytes(0xee, 18);
        frame.clear_ol_flags();
    }
    let bytes = read(frame);
    assert_eq!((&bytes[..18], &bytes[18..]), (&[0xee; 18][..], &pattern(5000, 9)[14..]));
}

pub(crate) fn pcap_copies_a_file(eal: &Eal) {
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    let frames: Vec<Vec<u8>> =
        (0..500).map(|index| pattern(60 + (index * 7919) % 8941, index)).chain([pattern(9000, 7)]).collect();
    fs::write(&input, pcap(&frames)).unwrap();

    let devargs = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let (port, mut queues) = open(eal, &devargs);
    let mut done = 0;
    let mut chains = 0;
    while done < frames.len() {
        let mut burst = MbufPtr::array::<MAX_BURST>();
        let received = queues.rx.rx(&mut burst);
        assert_ne!(received, 0, "the file ended after {done} frames");
        // SAFETY: received, so owned; sent as they came.
        unsafe {
            chains += burst[..received].iter().filter(|frame| frame.nb_segs() > 1).count();
            assert_eq!(queues.tx.tx(&burst[..received]), received);
        }
        done += received;
    }
    assert!(chains > 300, "only {chains} frames came in chains");
    assert_eq!(port.mbufs_in_use(), 0);
    drop(queues);
    port.close().unwrap();
    assert!(read_pcap(&fs::read(&output).unwrap()) == frames, "the files differ");
}

fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = |file: &mut Vec<u8>, words: &[u32]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    let mut file = Vec::new();
    words(&mut file, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
    for frame in frames {
        words(&mut file, &[0, 0, frame.len() as u32, frame.len() as u32]);
        file.extend(frame);
    }
    file
}

fn read_pcap(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}
