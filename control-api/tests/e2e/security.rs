//! Port security: what a pod may say about who it is. Each frame that must pass arrives, each other one is counted
//! under the reason that the table names.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::support::frame::{
    self, BROADCAST, IPV4, IPV6, Mac, PLAIN, Stream, advertisement, arp, ethernet, ip, ipv4, ipv6,
    link_local, mac, solicitation, udp6,
};
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::switch::{Setup, Switch};
use crate::support::{tally, wait};

/// A frame, and the reason under which it must be dropped; "" if it must pass.
type Case = (&'static str, Vec<u8>, &'static str);

struct Pair {
    switch: Switch,
    from: Pod,
    to: Pod,
}

impl Pair {
    /// Pod a with these words of `port add`, and pod b that receives.
    fn new(lab: &Lab, words: &[&str]) -> Self {
        let switch = Switch::start(lab, Setup::new(lab, 1));
        switch.cli().ok(&["network", "add", "net"]);
        let (a, b) =
            (PodSpec::new(lab, "a", 1, Behind::Captures), PodSpec::new(lab, "b", 2, Behind::Captures));
        switch.plug(&a, "net", words);
        switch.plug(&b, "net", &["--mac", &b.mac]);
        let (mut from, mut to) = (Pod::launch(&a), Pod::launch(&b));
        from.ready();
        to.ready();
        switch.wait_running("a");
        switch.wait_running("b");
        Self { switch, from, to }
    }

    /// Sends every case in turn and compares with what the table says.
    fn check(&mut self, cases: &[Case]) {
        let before = (self.to.received().len(), reasons(&self.switch));
        let frames: Vec<Vec<u8>> = cases.iter().map(|case| case.1.clone()).collect();
        self.from.send(&frames);
        self.switch.settle();
        let delivered = self.switch.stats("b").tx_frames;
        wait::until("the receiver to read its ring", || (self.to.stats(0).rx >= delivered).then_some(()));
        let received = self.to.received().split_off(before.0);
        for (name, frame, reason) in cases {
            assert_eq!(received.contains(frame), reason.is_empty(), "{name}: {:?}", reasons(&self.switch));
        }
        let mut expected = before.1;
        for (_, _, reason) in cases.iter().filter(|case| !case.2.is_empty()) {
            *expected.entry((*reason).to_owned()).or_default() += 1;
        }
        assert_eq!(reasons(&self.switch), expected);
        assert_eq!(received.len(), cases.iter().filter(|case| case.2.is_empty()).count());
    }
}

fn reasons(switch: &Switch) -> BTreeMap<String, u64> {
    let drops = switch.drops().into_iter().filter(|drop| drop.2 > 0);
    drops
        .map(|(port, reason, frames)| {
            (if port == "a" { reason } else { format!("{port}: {reason}") }, frames)
        })
        .collect()
}

fn own6() -> Ipv6Addr {
    "fd00::1".parse().unwrap()
}

fn other6() -> Ipv6Addr {
    "fd00::2".parse().unwrap()
}

fn from_ip(address: std::net::Ipv4Addr) -> Vec<u8> {
    Stream { source_ip: address, ..Stream::between(1, 2) }.frame(0, u32::from(address), 100)
}

