//! Changing the switch costs nobody else a frame.

use proto::v1::WorkerStatsResponse;

use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::{tally, wait};

/// Frames that circulate: far fewer than the 1,024 buffers of a receive ring.
const IN_FLIGHT: u64 = 256;
const ROUNDS: usize = 20;

/// Two pods that send each other the same frames for ever. If one is lost, it is missing at the end.
struct Circle {
    a: Pod,
    b: Pod,
}

impl Circle {
    fn start(lab: &Lab, switch: &Switch) -> Self {
        let a = PodSpec::new(lab, "a", 1, Behind::Loop("02:00:00:00:00:02".into()));
        let b = PodSpec::new(lab, "b", 2, Behind::Loop("02:00:00:00:00:01".into()));
        for spec in [&a, &b] {
            switch.plug(spec, "net", &["--mac", &spec.mac]);
        }
        let mut circle = Self { a: Pod::launch(&a), b: Pod::launch(&b) };
        circle.a.ready();
        circle.b.ready();
        switch.wait_running("a");
        switch.wait_running("b");
        circle.b.start();
        circle.a.begin_loop(u32::try_from(IN_FLIGHT / 32).unwrap());
        circle
    }

    /// Stops both and counts: everything that was sent was taken and delivered, and all frames are still there.
    fn finish(mut self, switch: &Switch) {
        let moving = switch.stats("a").rx_frames;
        wait::until("the frames to circulate still", || {
            (switch.stats("a").rx_frames > moving + 1_000).then_some(())
        });
        self.a.stop();
        self.b.stop();
        switch.settle();
        let (a, b) = (switch.stats("a"), switch.stats("b"));
        let (pod_a, pod_b) = (self.a.stats(0), self.b.stats(0));
        assert_eq!((a.dropped, b.dropped), (0, 0), "{a:?} {b:?}");
        assert_eq!((pod_a.tx, a.rx_frames), (a.rx_frames, b.tx_frames), "from a to b: {pod_a:?} {a:?} {b:?}");
        assert_eq!((pod_b.tx, b.rx_frames), (b.rx_frames, a.tx_frames), "from b to a: {pod_b:?} {a:?} {b:?}");
        let waiting = (a.tx_frames - pod_a.rx) + (b.tx_frames - pod_b.rx);
        assert_eq!(waiting, IN_FLIGHT, "frames left in the circle");
        eprintln!("{} frames went round, none was lost", a.rx_frames + b.rx_frames);
    }
}

fn churn(workers: usize) {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, workers));
    let cli = switch.cli();
    cli.ok(&["network", "add", "net"]);
    let circle = Circle::start(&lab, &switch);

    let c = PodSpec::new(&lab, "c", 3, Behind::Sink);
    for round in 0..ROUNDS {
        let network = if round % 2 == 0 { "net" } else { "other" };
        cli.ok(&["network", "add", "other"]);
        switch.plug(&c, network, &["--mac", &c.mac]);
        let mut pod = Pod::launch(&c);
        pod.ready();
        switch.wait_running("c");
        cli.ok(&["port", "set", "c", "--ip", "10.0.0.3/24"]);
        cli.ok(&["port", "set", "c", "--mtu", "1400"]);
        cli.ok(&["port", "set", "c", "--trusted", "on"]);
        cli.ok(&["port", "set", "c", "--admin", "down"]);
        cli.ok(&["port", "set", "c", "--admin", "up"]);
        // Also a port that takes part changes in place.
        cli.ok(&["port", "set", "a", "--mtu", if round % 2 == 0 { "9000" } else { "1500" }]);
        if round % 3 == 0 {
            pod.kill();
        } else if round % 3 == 1 {
            assert!(pod.quit());
        }
        cli.ok(&["port", "del", "c"]);
        cli.ok(&["network", "del", "other"]);
        // Nobody looks after the socket of an application whose port is gone.
        let _ = std::fs::remove_file(&c.socket);
    }
    circle.finish(&switch);
}

#[test]
fn ports_come_change_and_go_with_one_worker() {
    churn(1);
}

#[test]
fn ports_come_change_and_go_with_two_workers() {
    churn(2);
}

#[test]
fn a_port_moves_between_workers_and_loses_nothing() {
    let Some(lab) = Lab::open() else { return };
    if lab.cpus() < 2 {
        eprintln!("NOT TESTED: moving a port needs two CPUs");
        return;
    }
    let switch = Switch::start(&lab, Setup::new(&lab, 2));
    switch.cli().ok(&["network", "add", "net"]);
    let circle = Circle::start(&lab, &switch);
    for round in 0..ROUNDS {
        let cpu = lab.cpu(round).to_string();
        switch.cli().ok(&["port", "set", "a", "--workers", &cpu]);
        wait::until("the queue to have moved", || {
            (switch.port("a").status?.queues[0].worker_cpu.to_string() == cpu).then_some(())
        });
        let workers: WorkerStatsResponse = switch.cli().get(&["worker", "list"]);
        assert_eq!(workers.workers.iter().map(|worker| worker.queues.len()).sum::<usize>(), 2, "{workers:?}");
    }
    switch.cli().ok(&["port", "set", "a", "--workers", "auto"]);
    circle.finish(&switch);
    assert_eq!(tally::dropped(&switch.all_stats()), 0);
}
