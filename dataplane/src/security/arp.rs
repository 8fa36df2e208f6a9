//! ARP and RARP: the sender is the port itself (RFC 826, RFC 903).

use super::{Check, ETHERNET, Look, MALFORMED, Verdict};
use crate::drops::DropReason;

impl Look<'_> {
    /// The sender's hardware address is the port's own; its protocol address is allowed, or 0.0.0.0, which
    /// address detection uses (RFC 5227 §2.1.1).
    pub(super) fn arp(&self) -> Check {
        let fixed: [u8; 6] = self.bytes(ETHERNET)?;
        if fixed != [0, 1, 8, 0, 6, 4] {
            return Err(MALFORMED);
        }
        // The whole packet must be there, so that no receiver reads a sender that was not looked at.
        self.bytes::<28>(ETHERNET)?;
        self.own_mac(ETHERNET + 8, DropReason::ArpSpoofed)?;
        let sender = self.be32(ETHERNET + 14)?;
        match self.sources {
            Some(sources) if sender != 0 && !sources.v4(sender) => Err(Verdict::Drop(DropReason::ArpSpoofed)),
            _ => Ok(()),
        }
    }
}
