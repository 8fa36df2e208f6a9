//! Port security: who a port may say it is.
//!
//! MAC addresses are checked by the pipeline for every frame. Beside that an untrusted port may not lie about
//! itself in ARP and neighbour discovery, and one with declared addresses sends from those alone. Checks read the
//! private head only. A header that is needed and not in the head is asked for ([`Verdict::Deeper`]), never guessed.

mod arp;
mod ip;
mod nd;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::drops::DropReason;
use crate::ids::MacAddr;
use crate::spec::PortSettings;

/// EtherTypes that are looked into.
mod kind {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const RARP: u16 = 0x8035;
    pub(super) const IPV6: u16 = 0x86DD;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const QINQ: u16 = 0x88A8;
    pub(super) const QINQ_OLD: u16 = 0x9100;
    /// A length, not a type: never looked into.
    pub(super) const NONE: u16 = 0;
}

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// Which source MAC addresses a port may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacRule {
    /// This one alone (as a word).
    Own(u64),
    /// The first one that it uses.
    Adopt,
    /// Any; they are learned.
    Any,
}

/// What a port may send.
#[derive(Debug)]
pub(crate) struct Admission {
    pub mac: MacRule,
    /// Addresses it may send from; `None`: any.
    sources: Option<Box<Sources>>,
}

/// The addresses a port may send from, as prefixes.
#[derive(Debug, Default)]
struct Sources {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may pass.
    Pass,
    /// It may not.
    Drop(DropReason),
    /// A header that is needed lies beyond the head.
    Deeper,
}

/// A check that goes on only while nothing is wrong.
type Check<T = ()> = Result<T, Verdict>;

const MALFORMED: Verdict = Verdict::Drop(DropReason::MalformedIp);

impl Sources {
    fn v4(&self, source: u32) -> bool {
        self.v4.iter().any(|(net, mask)| source & mask == *net)
    }

    fn v6(&self, source: u128) -> bool {
        self.v6.iter().any(|(net, mask)| source & mask == *net)
    }
}

impl Admission {
    /// The rules that a port's settings make.
    pub(crate) fn new(settings: &PortSettings) -> Self {
        let mac = match settings.mac {
            _ if settings.trusted => MacRule::Any,
            Some(mac) => MacRule::Own(mac.to_word()),
            None => MacRule::Adopt,
        };
        let open = settings.ips.is_empty() && settings.allow_source.is_empty();
        let limited = !(settings.trusted || open);
        let mut sources = Sources::default();
        let own = settings.ips.iter().map(|ip| IpNet::from(*ip));
        for net in own.chain(settings.allow_source.iter().copied()) {
            match (net.network(), net.netmask()) {
                (IpAddr::V4(a), IpAddr::V4(m)) => sources.v4.push((a.to_bits(), m.to_bits())),
                (IpAddr::V6(a), IpAddr::V6(m)) => sources.v6.push((a.to_bits(), m.to_bits())),
                _ => {}
            }
        }
        Self { mac, sources: limited.then(|| Box::new(sources)) }
    }

    /// The EtherType that most frames have, if it needs no look beyond the Ethernet header; else one that none does.
    #[inline(always)]
    pub(crate) fn common(&self) -> u16 {
        if self.sources.is_none() { kind::IPV4 } else { kind::NONE }
    }

    /// Whether a frame of this EtherType needs a look beyond the Ethernet header.
    #[inline(always)]
    pub(crate) fn looks_into(&self, ethertype: u16) -> bool {
        match ethertype {
            kind::IPV4 => self.sources.is_some(),
            kind::ARP | kind::RARP | kind::IPV6 | kind::VLAN | kind::QINQ | kind::QINQ_OLD => true,
            _ => false,
        }
    }

    /// Checks what a frame says about its sender. `head` begins with the Ethernet header, whose source is `mac`
    /// and was checked; the frame has `len` bytes.
    #[cold]
    pub(crate) fn check(&self, head: &[u8], len: usize, mac: MacAddr) -> Verdict {
        let look = Look { head, len: len.max(head.len()), mac, sources: self.sources.as_deref() };
        let Some(ethertype) = head.get(12..14) else { return MALFORMED };
        let outcome = match u16::from_be_bytes([ethertype[0], ethertype[1]]) {
            kind::IPV4 => look.ipv4(),
            kind::ARP | kind::RARP => look.arp(),
            kind::IPV6 => look.ipv6(),
            kind::VLAN | kind::QINQ | kind::QINQ_OLD => Err(Verdict::Drop(DropReason::VlanTagged)),
            _ => Ok(()),
        };
        outcome.err().unwrap_or(Verdict::Pass)
    }
}

/// A frame being looked at.
struct Look<'a> {
    head: &'a [u8],
    len: usize,
    mac: MacAddr,
    sources: Option<&'a Sources>,
}

impl Look<'_> {
    /// `N` bytes at `at`; the frame must be long enough.
    fn bytes<const N: usize>(&self, at: usize) -> Check<[u8; N]> {
        let end = at + N;
        match self.head.get(at..end) {
            Some(bytes) => Ok(bytes.try_into().expect("the slice has N bytes")),
            None if end > self.len => Err(MALFORMED),
            None => Err(Verdict::Deeper),
        }
    }

    fn byte(&self, at: usize) -> Check<u8> {
        Ok(self.bytes::<1>(at)?[0])
    }

    fn be16(&self, at: usize) -> Check<u16> {
        Ok(u16::from_be_bytes(self.bytes(at)?))
    }

    fn be32(&self, at: usize) -> Check<u32> {
        Ok(u32::from_be_bytes(self.bytes(at)?))
    }

    fn be128(&self, at: usize) -> Check<u128> {
        Ok(u128::from_be_bytes(self.bytes(at)?))
    }

    /// The MAC address at `at` must be the port's own.
    fn own_mac(&self, at: usize, otherwise: DropReason) -> Check {
        if self.bytes::<6>(at)? == self.mac.0 { Ok(()) } else { Err(Verdict::Drop(otherwise)) }
    }
}

#[cfg(test)]
mod tests;
