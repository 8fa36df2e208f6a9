//! Captures in, switch, captures out: {server, client} × {mergeable, not} × {in-order, not} × {1, 2 queue pairs},
//! with one worker, and with two of which each serves a sender towards the same receiver.

use std::ops::Range;

use crate::support::frame::{SHORTEST, Stream};
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Mode, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::{tally, wait};

const FRAMES: u32 = 11_200;
/// Frames sent before the receiver has read all of those before: they fit into its free buffers, also when each
/// takes five, so that a slow machine loses none of them. (What a full receiver costs is a test of its own.)
const AT_ONCE: u32 = 1_400;
/// What must arrive at least, so that the comparison is worth its name: workers that meet at the receiver's ring may
/// drop a few.
const ENOUGH: usize = 10_000;
const LONGEST: usize = 9_000;
const FLOWS: u16 = 16;

#[derive(Clone, Copy, Debug)]
struct Cell {
    mode: Mode,
    mergeable: bool,
    in_order: bool,
    queues: usize,
    workers: usize,
}

#[test]
fn server_mode_one_worker() {
    grid(Mode::Server, 1);
}

#[test]
fn server_mode_two_workers() {
    grid(Mode::Server, 2);
}

#[test]
fn client_mode_one_worker() {
    grid(Mode::Client, 1);
}

#[test]
fn client_mode_two_workers() {
    grid(Mode::Client, 2);
}

/// All cells of a mode on one daemon: each cell's ports are new ones.
fn grid(mode: Mode, workers: usize) {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, workers));
    switch.cli().ok(&["network", "add", "net"]);
    for mergeable in [true, false] {
        for in_order in [true, false] {
            for queues in [1, 2] {
                let cell = Cell { mode, mergeable, in_order, queues, workers };
                eprintln!("{cell:?}");
                run(&lab, &switch, cell);
            }
        }
    }
}

fn run(lab: &Lab, switch: &Switch, cell: Cell) {
    let senders: Vec<PodSpec> = (0..cell.workers)
        .map(|n| {
            let mut sender = pod(lab, cell, ["a", "c"][n], [1, 3][n]);
            sender.ring = 256;
            sender
        })
        .collect();
    let receiver = pod(lab, cell, "b", 2);
    for (n, spec) in senders.iter().chain([&receiver]).enumerate() {
        plug(switch, cell, spec);
        if n < cell.workers {
            switch.cli().ok(&["port", "set", &spec.name, "--workers", &lab.cpu(n).to_string()]);
        }
    }
    let mut to = Pod::launch(&receiver);
    let mut from: Vec<Pod> = senders.iter().map(Pod::launch).collect();
    to.ready();
    from.iter_mut().for_each(Pod::ready);
    for spec in senders.iter().chain([&receiver]) {
        switch.wait_running(&spec.name);
        check_negotiated(switch, cell, &spec.name);
    }
    for (n, spec) in senders.iter().enumerate() {
        let queues = switch.port(&spec.name).status.unwrap().queues;
        assert!(queues.iter().all(|queue| queue.worker_cpu == lab.cpu(n)), "{cell:?}: {queues:?}");
    }

    let mut sent = Vec::new();
    let share = AT_ONCE / u32::try_from(cell.workers).unwrap();
    for round in 0..FRAMES / AT_ONCE {
        let batches: Vec<_> = [1, 3][..cell.workers]
            .iter()
            .map(|&sender| traffic(sender, round * share..(round + 1) * share, cell.queues))
            .collect();
        let counts: Vec<u64> =
            from.iter_mut().zip(&batches).map(|(pod, frames)| pod.begin_send(frames)).collect();
        from.iter_mut().zip(counts).for_each(|(pod, count)| pod.sent(count));
        sent.extend(batches.concat().concat());
        drained(switch, &mut to, sent.len() as u64);
    }
    compare(switch, cell, &sent, &to);

    assert!(from.into_iter().all(Pod::quit) && to.quit(), "{cell:?}: a pod did not end cleanly");
    for spec in senders.iter().chain([&receiver]) {
        switch.cli().ok(&["port", "del", &spec.name]);
    }
}

fn pod(lab: &Lab, cell: Cell, name: &str, number: u8) -> PodSpec {
    let mut spec = PodSpec::new(lab, name, number, Behind::Captures);
    spec.mode = cell.mode;
    spec.queues = cell.queues;
    // In server mode the switch leaves the features out; in client mode the pod does not take them.
    if cell.mode == Mode::Client {
        spec.mergeable = cell.mergeable;
        spec.in_order = cell.in_order;
    }
    if cell.mergeable {
        spec.ring = 8192;
    } else {
        spec.ring = 2048;
        spec.buffer = 9_728;
    }
    spec
}

