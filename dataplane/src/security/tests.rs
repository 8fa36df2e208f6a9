use super::*;
use proptest::prelude::*;

const ME: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn rules(ips: &[&str], allowed: &[&str]) -> Admission {
    Admission::new(&PortSettings {
        mac: Some(ME),
        ips: ips.iter().map(|i| i.parse().unwrap()).collect(),
        allow_source: allowed.iter().map(|a| a.parse().unwrap()).collect(),
        ..PortSettings::default()
    })
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFF; 6];
    frame.extend(ME.0);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(source: &str, dst: &str, proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0];
    p.extend((20 + payload.len() as u16).to_be_bytes());
    p.extend([0, 0, 0, 0, 64, proto, 0, 0]);
    p.extend(source.parse::<std::net::Ipv4Addr>().unwrap().octets());
    p.extend(dst.parse::<std::net::Ipv4Addr>().unwrap().octets());
    p.extend(payload);
    ethernet(0x0800, &p)
}

fn ipv6(source: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((payload.len() as u16).to_be_bytes());
    p.extend([next, 255]);
    p.extend(source.parse::<std::net::Ipv6Addr>().unwrap().octets());
    p.extend("ff02::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    p.extend(payload);
    ethernet(0x86DD, &p)
}

fn arp(sender: MacAddr, ip: [u8; 4]) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4, 0, 1];
    p.extend(sender.0);
    p.extend(ip);
    p.extend([0; 10]);
    ethernet(0x0806, &p)
}

fn nd(message: u8, target: &str, option: Option<(u8, MacAddr)>) -> Vec<u8> {
    let mut p = vec![message, 0, 0, 0, 0, 0, 0, 0];
    if message != 133 {
        p.extend(target.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    if let Some((kind, mac)) = option {
        p.extend([kind, 1]);
        p.extend(mac.0);
    }
    p
}

fn verdict(rules: &Admission, frame: &[u8]) -> Verdict {
    rules.check(&frame[..frame.len().min(512)], frame.len(), ME)
}

const IP: Verdict = Verdict::Drop(DropReason::IpSpoofed);
const ARP: Verdict = Verdict::Drop(DropReason::ArpSpoofed);
const ND: Verdict = Verdict::Drop(DropReason::NdSpoofed);

#[test]
fn sources_are_the_declared_addresses_alone() {
    let r = rules(&["10.0.0.5"], &["192.168.0.0/16"]);
    assert_eq!(verdict(&r, &ipv4("10.0.0.5", "10.0.0.9", 17, &[0; 8])), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv4("10.0.0.6", "10.0.0.9", 17, &[0; 8])), IP);
    assert_eq!(verdict(&r, &ipv4("192.168.7.7", "10.0.0.9", 17, &[0; 8])), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv6("2001:db8::1", 17, &[0; 8])), IP, "no IPv6 address was declared");
    let any = rules(&[], &[]);
    assert!(!any.looks_into(0x0800));
    assert_eq!(verdict(&any, &ipv6("2001:db8::1", 17, &[0; 8])), Verdict::Pass);
}

#[test]
fn address_detection_and_link_local_pass() {
    let r = rules(&["10.0.0.5", "2001:db8::5"], &[]);
    let dhcp = [0, 68, 0, 67, 0, 8, 0, 0];
    assert_eq!(verdict(&r, &ipv4("0.0.0.0", "255.255.255.255", 17, &dhcp)), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv4("0.0.0.0", "10.0.0.1", 17, &dhcp)), IP);
    assert_eq!(verdict(&r, &ipv4("0.0.0.0", "255.255.255.255", 17, &[0, 67, 0, 68, 0, 8, 0, 0])), IP);
    assert_eq!(verdict(&r, &arp(ME, [0; 4])), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv6("::", 58, &nd(135, "2001:db8::5", None))), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv6("::", 17, &[0; 8])), IP);
    assert_eq!(verdict(&r, &ipv6("fe80::1234", 17, &[0; 8])), Verdict::Pass);
    assert_eq!(verdict(&r, &ipv6("fec0::1", 17, &[0; 8])), IP);
}

