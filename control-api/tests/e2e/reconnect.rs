//! An application that is killed and started again in the same directory has its link back at once.

use std::time::{Duration, Instant};

use crate::support::frame::Stream;
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Mode, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::wait;

const TIMES: u32 = 20;

fn killed_and_started_again(mode: Mode) {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let mut a = PodSpec::new(&lab, "a", 1, Behind::Captures);
    a.mode = mode;
    let b = PodSpec::new(&lab, "b", 2, Behind::Captures);
    switch.plug(&a, "net", &["--mac", &a.mac]);
    switch.plug(&b, "net", &["--mac", &b.mac]);
    let mut receiver = Pod::launch(&b);
    receiver.ready();
    let mut longest = Duration::ZERO;
    for time in 1..=TIMES {
        let begin = Instant::now();
        let mut pod = Pod::launch(&a);
        pod.ready();
        switch.wait_running("a");
        longest = longest.max(begin.elapsed());
        let sent = Stream { tenant: time, ..Stream::between(1, 2) }.frames(32, 200);
        pod.send(&sent);
        let so_far = 32 * time as usize;
        let received = wait::until("the frames to arrive", || {
            Some(receiver.received()).filter(|frames| frames.len() >= so_far)
        });
        assert_eq!(received[so_far - 32..], sent, "start {time}");
        pod.kill();
        wait::until("the port to notice", || {
            let status = switch.port("a").status?;
            status.queues.iter().all(|queue| !queue.rx_running && !queue.tx_running).then_some(())
        });
    }
    let status = switch.port("a").status.unwrap();
    assert!(status.connections >= TIMES.into(), "{status:?}");
    eprintln!("{mode:?}: {TIMES} of {TIMES}, the slowest in {longest:?}");
}

#[test]
fn in_server_mode() {
    killed_and_started_again(Mode::Server);
}

#[test]
fn in_client_mode() {
    killed_and_started_again(Mode::Client);
}

#[test]
fn a_port_is_deleted_while_its_pod_runs_and_added_again() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let a = PodSpec::new(&lab, "a", 1, Behind::Sink);
    switch.plug(&a, "net", &[]);
    let mut pod = Pod::launch(&a);
    pod.ready();
    for _ in 0..10 {
        switch.wait_running("a");
        // The pod says so a little after its rings run: its driver looks at its link from a thread of its own.
        wait::until("the pod to see its link up", || pod.link_up().then_some(()));
        switch.cli().ok(&["port", "del", "a"]);
        wait::until("the pod to see its link down", || (!pod.link_up()).then_some(()));
        switch.plug(&a, "net", &[]);
    }
    switch.wait_running("a");
    assert!(pod.quit());
}