#[test]
fn declared_addresses_only() {
    let Some(lab) = Lab::open() else { return };
    let mut pair = Pair::new(
        &lab,
        &[
            "--mac",
            "02:00:00:00:00:01",
            "--ip",
            "10.0.0.1/24",
            "--ip",
            "fd00::1/64",
            "--allow-source",
            "192.0.2.0/24",
        ],
    );
    let wrong_mac = Stream { source: mac(9), ..Stream::between(1, 2) };
    let plain =
        |destination: Mac, source: Mac, text: &str| ethernet(destination, source, PLAIN, text.as_bytes());
    pair.check(&[
        ("its own address", from_ip(ip(1)), ""),
        ("an address in --allow-source", from_ip([192, 0, 2, 77].into()), ""),
        ("a neighbour in the prefix of --ip", from_ip(ip(2)), "ip_spoofed"),
        ("an address of nobody", from_ip([203, 0, 113, 5].into()), "ip_spoofed"),
        ("neither IP nor ARP", plain(mac(2), mac(1), "plain"), ""),
        ("another MAC", wrong_mac.frame(0, 0, 100), "mac_spoofed"),
        ("the receiver's MAC", plain(mac(2), mac(2), "yours"), "mac_spoofed"),
        ("a group MAC as source", plain(mac(2), [3, 0, 0, 0, 0, 1], "group"), "source_mac_invalid"),
        ("a zero MAC as source", plain(mac(2), [0; 6], "zero"), "source_mac_invalid"),
    ]);
    let other = mac(9);
    pair.check(&[
        ("ARP request", arp(mac(1), 1, (mac(1), ip(1)), ip(2)), ""),
        ("ARP reply", arp(mac(1), 2, (mac(1), ip(1)), ip(2)), ""),
        ("ARP probe from 0.0.0.0", arp(mac(1), 1, (mac(1), [0; 4].into()), ip(1)), ""),
        ("ARP for an allowed source", arp(mac(1), 2, (mac(1), [192, 0, 2, 8].into()), ip(2)), ""),
        ("ARP with another's address", arp(mac(1), 2, (mac(1), ip(2)), ip(3)), "arp_spoofed"),
        ("ARP with another's MAC", arp(mac(1), 2, (other, ip(1)), ip(3)), "arp_spoofed"),
    ]);
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let advertises = |target| advertisement(mac(1), target, target, Some(mac(1)));
    pair.check(&[
        ("its own IPv6 address", udp6(mac(2), mac(1), own6(), other6()), ""),
        ("its link-local address", udp6(mac(2), mac(1), link_local(mac(1)), other6()), ""),
        ("another IPv6 address", udp6(mac(2), mac(1), other6(), own6()), "ip_spoofed"),
        (
            "a link-local address not made of its MAC",
            udp6(mac(2), mac(1), "fe80::1234".parse().unwrap(), other6()),
            "",
        ),
        ("address detection", solicitation(mac(1), unspecified, own6(), None), ""),
        ("solicitation", solicitation(mac(1), own6(), other6(), Some(mac(1))), ""),
        (
            "solicitation from link-local",
            solicitation(mac(1), link_local(mac(1)), other6(), Some(mac(1))),
            "",
        ),
        ("advertisement", advertisement(mac(1), own6(), own6(), Some(mac(1))), ""),
        ("advertisement of its link-local address", advertises(link_local(mac(1))), ""),
        ("advertisement of another's link-local address", advertises(link_local(mac(2))), "nd_spoofed"),
        (
            "solicitation with another's MAC",
            solicitation(mac(1), own6(), other6(), Some(other)),
            "nd_spoofed",
        ),
        (
            "advertisement of another's address",
            advertisement(mac(1), own6(), other6(), Some(mac(1))),
            "nd_spoofed",
        ),
        (
            "advertisement with another's MAC",
            advertisement(mac(1), own6(), own6(), Some(other)),
            "nd_spoofed",
        ),
    ]);
}

#[test]
fn frames_that_contradict_themselves() {
    let Some(lab) = Lab::open() else { return };
    let mut pair = Pair::new(&lab, &["--mac", "02:00:00:00:00:01", "--ip", "10.0.0.1/24"]);
    let good = ipv4(ip(1), ip(2), 17, &[0, 1, 0, 1, 0, 8, 0, 0]);
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        ethernet(mac(2), mac(1), IPV4, &packet)
    };
    let mut tagged = vec![0, 5];
    tagged.extend([8, 0]);
    tagged.extend(&good);
    let lldp: Mac = [1, 0x80, 0xc2, 0, 0, 0x0e];
    let pause: Mac = [1, 0x80, 0xc2, 0, 0, 1];
    let short6 = ipv6("fe80::ff:fe00:1".parse().unwrap(), "ff02::1".parse().unwrap(), 59, &[]);
    let mut long6 = short6.clone();
    long6[4..6].copy_from_slice(&1000_u16.to_be_bytes());
    pair.check(&[
        ("a sound packet", with(8, 63), ""),
        ("a header shorter than a header", with(0, 0x44), "malformed_ip"),
        ("a header longer than the frame", with(0, 0x4f), "malformed_ip"),
        ("a total length beyond the frame", with(2, 2), "malformed_ip"),
        ("a total length shorter than the header", with(3, 19), "malformed_ip"),
        ("version 6 in an IPv4 frame", with(0, 0x65), "malformed_ip"),
        ("a sound IPv6 packet", ethernet(mac(2), mac(1), IPV6, &short6), ""),
        ("an IPv6 payload beyond the frame", ethernet(mac(2), mac(1), IPV6, &long6), "malformed_ip"),
        (
            "an ARP that is cut",
            ethernet(mac(2), mac(1), frame::ARP, &[0, 1, 8, 0, 6])[..40].to_vec(),
            "malformed_ip",
        ),
        ("a tagged frame", ethernet(mac(2), mac(1), 0x8100, &tagged), "vlan_tagged"),
        ("LLDP", ethernet(lldp, mac(1), 0x88cc, &[0]), "reserved_multicast"),
        ("pause", ethernet(pause, mac(1), 0x8808, &[0, 1]), "reserved_multicast"),
    ]);
}

