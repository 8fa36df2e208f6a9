//! What the switch does, in a minute: two networks, three DPDK applications as pods, traffic, and a table.
//!
//! Two pods of one network send each other frames of 64 and then of 1,500 bytes, each as soon as it has received
//! one; then one of them breaks a rule. A pod of another network listens. `make demo` runs it. It needs root, and
//! leaves nothing behind, also when it is interrupted.

#![allow(clippy::unwrap_used, reason = "a demo whose surroundings break has nothing to show")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use proto::v1::{NodeStatus, PortStats, WorkerStatsResponse};
use tokio::signal::unix::{SignalKind, signal};

use support::frame::{BROADCAST, Stream, mac};
use support::lab::{Lab, missing};
use support::pod::{Behind, Pod, PodSpec};
use support::switch::{Setup, Switch};
use support::wait;

/// How long each frame size is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Bursts of 32 frames that go round between the two pods: less than a receive ring holds, so that none is lost.
const BURSTS: u32 = 64;
/// Frames of each kind that break a rule or go to everybody.
const FEW: u32 = 500;
/// Entries of a pod's rings.
const RING: u32 = 4096;
/// Until pods and worker have found their pace.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let missing = missing();
    if !missing.is_empty() {
        eprintln!("demo: this machine lacks {}; `make setup` as root provides it", missing.join(", "));
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let (done, mut ended) = tokio::sync::oneshot::channel();
    // An interruption unwinds, so that everything is taken down; that is no news.
    std::panic::set_hook(Box::new(|panic| {
        if !wait::interrupted() {
            eprintln!("demo: {panic}");
        }
    }));
    // Everything that is started belongs to this thread, and ends with it.
    let demo = std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(demo);
        let _ = done.send(());
        outcome
    });
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = &mut ended => break,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            eprintln!("demo: interrupted, cleaning up");
            wait::interrupt();
        }
    });
    match demo.join() {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What was counted at one moment.
struct Snapshot {
    at: Instant,
    ports: Vec<PortStats>,
    workers: WorkerStatsResponse,
}

impl Snapshot {
    fn take(switch: &Switch) -> Self {
        let ports = switch.all_stats();
        Self { at: Instant::now(), ports, workers: switch.cli().get(&["worker", "list"]) }
    }

    fn port(&self, name: &str) -> &PortStats {
        self.ports.iter().find(|port| port.port == name).unwrap()
    }
}

fn demo() -> bool {
    let lab = Lab::new();
    // The worker has the last CPU for itself where there are three or more. Where there are two, the pods are on one
    // each: the worker sleeps whenever a pod has work to do.
    let last = lab.cpus() - 1;
    let worker = lab.cpu(last);
    let pods_on = [0, 1, 2].map(|n| lab.cpu(if last > 1 { n % last } else { n }));
    let mut setup = Setup::new(&lab, 1);
    setup.workers = worker.to_string();
    let mut switch = Switch::start(&lab, setup);
    let node: NodeStatus = switch.cli().get(&["status"]);
    println!(
        "podswitchd {} answered {:.2} s after its start; {}, {}, copies with {}",
        node.version,
        node.start_seconds,
        node.dpdk_version,
        if node.hugepages { "hugepages" } else { "no hugepages" },
        node.copy_level,
    );
    println!("worker on CPU {worker}; pods on CPUs {pods_on:?}");
    if pods_on.contains(&worker) {
        println!(
            "(too few CPUs: worker and a pod share one, and the worker's cycles hold the time it had to wait)"
        );
    }

    for network in ["blue", "green"] {
        switch.cli().ok(&["network", "add", network]);
    }
    let sink = pod(&lab, pods_on[2], "pod-c", 3, Behind::Sink);
    let pods: Vec<PodSpec> = [("pod-a", 1), ("pod-b", 2)]
        .map(|(name, number)| pod(&lab, pods_on[usize::from(number) - 1], name, number, Behind::Sink))
        .into_iter()
        .chain([sink])
        .collect();
    for (spec, network) in pods.iter().zip(["blue", "blue", "green"]) {
        switch.plug(spec, network, &["--mac", &spec.mac]);
    }
    let mut listener = Pod::launch(&pods[2]);
    listener.ready();

    let heads = ["frames", "pod", "network", "sends", "receives", "dropped"];
    println!("\n{:<9}{:<7}{:<9}{:<28}{:<28}{}", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]);
    for size in [64, 1500] {
        measure(&switch, &pods, size);
    }
    misbehave(&switch, &pods);
    let clean = verdict(&switch, &mut listener);
    assert!(listener.quit(), "a pod did not end by itself");
    assert!(switch.terminate().success(), "podswitchd did not end by itself");
    clean
}

