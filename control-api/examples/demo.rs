//! What the switch does, in a minute: two networks, three DPDK applications as pods, traffic, and a table.
//!
//! The pods are plugged in by the CNI plugin, as a container runtime does it, each in network and mount namespaces of its
//! own, as users without any privilege. Two pods of one network send each other frames of 64 and then of 1,500 bytes,
//! each as soon as it has received one; then one of them breaks a rule. A pod of another network listens. `make demo`
//! runs it. It needs root, and leaves nothing behind, also when it is interrupted.

#![allow(clippy::unwrap_used, reason = "a demo whose surroundings break has nothing to show")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use proto::v1::{NodeStatus, PortStats, WorkerStatsResponse};
use tokio::signal::unix::{SignalKind, signal};

use serde_json::{Value, json};
use support::frame::{BROADCAST, Stream, mac};
use support::lab::{Lab, missing};
use support::node::{Node, Programs};
use support::pod::{Behind, Pod, PodSpec};
use support::sandbox::{Container, Sandbox};
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
/// The pods' interface.
const IFNAME: &str = "net1";
/// What testpmd sends from, which is nobody's address.
const TESTPMD: &str = "198.18.0.0/15";

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
    let programs = programs().expect("the CNI plugin is built by `make static`");
    let lab = Lab::new();
    // The worker has the last CPU for itself where there are three or more. Where there are two, the pods are on one
    // each: the worker sleeps whenever a pod has work to do.
    let last = lab.cpus() - 1;
    let worker = lab.cpu(last);
    let pods_on = [0, 1, 2].map(|n| lab.cpu(if last > 1 { n % last } else { n }));
    let mut setup = Setup::new(&lab, 1);
    setup.workers = worker.to_string();
    let mut node = Node::start(&lab, &programs, setup);
    let switch = &node.switch;
    let status: NodeStatus = switch.cli().get(&["status"]);
    println!(
        "podswitchd {} answered {:.2} s after its start; {}, {}, copies with {}",
        status.version,
        status.start_seconds,
        status.dpdk_version,
        if status.hugepages { "hugepages" } else { "no hugepages" },
        status.copy_level,
    );
    println!("worker on CPU {worker}; pods on CPUs {pods_on:?}");
    if pods_on.contains(&worker) {
        println!(
            "(too few CPUs: worker and a pod share one, and the worker's cycles hold the time it had to wait)"
        );
    }

    for network in ["blue", "green"] {
        switch.cli().ok(&["network", "add", network, "--namespace", "demo", "--allow-source"]);
    }
    println!("\n{:<9}{:<9}{:<20}{:<14}socket in the pod", "pod", "network", "MAC address", "IP address");
    let plugged: Vec<Plugged> = [("pod-a", "blue"), ("pod-b", "blue"), ("pod-c", "green")]
        .into_iter()
        .zip(pods_on)
        .enumerate()
        .map(|(number, ((name, network), cpu))| plug(&node, &lab, (number, name, network), cpu))
        .collect();
    let pods: Vec<Demonstrated> = plugged.iter().map(|plugged| plugged.pod.clone()).collect();
    let mut listener = Pod::launch(&pods[2].spec);
    listener.ready();

    let heads = ["frames", "pod", "network", "sends", "receives", "dropped"];
    println!("\n{:<9}{:<7}{:<9}{:<28}{:<28}{}", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]);
    for size in [64, 1500] {
        measure(switch, &pods, size);
    }
    misbehave(switch, &pods);
    let clean = verdict(switch, &pods, &mut listener);
    assert!(listener.quit(), "a pod did not end by itself");
    for Plugged { sandbox, config, .. } in plugged {
        node.del(&sandbox, IFNAME, &config);
    }
    let left = node.ports().len() + node.left_behind().len();
    println!("pods deleted: {left} ports, sockets and files of them are left");
    assert!(node.switch.terminate().success(), "podswitchd did not end by itself");
    clean && left == 0
}

/// The plugin and the pods' helper: the static ones where `make static` puts them, else those beside the daemon.
fn programs() -> Option<Programs> {
    let release = std::env::current_exe().ok()?.ancestors().nth(2)?.to_path_buf();
    let node = release.parent()?.join(format!("{}-unknown-linux-gnu/node", std::env::consts::ARCH));
    let all = [node, release].map(|directory: PathBuf| Programs {
        plugin: directory.join("cni-vhostuser"),
        port: directory.join("podswitch-port"),
    });
    all.into_iter().find(|programs| programs.plugin.is_file() && programs.port.is_file())
}