#[test]
fn an_undeclared_port_keeps_its_first_address_until_its_link_drops() {
    let Some(lab) = Lab::open() else { return };
    let mut pair = Pair::new(&lab, &[]);
    let from = |n: u8, text: &str| ethernet(BROADCAST, mac(n), PLAIN, text.as_bytes());
    assert_eq!(pair.switch.port("a").status.unwrap().mac_source, "none");
    pair.check(&[
        ("the first address", from(7, "first"), ""),
        (
            "any IP address, since none is declared",
            Stream { source: mac(7), ..Stream::between(1, 2) }.frame(0, 0, 99),
            "",
        ),
        ("a second address", from(8, "second"), "mac_spoofed"),
        ("the first again", from(7, "again"), ""),
    ]);
    let status = pair.switch.port("a").status.unwrap();
    assert_eq!((status.mac.as_str(), status.mac_source.as_str()), ("02:00:00:00:00:07", "adopted"));

    let spec = pair.from.spec.clone();
    pair.from.kill();
    wait::until("the port to notice", || {
        (pair.switch.port("a").status.unwrap().mac_source == "none").then_some(())
    });
    pair.from = Pod::launch(&spec);
    pair.from.ready();
    pair.switch.wait_running("a");
    pair.check(&[
        ("another first address", from(8, "new first"), ""),
        ("the old one", from(7, "old"), "mac_spoofed"),
    ]);
}

#[test]
fn settings_change_in_place() {
    let Some(lab) = Lab::open() else { return };
    let mut pair = Pair::new(&lab, &["--mac", "02:00:00:00:00:01", "--ip", "10.0.0.1/24"]);
    let connections = pair.switch.port("a").status.unwrap().connections;
    let stream = Stream::between(1, 2);
    let long = |sequence| stream.frame(0, sequence, 1_400);
    pair.check(&[("long", long(1), "")]);

    pair.switch.cli().ok(&["port", "set", "a", "--mtu", "1000"]);
    let fits = stream.frame(0, 2, 1_014);
    pair.check(&[("too long", long(3), "too_long"), ("as long as it may be", fits, "")]);

    pair.switch.cli().ok(&["port", "set", "a", "--mtu", "9000", "--admin", "down"]);
    pair.check(&[("down", long(4), "admin_down")]);
    pair.switch.cli().ok(&["port", "set", "a", "--admin", "up", "--ip", "10.0.0.9/32"]);
    pair.check(&[
        ("the old address", long(5), "ip_spoofed"),
        ("the new address", Stream { source_ip: ip(9), ..stream }.frame(0, 6, 100), ""),
    ]);

    pair.switch.cli().ok(&["port", "set", "a", "--trusted", "on"]);
    pair.check(&[("trusted", Stream { source: mac(0x55), ..stream }.frame(0, 7, 100), "")]);
    pair.switch.cli().ok(&["port", "set", "a", "--trusted", "off", "--mac", "02:00:00:00:00:0a"]);
    pair.check(&[
        ("the old MAC", Stream { source_ip: ip(9), ..stream }.frame(0, 8, 100), "mac_spoofed"),
        ("the new MAC", Stream { source: mac(10), source_ip: ip(9), ..stream }.frame(0, 9, 100), ""),
    ]);

    pair.switch.cli().ok(&["port", "set", "b", "--mtu", "500"]);
    let before = tally::reason(&pair.switch.stats("b"), "receiver_mtu");
    pair.from.send(&[Stream { source: mac(10), source_ip: ip(9), ..stream }.frame(0, 10, 1_400)]);
    wait::until("the receiver's MTU to be heeded", || {
        (tally::reason(&pair.switch.stats("b"), "receiver_mtu") == before + 1).then_some(())
    });
    assert_eq!(
        pair.switch.port("a").status.unwrap().connections,
        connections,
        "a change reconnected the port"
    );
}
