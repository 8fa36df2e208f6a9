//! Frames that say whose they are, and frames that break a rule.

use std::net::{Ipv4Addr, Ipv6Addr};

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
/// For local experiments (IEEE 802): carries nothing that anyone parses.
pub const PLAIN: u16 = 0x88b5;

const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// Where [`Marks`] lie in a frame of [`Stream`].
const MARKS: usize = 42;
/// The shortest frame that holds them.
pub const SHORTEST: usize = 60;

/// 02:00:00:00:00:`number`, the address of pod `number`.
#[must_use]
pub fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, 0, number]
}

/// 10.0.0.`number`, the address of pod `number`.
#[must_use]
pub fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marks {
    pub tenant: u32,
    pub flow: u16,
    pub sequence: u32,
}

impl Marks {
    /// Reads them back from a frame of [`Stream`]; `None` for any other frame.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let bytes = frame.get(MARKS..MARKS + 12)?;
        if bytes[..2] != [0x5a, 0x77] {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let flow = u16::from_be_bytes(bytes[2..4].try_into().unwrap());
        Some(Self { tenant: word(4), flow, sequence: word(8) })
    }
}

/// IPv4 UDP from one pod to another.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub destination: Mac,
    pub source: Mac,
    pub source_ip: Ipv4Addr,
    pub destination_ip: Ipv4Addr,
    pub tenant: u32,
}

impl Stream {
    /// From pod `from` to pod `to`, marked with the sender's number.
    #[must_use]
    pub fn between(from: u8, to: u8) -> Self {
        Self {
            destination: mac(to),
            source: mac(from),
            source_ip: ip(from),
            destination_ip: ip(to),
            tenant: from.into(),
        }
    }

    /// One frame of `length` bytes.
    #[must_use]
    pub fn frame(&self, flow: u16, sequence: u32, length: usize) -> Vec<u8> {
        assert!(length >= SHORTEST);
        let udp_length = u16::try_from(length - 34).unwrap();
        let mut payload = Vec::with_capacity(length);
        for half in [10_000 + flow, 7, udp_length, 0] {
            payload.extend(half.to_be_bytes());
        }
        payload.extend([0x5a, 0x77]);
        payload.extend(flow.to_be_bytes());
        payload.extend(self.tenant.to_be_bytes());
        payload.extend(sequence.to_be_bytes());
        // Never the same byte twice in the same place of two neighbouring frames.
        payload.extend(
            (0..length - MARKS - 12).map(|at| (at as u32).wrapping_mul(31).wrapping_add(sequence) as u8),
        );
        ethernet(
            self.destination,
            self.source,
            IPV4,
            &ipv4(self.source_ip, self.destination_ip, UDP, &payload),
        )
    }

    /// `count` frames of `length` bytes, one flow.
    #[must_use]
    pub fn frames(&self, count: u32, length: usize) -> Vec<Vec<u8>> {
        (0..count).map(|sequence| self.frame(0, sequence, length)).collect()
    }
}

/// A frame of any type.
#[must_use]
pub fn ethernet(destination: Mac, source: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

/// An IPv4 packet.
#[must_use]
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], payload].concat()
}

/// An IPv6 packet.
#[must_use]
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 255];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// UDP over IPv6.
#[must_use]
pub fn udp6(destination: Mac, from: Mac, source: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut datagram = vec![0x27, 0x10, 0, 7, 0, 16, 0, 0];
    datagram.extend(*b"podmarks");
    let pseudo = [&source.octets()[..], &to.octets(), &[0, 0, 0, 16, 0, 0, 0, UDP]].concat();
    let sum = checksum(&[&pseudo, &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ethernet(destination, from, IPV6, &ipv6(source, to, UDP, &datagram))
}

/// An ARP request (1) or reply (2) with a sender of its own.
#[must_use]
pub fn arp(from: Mac, operation: u16, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend(sender.0);
    body.extend(sender.1.octets());
    body.extend([0; 6]);
    body.extend(target.octets());
    ethernet(BROADCAST, from, ARP, &body)
}

/// A neighbour solicitation (135) for `target`; `link` is its source link-layer option.
#[must_use]
pub fn solicitation(from: Mac, source: Ipv6Addr, target: Ipv6Addr, link: Option<Mac>) -> Vec<u8> {
    let option = link.map(|mac| (1, mac));
    neighbour(from, source, "ff02::1:ff00:1".parse().unwrap(), 135, 0, target, option)
}

/// A neighbour advertisement (136) of `target`; `link` is its target link-layer option.
#[must_use]
pub fn advertisement(from: Mac, source: Ipv6Addr, target: Ipv6Addr, link: Option<Mac>) -> Vec<u8> {
    let option = link.map(|mac| (2, mac));
    neighbour(from, source, "ff02::1".parse().unwrap(), 136, 0x20, target, option)
}

fn neighbour(
    from: Mac,
    source: Ipv6Addr,
    to: Ipv6Addr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    if let Some((number, mac)) = option {
        body.extend([number, 1]);
        body.extend(mac);
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let pseudo = [&source.octets()[..], &to.octets(), &length, &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo, &body]);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let last = to.octets();
    let group = [0x33, 0x33, last[12], last[13], last[14], last[15]];
    ethernet(group, from, IPV6, &ipv6(source, to, ICMPV6, &body))
}

/// The link-local address that belongs to a MAC (RFC 4291 appendix A).
#[must_use]
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |&low| u32::from(low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