#[test]
fn arp_and_nd_speak_of_the_port_itself() {
    let r = rules(&["10.0.0.5", "2001:db8::5"], &[]);
    let any = rules(&[], &[]);
    assert_eq!(verdict(&r, &arp(ME, [10, 0, 0, 5])), Verdict::Pass);
    assert_eq!(verdict(&r, &arp(ME, [10, 0, 0, 6])), ARP);
    assert_eq!(verdict(&any, &arp(ME, [10, 0, 0, 6])), Verdict::Pass);
    assert_eq!(verdict(&any, &arp(OTHER, [10, 0, 0, 6])), ARP);
    for (message, option) in [(133, 1), (135, 1), (136, 2)] {
        let frame = |mac| ipv6("2001:db8::5", 58, &nd(message, "2001:db8::5", Some((option, mac))));
        assert_eq!(verdict(&r, &frame(ME)), Verdict::Pass, "{message}");
        assert_eq!(verdict(&r, &frame(OTHER)), ND, "{message}");
        assert_eq!(verdict(&any, &frame(OTHER)), ND, "{message}");
    }
    let advertises = |target| ipv6("2001:db8::5", 58, &nd(136, target, None));
    assert_eq!(verdict(&r, &advertises("2001:db8::6")), ND);
    assert_eq!(verdict(&r, &advertises("fe80::ff:fe00:1")), Verdict::Pass, "made of its own MAC");
    assert_eq!(verdict(&r, &advertises("fe80::ff:fe00:2")), ND, "made of a neighbour's");
    assert_eq!(
        verdict(&r, &ipv6("2001:db8::5", 58, &[134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ND
    );
}

#[test]
fn extension_headers_hide_nothing() {
    let r = rules(&["2001:db8::5"], &[]);
    let lie = nd(136, "2001:db8::6", None);
    let behind = |headers: &[u8], first| ipv6("2001:db8::5", first, &[headers, &lie].concat());
    assert_eq!(verdict(&r, &behind(&[58, 0, 1, 4, 0, 0, 0, 0], 0)), ND, "hop by hop");
    assert_eq!(verdict(&r, &behind(&[60, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 0], 43)), ND);
    let first_piece = [58, 0, 0, 1, 0, 0, 0, 1];
    assert_eq!(verdict(&r, &behind(&first_piece, 44)), ND, "in a fragment");
    let long: Vec<u8> = [58, 60].into_iter().chain([0; 490]).collect();
    let frame = behind(&long, 60);
    assert_eq!(r.check(&frame[..128], frame.len(), ME), Verdict::Deeper);
    assert_eq!(r.check(&frame[..512], frame.len(), ME), Verdict::Deeper);
}

#[test]
fn contradictions_are_malformed() {
    let r = rules(&["10.0.0.5"], &[]);
    let good = ipv4("10.0.0.5", "10.0.0.9", 17, &[0; 8]);
    for (at, value) in [(14, 0x44), (14, 0x55), (14, 0x4F), (17, 19), (16, 0xFF)] {
        let mut frame = good.clone();
        frame[at] = value;
        assert_eq!(verdict(&r, &frame), MALFORMED, "byte {at} = {value:#x}");
    }
    assert_eq!(verdict(&r, &good[..20]), MALFORMED);
    let mut zero_option = nd(135, "2001:db8::5", None);
    zero_option.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verdict(&rules(&[], &[]), &ipv6("fe80::1", 58, &zero_option)), MALFORMED);
    assert_eq!(verdict(&r, &ethernet(0x0806, &[0, 1, 8, 0, 6, 4])), MALFORMED);
    assert_eq!(verdict(&r, &ethernet(0x8100, &[0; 40])), Verdict::Drop(DropReason::VlanTagged));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(kind in prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x86DD)],
                              payload in proptest::collection::vec(any::<u8>(), 0..600), shown in 14usize..620) {
        let r = rules(&["10.0.0.5", "2001:db8::5"], &["::/1"]);
        let frame = ethernet(kind, &payload);
        let _ = r.check(&frame[..shown.min(frame.len())], frame.len(), ME);
    }
}
