//! IPv4 and IPv6: the source is allowed.

use super::{Check, ETHERNET, Look, MALFORMED, Verdict};
use crate::drops::DropReason;

const SPOOFED: Verdict = Verdict::Drop(DropReason::IpSpoofed);

/// Protocol and next-header numbers.
mod proto {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const UDP: u8 = 17;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION: u8 = 60;
}

/// Where the payload of an IPv6 packet begins.
struct Payload {
    proto: u8,
    at: usize,
    fragment: bool,
}

impl Look<'_> {
    pub(super) fn ipv4(&self) -> Check {
        let Some(sources) = self.sources else { return Ok(()) };
        let at = ETHERNET;
        let first = self.byte(at)?;
        let header = usize::from(first & 0x0F) * 4;
        let total = usize::from(self.be16(at + 2)?);
        if first >> 4 != 4 || header < 20 || total < header || at + total > self.len {
            return Err(MALFORMED);
        }
        let source = self.be32(at + 12)?;
        if sources.v4(source) || (source == 0 && self.asks_for_address(at, header)?) {
            return Ok(());
        }
        Err(SPOOFED)
    }

    /// A DHCP client without an address: 0.0.0.0 to broadcast, UDP 68 to 67 (RFC 2131 §4.1).
    fn asks_for_address(&self, at: usize, header: usize) -> Check<bool> {
        let whole = self.be16(at + 6)? & 0x3FFF == 0;
        Ok(whole
            && self.byte(at + 9)? == proto::UDP
            && self.be32(at + 16)? == u32::MAX
            && self.be32(at + header)? == 68 << 16 | 67)
    }

    pub(super) fn ipv6(&self) -> Check {
        let at = ETHERNET;
        let length = usize::from(self.be16(at + 4)?);
        if self.byte(at)? >> 4 != 6 || at + 40 + length > self.len {
            return Err(MALFORMED);
        }
        let source = self.be128(at + 8)?;
        let payload = self.payload(at)?;
        if let Some(sources) = self.sources
            && !sources.v6(source)
            && !is_link_local(source)
            && !(source == 0 && self.detects_address(&payload)?)
        {
            return Err(SPOOFED);
        }
        if payload.proto == proto::ICMPV6 {
            self.neighbour(payload.at, at + 40 + length, payload.fragment)?;
        }
        Ok(())
    }

    /// What goes out from `::` while an address is being detected (RFC 4862 §5.4): neighbour and router
    /// solicitations, and multicast listener reports.
    fn detects_address(&self, payload: &Payload) -> Check<bool> {
        Ok(payload.proto == proto::ICMPV6
            && !payload.fragment
            && matches!(self.byte(payload.at)?, 131 | 132 | 133 | 135 | 143))
    }

    /// Passes over extension headers (RFC 8200 §4) to what they carry.
    fn payload(&self, at: usize) -> Check<Payload> {
        let mut next = Payload { proto: self.byte(at + 6)?, at: at + 40, fragment: false };
        loop {
            let length = match next.proto {
                proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => {
                    8 + 8 * usize::from(self.byte(next.at + 1)?)
                }
                proto::AUTHENTICATION => 8 + 4 * usize::from(self.byte(next.at + 1)?),
                proto::FRAGMENT => {
                    // Not the first piece: what follows is no header.
                    if self.be16(next.at + 2)? & 0xFFF8 != 0 {
                        return Ok(Payload { proto: proto::FRAGMENT, ..next });
                    }
                    next.fragment = true;
                    8
                }
                _ => return Ok(next),
            };
            next = Payload { proto: self.byte(next.at)?, at: next.at + length, ..next };
        }
    }
}

/// fe80::/10. The Ethernet source has been checked to be the port's own.
fn is_link_local(address: u128) -> bool {
    address >> 118 == 0x3FA
}
