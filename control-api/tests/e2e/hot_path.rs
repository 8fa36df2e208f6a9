//! A worker that moves frames makes no system call and no page fault. (That it allocates nothing is counted in the
//! dataplane's own tests.)

use proto::v1::WorkerStatsResponse;

use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::wait;
use crate::support::watch::{Trace, page_faults, threads};

const FRAMES: u64 = 1_000_000;

fn frames(switch: &Switch) -> u64 {
    let workers: WorkerStatsResponse = switch.cli().get(&["worker", "list"]);
    workers.workers.iter().map(|worker| worker.frames).sum()
}

#[test]
fn a_million_frames_without_a_system_call_or_a_page_fault() {
    let Some(lab) = Lab::open() else { return };
    let mut setup = Setup::new(&lab, 1);
    setup.busy = true;
    let switch = Switch::start(&lab, setup);
    switch.cli().ok(&["network", "add", "net"]);
    // A closed loop with enough in flight for a whole time slice of each pod.
    let mut pods = Vec::new();
    for (name, number, peer) in [("a", 1, "02:00:00:00:00:02"), ("b", 2, "02:00:00:00:00:01")] {
        let mut spec = PodSpec::new(&lab, name, number, Behind::Loop(peer.into()));
        spec.ring = 4096;
        spec.cpus = vec![lab.cpu(1)];
        switch.plug(&spec, "net", &["--mac", &spec.mac]);
        pods.push(Pod::launch(&spec));
    }
    pods.iter_mut().for_each(Pod::ready);
    switch.wait_running("a");
    switch.wait_running("b");
    pods[1].start();
    pods[0].begin_loop(64);
    wait::until("the frames to circulate", || (frames(&switch) > 100_000).then_some(()));

    let workers = threads(switch.pid(), "worker-");
    assert_eq!(workers.len(), 1, "{:?}", threads(switch.pid(), ""));
    let thread = workers[0].0;
    let faults = page_faults(switch.pid(), thread);
    let trace = Trace::attach(thread, &lab.path("worker.strace"));
    let begin = frames(&switch);
    wait::until("a million frames", || (frames(&switch) >= begin + FRAMES).then_some(()));
    let calls = trace.finish();
    assert_eq!(calls, Vec::<String>::new(), "system calls of the worker");
    assert_eq!(page_faults(switch.pid(), thread), faults, "page faults of the worker (minor, major)");
}