fn plug(switch: &Switch, cell: Cell, spec: &PodSpec) {
    let mut off = Vec::new();
    if cell.mode == Mode::Server && !cell.mergeable {
        off.push("mrg_rxbuf");
    }
    if cell.mode == Mode::Server && !cell.in_order {
        off.push("in_order");
    }
    let off = off.join(",");
    let mut more = vec!["--mac", spec.mac.as_str()];
    if !off.is_empty() {
        more.extend(["--features-off", &off]);
    }
    switch.plug(spec, "net", &more);
}

fn check_negotiated(switch: &Switch, cell: Cell, name: &str) {
    let features = switch.port(name).status.unwrap().features;
    let has = |name: &str| features.iter().any(|feature| feature == name);
    assert_eq!(has("mrg_rxbuf"), cell.mergeable, "{cell:?} {name}: {features:?}");
    assert_eq!(has("in_order"), cell.in_order, "{cell:?} {name}: {features:?}");
}

/// Frames of all sizes in several flows, each flow on one queue.
fn traffic(from: u8, sequences: Range<u32>, queues: usize) -> Vec<Vec<Vec<u8>>> {
    let stream = Stream::between(from, 2);
    let mut lists = vec![Vec::new(); queues];
    let span = LONGEST - SHORTEST + 1;
    for sequence in sequences {
        let flow = u16::try_from(sequence % u32::from(FLOWS)).unwrap();
        // A stride that is prime to the span visits every size.
        let length = SHORTEST + (sequence as usize * 2_741) % span;
        lists[usize::from(flow) % queues].push(stream.frame(flow, sequence, length));
    }
    lists
}

/// Waits until the switch has taken `sent` frames, each is delivered or dropped, and the receiver has read its own.
fn drained(switch: &Switch, to: &mut Pod, sent: u64) {
    wait::until("the frames to be delivered or dropped, and read", || {
        let stats = switch.all_stats();
        let taken: u64 = stats.iter().map(|port| port.rx_frames).sum();
        let delivered: u64 = stats.iter().map(|port| port.tx_frames).sum();
        let done = taken == sent && delivered + tally::dropped(&stats) == sent;
        (done && to.stats(0).rx == delivered).then_some(())
    });
}

fn compare(switch: &Switch, cell: Cell, sent: &[Vec<u8>], to: &Pod) {
    let stats = switch.settle();
    let taken: u64 = stats.iter().filter(|port| port.port != "b").map(|port| port.rx_frames).sum();
    let taken_bytes: u64 = stats.iter().filter(|port| port.port != "b").map(|port| port.rx_bytes).sum();
    assert_eq!(taken, sent.len() as u64, "{cell:?}: frames taken from the senders: {stats:?}");
    assert_eq!(taken_bytes, bytes(sent), "{cell:?}: bytes taken from the senders");
    let delivered = stats.iter().find(|port| port.port == "b").unwrap();
    let queues = to.received_on();
    let received = queues.concat();
    tally::subset(sent, &received);
    tally::ordered(&queues);
    assert_eq!(received.len() as u64, delivered.tx_frames, "{cell:?}: {delivered:?}");
    assert_eq!(bytes(&received), delivered.tx_bytes, "{cell:?}");
    let lost = (sent.len() - received.len()) as u64;
    assert_eq!(tally::dropped(&stats), lost, "{cell:?}: every lost frame has a named drop: {stats:?}");
    tally::only_reasons(&stats, &["rx_ring_full", "rx_ring_busy"]);
    assert!(
        received.len() >= ENOUGH,
        "{cell:?}: only {} of {} arrived: {stats:?}",
        received.len(),
        sent.len()
    );
    eprintln!("  {} of {} frames arrived, {lost} in named drops", received.len(), sent.len());
}

/// A receiver that reads nothing costs exactly the frames that find no buffer, and nobody else a frame.
#[test]
fn a_full_receiver_drops_by_name() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let specs = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| PodSpec::new(&lab, name, n, Behind::Captures));
    specs.iter().for_each(|spec| switch.plug(spec, "net", &["--mac", &spec.mac]));
    let mut pods: Vec<Pod> = specs.iter().map(Pod::launch).collect();
    pods.iter_mut().for_each(Pod::ready);
    specs.iter().for_each(|spec| switch.wait_running(&spec.name));

    pods[1].stop();
    let full = Stream::between(1, 2).frames(3_000, 60);
    pods[0].send(&full);
    let past = Stream::between(1, 3).frames(500, 60);
    pods[0].send(&past);
    switch.settle();
    let b = switch.stats("b");
    assert_eq!(b.tx_frames, 1_024, "as many as it has buffers");
    assert_eq!(tally::reason(&b, "rx_ring_full"), 3_000 - 1_024);
    assert_eq!(tally::dropped(&switch.all_stats()), 3_000 - 1_024);
    pods[1].start();
    for (pod, expected) in [(1, &full[..1_024]), (2, &past[..])] {
        let received = wait::until("the pod to read its ring", || {
            Some(pods[pod].received()).filter(|frames| frames.len() >= expected.len())
        });
        assert!(received == expected, "not the frames that found a buffer");
    }
}

fn bytes(frames: &[Vec<u8>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}
