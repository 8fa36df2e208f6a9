//! Neighbour discovery: solicitations and advertisements speak of the port itself (RFC 4861 §4).

use super::{Check, Look, MALFORMED, Verdict};
use crate::drops::DropReason;

const SPOOFED: Verdict = Verdict::Drop(DropReason::NdSpoofed);

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

impl Look<'_> {
    /// Checks the ICMPv6 message at `at`, whose packet ends at `end`.
    pub(super) fn neighbour(&self, at: usize, end: usize, fragment: bool) -> Check {
        let message = self.byte(at)?;
        if !(ROUTER_SOLICITATION..=REDIRECT).contains(&message) {
            return Ok(());
        }
        if fragment {
            // Receivers must ignore these (RFC 6980 §5), and what later pieces hold was not seen.
            return Err(SPOOFED);
        }
        match message {
            ROUTER_SOLICITATION => self.options(at + 8, end, SOURCE_LINK_LAYER),
            NEIGHBOUR_SOLICITATION => self.options(at + 24, end, SOURCE_LINK_LAYER),
            NEIGHBOUR_ADVERTISEMENT => {
                self.own_target(at + 8)?;
                self.options(at + 24, end, TARGET_LINK_LAYER)
            }
            // A port with declared addresses is a host, not a router.
            ROUTER_ADVERTISEMENT | REDIRECT if self.sources.is_some() => Err(SPOOFED),
            ROUTER_ADVERTISEMENT => self.options(at + 16, end, SOURCE_LINK_LAYER),
            _ => Ok(()),
        }
    }

    /// The target of an advertisement is an address of the port: declared, or the link-local one that its MAC makes.
    fn own_target(&self, at: usize) -> Check {
        let target = self.be128(at)?;
        match self.sources {
            Some(sources) if !sources.v6(target) && target != self.link_local() => Err(SPOOFED),
            _ => Ok(()),
        }
    }

    /// fe80::/64 with the modified EUI-64 of the port's MAC (RFC 4291 §2.5.1).
    fn link_local(&self) -> u128 {
        let m = self.mac.0;
        u128::from_be_bytes([
            0xFE,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            m[0] ^ 2,
            m[1],
            m[2],
            0xFF,
            0xFE,
            m[3],
            m[4],
            m[5],
        ])
    }

    /// Every option of kind `kind` holds the port's own MAC.
    fn options(&self, mut at: usize, end: usize, kind: u8) -> Check {
        while at < end {
            let [option, units] = self.bytes(at)?;
            let length = 8 * usize::from(units);
            if length == 0 || at + length > end {
                return Err(MALFORMED);
            }
            if option == kind {
                self.own_mac(at + 2, DropReason::NdSpoofed)?;
            }
            at += length;
        }
        Ok(())
    }
}
