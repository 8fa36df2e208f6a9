//! Device descriptions: DPDK's `name,key=value,…`, and what `net_af_packet` needs in them.
//!
//! `net_af_packet` keeps a ring of fixed slots that it shares with the kernel. A frame that does not fit its
//! slot is cut off by the kernel, and the driver does not tell: so slots are made large enough for the
//! interface's MTU unless the description says otherwise. (For the same reason segmentation and checksum
//! offloads of the interface's peer must be off.) The number of slots is kept such that a ring stays small.

use std::fmt::Write;

use super::DpdkError;

/// Slot overhead of the kernel's packet ring: `tpacket2_hdr`, `sockaddr_ll` and alignment before the frame,
/// and a VLAN tag that the driver puts back.
const SLOT_OVERHEAD: u32 = 66 + 4;
/// What the driver takes a slot's header to be when it compares slots with buffers.
const SLOT_HEADER: u32 = 32;
const ETHERNET_HEADER: u32 = 14;
/// Slots start at the driver's own default, and there are not more than its default.
const SLOT_MIN: u32 = 2048;
const SLOTS_MAX: u32 = 512;
const SLOTS_MIN: u32 = 64;
/// Kernel memory for one direction of one queue.
const RING_BYTES: u32 = 1 << 20;
/// Blocks are whole pages, and hold whole slots.
const PAGE: u32 = 4096;

/// Queue pairs that `net_af_packet` takes at most.
pub(super) const AF_PACKET_QUEUES_MAX: u16 = 16;

/// Largest MTU of `net_af_packet`: it receives a frame into one buffer, and a slot of 32,768 bytes is the
/// largest that fits one.
pub(super) const AF_PACKET_MTU_MAX: u16 = (32_768 - ETHERNET_HEADER - SLOT_OVERHEAD) as u16;

/// A device description, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Devargs {
    text: String,
    name_end: usize,
}