fn pod(lab: &Lab, cpu: u32, name: &str, number: u8, behind: Behind) -> PodSpec {
    let mut spec = PodSpec::new(lab, name, number, behind);
    spec.cpus = vec![cpu];
    spec.ring = RING;
    // The listener polls too; it must not take a third of the CPU for it.
    spec.gives_way = spec.behind == Behind::Sink;
    spec
}

/// Lets the first two pods send to each other for a while, and prints a row a pod.
fn measure(switch: &Switch, pods: &[PodSpec], size: usize) {
    let mut senders: Vec<Pod> = pods[..2]
        .iter()
        .zip([&pods[1].mac, &pods[0].mac])
        .map(|(spec, peer)| {
            let mut spec = spec.clone();
            spec.behind = Behind::Loop(peer.clone());
            spec.gives_way = false;
            Pod::launch(&spec)
        })
        .collect();
    senders.iter_mut().for_each(Pod::ready);
    pods.iter().for_each(|spec| switch.wait_running(&spec.name));
    senders[1].start();
    senders[0].command(&format!("set txpkts {size}"));
    senders[0].begin_loop(BURSTS);
    wait::pause(WARM_UP);
    let begin = Snapshot::take(switch);
    wait::pause(MEASURED);
    let end = Snapshot::take(switch);
    senders.iter_mut().for_each(Pod::stop);
    assert!(senders.into_iter().all(Pod::quit), "a pod did not end by itself");

    let seconds = (end.at - begin.at).as_secs_f64();
    for spec in pods {
        let (before, after) = (begin.port(&spec.name), end.port(&spec.name));
        let rate = |frames: u64, bytes: u64| {
            format!(
                "{:6.3} M/s {:6.2} Gbit/s",
                frames as f64 / seconds / 1e6,
                bytes as f64 * 8.0 / seconds / 1e9
            )
        };
        println!(
            "{:<9}{:<7}{:<9}{:<28}{:<28}{:.3} M/s",
            format!("{size} B"),
            spec.name,
            after.network,
            rate(after.rx_frames - before.rx_frames, after.rx_bytes - before.rx_bytes),
            rate(after.tx_frames - before.tx_frames, after.tx_bytes - before.tx_bytes),
            (after.dropped - before.dropped) as f64 / seconds / 1e6,
        );
    }
    let (before, after) = (&begin.workers.workers[0], &end.workers.workers[0]);
    let frames = (after.frames - before.frames).max(1);
    let (busy, idle) = (after.busy_cycles - before.busy_cycles, after.idle_cycles - before.idle_cycles);
    println!(
        "         worker on CPU {}: {:.0} cycles a frame, busy {:.0} % of its time\n",
        after.cpu,
        busy as f64 / frames as f64,
        100.0 * busy as f64 / (busy + idle).max(1) as f64,
    );
}

/// The first pod sends to everybody, and then under a MAC address that is not its own.
fn misbehave(switch: &Switch, pods: &[PodSpec]) {
    let mut spec = pods[0].clone();
    spec.behind = Behind::Captures;
    let mut sender = Pod::launch(&spec);
    sender.ready();
    switch.wait_running(&spec.name);
    let honest = Stream { destination: BROADCAST, ..Stream::between(1, 2) };
    let forged = Stream { source: mac(2), ..honest };
    sender.send(&[honest.frames(FEW, 100), forged.frames(FEW, 100)].concat());
    println!("pod-a sent {FEW} broadcasts, and {FEW} more with pod-b's MAC address as their source");
    switch.settle();
    assert!(sender.quit(), "a pod did not end by itself");
}

/// Says where frames were lost and what the third pod saw; false if the switch did not do its job.
fn verdict(switch: &Switch, listener: &mut Pod) -> bool {
    let stats = switch.settle();
    let drops = switch.drops();
    println!("frames that were dropped, since the start:");
    if drops.is_empty() {
        println!("  none");
    }
    for (port, reason, frames) in drops {
        println!("  {frames:>12}  {port}  {reason}");
    }
    let seen = listener.stats(0).rx;
    println!("pod-c, in the other network, saw {seen} frames");

    let find = |name: &str| stats.iter().find(|port| port.port == name).unwrap();
    let taken: u64 = ["pod-a", "pod-b"].map(|name| find(name).rx_frames).iter().sum();
    let delivered: u64 = ["pod-a", "pod-b"].map(|name| find(name).tx_frames).iter().sum();
    let dropped = support::tally::dropped(&stats);
    let balanced = taken == delivered + dropped;
    println!(
        "{taken} frames taken, {delivered} delivered, {dropped} dropped by name: {}",
        if balanced { "every frame is accounted for" } else { "NOT every frame is accounted for" },
    );
    balanced && seen == 0 && delivered > 0
}
