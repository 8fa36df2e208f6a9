//! A restart of the switch leaves pods running: ports, networks and addresses come back by themselves.

use proto::v1::{NetworkListResponse, PortListResponse, PortSpec as Wanted};

use crate::support::frame::Stream;
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::wait;

/// Everything that was asked for: networks and ports.
fn desired(switch: &Switch) -> (Vec<String>, Vec<Wanted>) {
    let networks: NetworkListResponse = switch.cli().get(&["network", "list"]);
    let ports: PortListResponse = switch.cli().get(&["port", "list"]);
    let names = networks.networks.into_iter().map(|network| network.spec.unwrap().name).collect();
    (names, ports.ports.into_iter().map(|port| port.spec.unwrap()).collect())
}

/// Sends from a to b and expects every frame.
fn passes(switch: &Switch, a: &mut Pod, b: &mut Pod, round: u32) {
    switch.wait_running("a");
    switch.wait_running("b");
    let before = b.received().len();
    let stream = Stream { tenant: round, ..Stream::between(1, 2) };
    let sent = stream.frames(200, 300);
    a.send(&sent);
    let received = wait::until("the frames to arrive", || {
        let mut all = b.received();
        (all.len() >= before + sent.len()).then(|| all.split_off(before))
    });
    assert_eq!(received, sent);
}

fn two_pods(lab: &Lab, switch: &Switch) -> (Pod, Pod) {
    let a = PodSpec::new(lab, "a", 1, Behind::Captures);
    let b = PodSpec::new(lab, "b", 2, Behind::Captures);
    let addresses = ["--ip", "10.0.0.1/24", "--allow-source", "192.0.2.0/24", "--mtu", "1500"];
    switch.plug(&a, "net", &[&["--mac", a.mac.as_str()], &addresses[..]].concat());
    switch.plug(&b, "net", &["--mac", &b.mac]);
    let (mut a, mut b) = (Pod::launch(&a), Pod::launch(&b));
    a.ready();
    b.ready();
    (a, b)
}

#[test]
fn sigterm_brings_everything_back() {
    let Some(lab) = Lab::open() else { return };
    let mut switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    switch.cli().ok(&["network", "add", "empty"]);
    let (mut a, mut b) = two_pods(&lab, &switch);
    passes(&switch, &mut a, &mut b, 1);
    let before = desired(&switch);
    for round in 2..5 {
        let status = switch.terminate();
        assert!(status.success(), "SIGTERM is a clean end: {status}");
        assert!(!switch.api().exists(), "the API's socket is gone");
        switch.start_again();
        assert_eq!(desired(&switch), before);
        passes(&switch, &mut a, &mut b, round);
    }
    assert!(a.alive() && b.alive());
}

#[test]
fn sigkill_right_after_an_acknowledged_change() {
    let Some(lab) = Lab::open() else { return };
    let mut switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let (mut a, mut b) = two_pods(&lab, &switch);
    passes(&switch, &mut a, &mut b, 1);
    let changes: [&[&str]; 5] = [
        &[
            "port",
            "add",
            "c",
            "--network",
            "net",
            "--vhost-user",
            "/tmp/psw-nobody.sock",
            "--mac",
            "02:00:00:00:00:0c",
        ],
        &["port", "set", "c", "--mac", "02:00:00:00:00:0d", "--ip", "10.0.0.3/24"],
        &["network", "add", "second"],
        &["port", "del", "c"],
        &["network", "del", "second"],
    ];
    for (round, change) in (2..).zip(changes) {
        switch.cli().ok(change);
        switch.kill();
        switch.start_again();
        let (networks, ports) = desired(&switch);
        let c = ports.iter().find(|port| port.name == "c");
        match round {
            2 => assert_eq!(c.unwrap().mac, "02:00:00:00:00:0c"),
            3 => {
                assert_eq!(c.unwrap().mac, "02:00:00:00:00:0d");
                assert_eq!(c.unwrap().ips, ["10.0.0.3/24"]);
            }
            4 => assert_eq!(networks, ["net", "second"]),
            5 => assert!(c.is_none()),
            _ => assert_eq!(networks, ["net"]),
        }
        passes(&switch, &mut a, &mut b, round);
    }
    assert!(a.alive() && b.alive());
}