impl Devargs {
    pub(super) fn parse(text: &str) -> Result<Self, DpdkError> {
        let refuse = |reason| Err(DpdkError::Devargs { devargs: text.to_owned(), reason });
        let text_trimmed = text.trim();
        let name_end = text_trimmed.find(',').unwrap_or(text_trimmed.len());
        if name_end == 0 {
            return refuse("it has no name");
        }
        if text_trimmed.len() > 1024 {
            return refuse("it is longer than 1024 bytes");
        }
        if text_trimmed.contains(|c: char| c.is_control()) {
            return refuse("it contains a control character");
        }
        if text_trimmed[..name_end].contains(char::is_whitespace) {
            return refuse("its name contains a space");
        }
        Ok(Self { text: text_trimmed.to_owned(), name_end })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The device's name, without its bus.
    pub(super) fn name(&self) -> &str {
        let name = &self.text[..self.name_end];
        name.strip_prefix("pci:").or_else(|| name.strip_prefix("vdev:")).unwrap_or(name)
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.text[self.name_end..].split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    /// True for devices on the PCI bus.
    pub(super) fn is_pci(&self) -> bool {
        // 03:00.0 or 0000:03:00.0
        let name = self.name();
        let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        name.rsplit_once('.').is_some_and(|(front, function)| {
            hex(function) && matches!(front.split(':').count(), 2 | 3) && front.split(':').all(hex)
        })
    }

    pub(super) fn is_af_packet(&self) -> bool {
        // The driver's older name is an alias of it.
        self.name().starts_with("net_af_packet") || self.name().starts_with("eth_af_packet")
    }

    /// The interface whose link is the device's own, where the description names it.
    pub(super) fn own_interface(&self) -> Option<&str> {
        let on_one = self.is_af_packet() || self.name().starts_with("net_tap");
        on_one.then(|| self.value("iface")).flatten()
    }

    /// The interface that must exist before the device can.
    pub(super) fn needed_interface(&self) -> Option<&str> {
        let stands_on_one = self.is_af_packet() || self.name().starts_with("net_af_xdp");
        stands_on_one.then(|| self.value("iface")).flatten()
    }

    /// Adds what `net_af_packet` needs for `queue_pairs` and frames up to `mtu`, where not given already.
    pub(super) fn complete_af_packet(&mut self, queue_pairs: u16, mtu: u32) {
        if self.value("qpairs").is_none() {
            let _ = write!(self.text, ",qpairs={queue_pairs}");
        }
        if ["framesz", "blocksz", "framecnt"].iter().any(|key| self.value(key).is_some()) {
            return;
        }
        let slot = slot_bytes(mtu);
        let slots = (RING_BYTES / slot).clamp(SLOTS_MIN, SLOTS_MAX);
        let _ = write!(self.text, ",framesz={slot},blocksz={},framecnt={slots}", slot.max(PAGE));
    }

    /// Bytes of buffer that `net_af_packet` asks of an mbuf: it receives into one, whatever the frame.
    pub(super) fn af_packet_room(&self) -> u32 {
        let slot = self.value("framesz").and_then(|text| text.parse().ok()).unwrap_or(SLOT_MIN);
        slot.saturating_sub(SLOT_HEADER)
    }

    /// Queue pairs that the description itself names.
    pub(super) fn af_packet_queues(&self) -> Option<u16> {
        self.value("qpairs")?.parse().ok()
    }
}

/// A power of two, so that a block holds slots without a rest.
fn slot_bytes(mtu: u32) -> u32 {
    (mtu + ETHERNET_HEADER + SLOT_OVERHEAD).next_power_of_two().max(SLOT_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Devargs {
        Devargs::parse(text).unwrap()
    }

    #[test]
    fn names_and_values_are_found() {
        let device = parse("net_af_packet0,iface=veth0,qpairs=2");
        assert_eq!((device.name(), device.value("iface")), ("net_af_packet0", Some("veth0")));
        assert_eq!(device.value("face"), None, "a key is matched whole");
        assert_eq!(device.needed_interface(), Some("veth0"));
        let tap = parse("net_tap0,iface=tap7");
        assert_eq!(tap.needed_interface(), None, "a tap is made, not found");
        assert_eq!((tap.own_interface(), parse("net_null0,iface=a").own_interface()), (Some("tap7"), None));
    }

    #[test]
    fn pci_addresses_are_told_from_names() {
        for text in ["0000:03:00.0", "03:00.1", "pci:0000:03:00.0", "0000:af:1f.7,arg=1"] {
            assert!(parse(text).is_pci(), "{text}");
        }
        for text in ["net_null0", "net_ring.0", "a.b", "net_pcap0,rx_pcap=a:b.0", "::.0"] {
            assert!(!parse(text).is_pci(), "{text}");
        }
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for text in ["", ",iface=a", "net null", "net_null0\n", &"x".repeat(1025)] {
            // A line end at the end is trimmed, not refused.
            assert_eq!(Devargs::parse(text).is_err(), text != "net_null0\n", "{text:?}");
        }
        assert!(Devargs::parse("net_pcap0,rx_pcap=a\0b").is_err());
    }

    #[test]
    fn af_packet_slots_fit_the_mtu_and_given_keys_stand() {
        let completed = |text: &str, queues, mtu| {
            let mut device = parse(text);
            device.complete_af_packet(queues, mtu);
            device.text().to_owned()
        };
        assert_eq!(
            completed("net_af_packet0,iface=v", 2, 1500),
            "net_af_packet0,iface=v,qpairs=2,framesz=2048,blocksz=4096,framecnt=512"
        );
        assert_eq!(
            completed("net_af_packet0,iface=v", 1, 9000),
            "net_af_packet0,iface=v,qpairs=1,framesz=16384,blocksz=16384,framecnt=64"
        );
        assert_eq!(
            completed("net_af_packet0,iface=v,qpairs=4,framesz=4096", 2, 9000),
            "net_af_packet0,iface=v,qpairs=4,framesz=4096"
        );
        assert_eq!(slot_bytes(1964), 2048);
        assert_eq!(slot_bytes(1965), 4096);
    }
}