/// A pod that is plugged in.
struct Plugged {
    sandbox: Sandbox,
    config: Value,
    pod: Demonstrated,
}

/// What runs in it, and its port in the switch.
#[derive(Clone)]
struct Demonstrated {
    spec: PodSpec,
    port: String,
}

/// Makes the namespaces of a pod, calls the plugin for it, and prints what it answered.
fn plug(node: &Node, lab: &Lab, (number, name, network): (usize, &str, &str), cpu: u32) -> Plugged {
    let device = format!("n0-{number:04}");
    node.add_device(&device);
    let sandbox = Sandbox::new("demo", name);
    let last = number + 1;
    let mut config = node.config(network);
    config["deviceID"] = json!(device);
    config["mac"] = json!(format!("02:00:00:00:00:{last:02x}"));
    config["ips"] = json!([format!("10.0.0.{last}/24")]);
    config["allowedAddresses"] = json!([TESTPMD]);
    let result = node.add(&sandbox, IFNAME, &config);

    let container = Container::new(node, &sandbox, &[&device]);
    let helper = |format| container.ok(&["/run/podswitch/bin/podswitch-port", IFNAME, "--format", format]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mac = text(&result["interfaces"][0]["mac"]);
    println!(
        "{name:<9}{network:<9}{mac:<20}{:<14}{}",
        text(&result["ips"][0]["address"]),
        helper("path").trim()
    );
    let mut spec = PodSpec::new(lab, name, u8::try_from(last).unwrap(), Behind::Sink);
    spec.mac = mac;
    spec.within = container.words();
    // The length of its rings is the application's own choice.
    spec.told = vec![format!("{},queue_size={RING}", helper("testpmd").trim())];
    spec.directory = node.scratch(name);
    spec.cpus = vec![cpu];
    spec.ring = RING;
    // The listener polls too; it must not take a third of the CPU for it.
    spec.gives_way = true;
    let id = sandbox.container_id.as_str();
    let attachments = node.attachments();
    let mine =
        attachments.iter().find(|it| it.pointer("/spec/key/container_id") == Some(&json!(id))).unwrap();
    Plugged { config, pod: Demonstrated { spec, port: text(&mine["port"]) }, sandbox }
}

/// Lets the first two pods send to each other for a while, and prints a row a pod.
fn measure(switch: &Switch, pods: &[Demonstrated], size: usize) {
    let mut senders: Vec<Pod> = pods[..2]
        .iter()
        .zip([&pods[1].spec.mac, &pods[0].spec.mac])
        .map(|(pod, peer)| {
            let mut spec = pod.spec.clone();
            spec.behind = Behind::Loop(peer.clone());
            spec.gives_way = false;
            Pod::launch(&spec)
        })
        .collect();
    senders.iter_mut().for_each(Pod::ready);
    pods.iter().for_each(|pod| switch.wait_running(&pod.port));
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
    for Demonstrated { spec, port } in pods {
        let (before, after) = (begin.port(port), end.port(port));
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
fn misbehave(switch: &Switch, pods: &[Demonstrated]) {
    let mut spec = pods[0].spec.clone();
    spec.behind = Behind::Captures;
    spec.gives_way = false;
    let mut sender = Pod::launch(&spec);
    sender.ready();
    switch.wait_running(&pods[0].port);
    let honest = Stream { destination: BROADCAST, ..Stream::between(1, 2) };
    let forged = Stream { source: mac(2), ..honest };
    sender.send(&[honest.frames(FEW, 100), forged.frames(FEW, 100)].concat());
    println!("pod-a sent {FEW} broadcasts, and {FEW} more with pod-b's MAC address as their source");
    switch.settle();
    assert!(sender.quit(), "a pod did not end by itself");
}

/// Says where frames were lost and what the third pod saw; false if the switch did not do its job.
fn verdict(switch: &Switch, pods: &[Demonstrated], listener: &mut Pod) -> bool {
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
    let taken: u64 = pods[..2].iter().map(|pod| find(&pod.port).rx_frames).sum();
    let delivered: u64 = pods[..2].iter().map(|pod| find(&pod.port).tx_frames).sum();
    let dropped = support::tally::dropped(&stats);
    let balanced = taken == delivered + dropped;
    println!(
        "{taken} frames taken, {delivered} delivered, {dropped} dropped by name: {}",
        if balanced { "every frame is accounted for" } else { "NOT every frame is accounted for" },
    );
    balanced && seen == 0 && delivered > 0
}
