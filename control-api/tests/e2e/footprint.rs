//! Small: what an empty switch and an idle port cost, and how soon the switch answers.

use std::time::Duration;

use proto::v1::{Memory, NodeStatus};

use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};

const MEGABYTE: u64 = 1 << 20;

fn status(switch: &Switch) -> NodeStatus {
    switch.cli().get(&["status"])
}

fn ours(memory: &Memory) -> u64 {
    memory.private_bytes + memory.hugepage_bytes
}

fn empty_switch(no_huge: bool) {
    let Some(lab) = Lab::open() else { return };
    let mut setup = Setup::new(&lab, 1);
    setup.no_huge = no_huge;
    let mut best = Duration::MAX;
    let mut switch = Switch::start(&lab, setup);
    // The machine is shared: what it can do is the best of a few.
    for _ in 0..5 {
        let node = status(&switch);
        assert_eq!(node.hugepages, !no_huge);
        best = best.min(Duration::from_secs_f64(node.start_seconds));
        assert!(
            node.start_seconds <= switch.started_in.as_secs_f64(),
            "{} s is not what we saw",
            node.start_seconds
        );
        switch.terminate();
        switch.start_again();
    }
    let memory = status(&switch).memory.unwrap();
    eprintln!(
        "hugepages {}: started in {best:?}, {} MB are ours: {memory:?}",
        !no_huge,
        ours(&memory) / MEGABYTE
    );
    assert!(best < Duration::from_secs(1), "{best:?}");
    assert!(ours(&memory) < 128 * MEGABYTE, "{memory:?}");
    assert_eq!(memory.tenant_bytes, 0);
}

#[test]
fn an_empty_switch_with_hugepages() {
    empty_switch(false);
}

#[test]
fn an_empty_switch_without_hugepages() {
    empty_switch(true);
}

#[test]
fn an_idle_port() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let before = ours(&status(&switch).memory.unwrap());
    let spec = PodSpec::new(&lab, "a", 1, Behind::Sink);
    switch.plug(&spec, "net", &[]);
    for n in 0..9 {
        let path = lab.path(&format!("idle{n}.sock")).display().to_string();
        switch.cli().ok(&["port", "add", &format!("idle{n}"), "--network", "net", "--vhost-user", &path]);
    }
    let mut pod = Pod::launch(&spec);
    pod.ready();
    switch.wait_running("a");
    let memory = status(&switch).memory.unwrap();
    let each = ours(&memory).saturating_sub(before) / 10;
    eprintln!(
        "an idle port costs {} KB; its tenant shares {} MB",
        each / 1024,
        memory.tenant_bytes / MEGABYTE
    );
    assert!(each < 10 * MEGABYTE);
    assert!(memory.tenant_bytes > 0, "what the tenant shares is listed apart");
    let port = switch.port("a").status.unwrap();
    assert!(port.switch_memory < 10 * MEGABYTE, "{port:?}");
    assert_eq!(port.guest_memory, memory.tenant_bytes);
}
