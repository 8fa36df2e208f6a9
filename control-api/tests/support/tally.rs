//! Comparing what was sent with what arrived.

use std::collections::{HashMap, HashSet};

use proto::v1::PortStats;

use super::frame::Marks;

/// Checks that each received frame was sent, byte for byte, and arrived once.
#[track_caller]
pub fn subset(sent: &[Vec<u8>], received: &[Vec<u8>]) {
    let mut left: HashMap<&[u8], u32> = HashMap::with_capacity(sent.len());
    for frame in sent {
        *left.entry(frame).or_default() += 1;
    }
    for frame in received {
        match left.get_mut(frame.as_slice()) {
            Some(0) => panic!("a frame arrived twice: {:?}, {} bytes", Marks::of(frame), frame.len()),
            Some(count) => *count -= 1,
            None => panic!(
                "a frame that nobody sent: {:?}, {} bytes: {frame:02x?}",
                Marks::of(frame),
                frame.len()
            ),
        }
    }
}

/// Checks that in each flow of each sender the frames came in the order in which they were sent, and each flow on
/// one queue.
#[track_caller]
pub fn ordered(queues: &[Vec<Vec<u8>>]) {
    let mut seen: HashSet<(u32, u16)> = HashSet::new();
    for frames in queues {
        let mut last: HashMap<(u32, u16), u32> = HashMap::new();
        for marks in frames.iter().filter_map(|frame| Marks::of(frame)) {
            let flow = (marks.tenant, marks.flow);
            if let Some(before) = last.insert(flow, marks.sequence) {
                assert!(before < marks.sequence, "flow {flow:?}: {} came after {before}", marks.sequence);
            }
        }
        for flow in last.keys() {
            assert!(seen.insert(*flow), "flow {flow:?} came on two queues");
        }
    }
}

/// All drops of all ports.
#[must_use]
pub fn dropped(stats: &[PortStats]) -> u64 {
    stats.iter().flat_map(|port| &port.drops).map(|drop| drop.frames).sum()
}

/// Checks that every drop is for one of these reasons.
#[track_caller]
pub fn only_reasons(stats: &[PortStats], allowed: &[&str]) {
    for port in stats {
        for drop in &port.drops {
            assert!(allowed.contains(&drop.reason.as_str()), "port {}: {drop:?}", port.port);
        }
    }
}

/// Frames of one port that were dropped for one reason.
#[must_use]
pub fn reason(stats: &PortStats, name: &str) -> u64 {
    stats.drops.iter().filter(|drop| drop.reason == name).map(|drop| drop.frames).sum()
}
