//! Who sees a frame: nobody in another network, everybody while its destination is unknown, one once it is known.

use proto::v1::FdbResponse;

use crate::support::frame::{BROADCAST, IPV4, PLAIN, Stream, ethernet, ip, ipv4, mac};
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::{tally, wait};

fn fdb(switch: &Switch, network: &str) -> Vec<(String, String, String)> {
    let response: FdbResponse = switch.cli().get(&["fdb", "show", network]);
    response.entries.into_iter().map(|entry| (entry.mac, entry.port, entry.kind)).collect()
}

fn launch(switch: &Switch, specs: &[&PodSpec]) -> Vec<Pod> {
    let mut pods: Vec<Pod> = specs.iter().map(|spec| Pod::launch(spec)).collect();
    pods.iter_mut().for_each(Pod::ready);
    specs.iter().for_each(|spec| switch.wait_running(&spec.name));
    pods
}

/// Waits until the pod has received `count` frames (or more), and gives all of them.
fn received(pod: &mut Pod, count: usize) -> Vec<Vec<u8>> {
    wait::until("a pod to receive what is its own", || (pod.stats(0).rx >= count as u64).then_some(()));
    pod.received()
}

#[test]
fn a_network_sees_nothing_of_another() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    // The same two addresses in both networks.
    let (a, b) = (PodSpec::new(&lab, "a", 1, Behind::Captures), PodSpec::new(&lab, "b", 2, Behind::Captures));
    let (c, d) = (PodSpec::new(&lab, "c", 1, Behind::Captures), PodSpec::new(&lab, "d", 2, Behind::Captures));
    for (network, pods) in [("red", [&a, &b]), ("blue", [&c, &d])] {
        switch.cli().ok(&["network", "add", network]);
        pods.iter().for_each(|pod| switch.plug(pod, network, &["--mac", &pod.mac]));
    }
    let mut pods = launch(&switch, &[&a, &b, &c, &d]);

    let known = Stream::between(1, 2);
    let unknown = Stream { destination: mac(0x77), ..known };
    let all = Stream { destination: BROADCAST, ..known };
    let group = Stream { destination: [0x33, 0x33, 0, 0, 0, 1], ..known };
    let sent: Vec<Vec<u8>> =
        [known, unknown, all, group].iter().flat_map(|stream| stream.frames(50, 100)).collect();
    pods[0].send(&sent);
    assert_eq!(received(&mut pods[1], 200).len(), 200);
    switch.settle();
    assert_eq!(pods[2].received(), Vec::<Vec<u8>>::new(), "blue saw frames of red");
    assert_eq!(pods[3].received(), Vec::<Vec<u8>>::new(), "blue saw frames of red");
    for port in ["c", "d"] {
        assert_eq!(switch.stats(port).tx_frames, 0);
    }

    // And the other way round, with the same addresses.
    let sent = Stream { tenant: 9, ..known }.frames(50, 100);
    pods[2].send(&sent);
    assert_eq!(received(&mut pods[3], 50), sent);
    switch.settle();
    assert_eq!(pods[1].received().len(), 200, "red saw frames of blue");
    let ports = |network| fdb(&switch, network).into_iter().map(|entry| entry.1).collect::<Vec<_>>();
    assert_eq!((ports("red"), ports("blue")), (vec!["a".into(), "b".into()], vec!["c".into(), "d".into()]));
}

#[test]
fn unknown_unicast_floods_and_learned_does_not() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let specs = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| PodSpec::new(&lab, name, n, Behind::Captures));
    for spec in &specs {
        switch.plug(spec, "net", &[]);
    }
    let mut pods = launch(&switch, &[&specs[0], &specs[1], &specs[2]]);
    assert_eq!(fdb(&switch, "net"), vec![], "nobody has sent yet");

    let to_b = Stream::between(1, 2).frames(20, 100);
    pods[0].send(&to_b);
    assert_eq!(received(&mut pods[1], 20), to_b, "unknown: flooded");
    assert_eq!(received(&mut pods[2], 20), to_b, "unknown: flooded");

    pods[1].send(&Stream::between(2, 1).frames(5, 100));
    assert_eq!(received(&mut pods[0], 5).len(), 5);
    let entry = ("02:00:00:00:00:02".to_owned(), "b".to_owned(), "adopted".to_owned());
    wait::until("the address of b to be in the table", || fdb(&switch, "net").contains(&entry).then_some(()));
    assert_eq!(switch.port("b").status.unwrap().mac_source, "adopted");

    pods[0].send(&to_b);
    assert_eq!(received(&mut pods[1], 40).len(), 40);
    switch.settle();
    assert_eq!(pods[2].received().len(), 20, "known: to its port alone");

    // A frame to oneself goes nowhere, with a reason.
    pods[0].send(&Stream { destination: mac(1), ..Stream::between(1, 1) }.frames(3, 100));
    wait::until("the frames to be counted", || {
        (tally::reason(&switch.stats("a"), "hairpin") == 3).then_some(())
    });
}

#[test]
fn a_trusted_port_teaches_many_addresses_but_no_declared_one() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let a = PodSpec::new(&lab, "a", 1, Behind::Captures);
    let b = PodSpec::new(&lab, "b", 2, Behind::Captures);
    switch.plug(&a, "net", &["--trusted"]);
    switch.plug(&b, "net", &["--mac", &b.mac]);
    let mut pods = launch(&switch, &[&a, &b]);

    let mut sent: Vec<Vec<u8>> = (10..20).map(|n| ethernet(mac(2), mac(n), PLAIN, &[n])).collect();
    let udp = ipv4(ip(99), ip(2), 17, &[0, 1, 0, 1, 0, 8, 0, 0]);
    sent.push(ethernet(mac(2), mac(20), IPV4, &udp));
    let taken = ethernet(BROADCAST, mac(2), PLAIN, b"the address of b");
    pods[0].send(&[sent.clone(), vec![taken]].concat());
    assert_eq!(received(&mut pods[1], sent.len()), sent);
    let stats = switch.settle();
    assert_eq!(tally::reason(&stats[0], "mac_in_use"), 1, "{stats:?}");
    assert_eq!(tally::dropped(&stats), 1, "{stats:?}");

    let table = fdb(&switch, "net");
    let learned = table.iter().filter(|(_, port, kind)| port == "a" && kind == "learned").count();
    assert_eq!(learned, sent.len(), "{table:?}");
    assert!(table.contains(&("02:00:00:00:00:02".into(), "b".into(), "declared".into())), "{table:?}");
}
