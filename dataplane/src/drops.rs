//! The list of drop reasons: counters, metric labels, command-line columns and docs/drops.md come from it.

macro_rules! drop_reasons {
    ($($variant:ident, $name:literal, $text:literal;)*) => {
        /// Why a frame was not delivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the text beside each name is its documentation")]
        pub enum DropReason { $($variant,)* }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// The name that counters, labels and the command line use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// What it means and what to do about it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(DropReason::$variant => $text,)* }
            }
        }
    };
}

drop_reasons! {
    // Charged to the port that sent the frame.
    Runt, "runt", "shorter than an Ethernet header (14 bytes)";
    TooLong, "too_long", "longer than the port's MTU allows: raise --mtu or lower it in the application";
    HeadersTooDeep, "headers_too_deep", "a header that is needed for the decision lies beyond the first 512 bytes";
    SourceMacInvalid, "source_mac_invalid", "the source MAC is a group address or zero";
    MacSpoofed, "mac_spoofed", "the source MAC is not the port's own: declare it with --mac or make the port --trusted";
    MacInUse, "mac_in_use", "the source MAC belongs to another port of the network";
    MacTableFull, "mac_table_full", "the port has used up its share of the network's MAC table";
    IpSpoofed, "ip_spoofed", "the source address is not among the port's --ip and --allow-source";
    ArpSpoofed, "arp_spoofed", "the ARP sender's MAC or address is not the port's own";
    NdSpoofed, "nd_spoofed", "the neighbour discovery sender's MAC or address is not the port's own";
    MalformedIp, "malformed_ip", "the IPv4, IPv6, ARP or ND header contradicts the frame's length or itself";
    VlanTagged, "vlan_tagged", "tagged frames are taken from trusted ports only";
    ReservedMulticast, "reserved_multicast", "pause, LACP, LLDP and STP frames (01:80:c2:00:00:0x) are not forwarded";
    AdminDown, "admin_down", "the port is administratively down";
    QueueDisabled, "queue_disabled", "the guest sent on a queue that it has disabled";
    NoDestination, "no_destination", "nobody else is in the network";
    Hairpin, "hairpin", "the destination is the port that the frame came from";
    BadChain, "bad_chain", "a descriptor chain held no frame, or more pieces than a frame may have";
    // Charged to the port that should have received it.
    ReceiverDown, "receiver_down", "the receiving port is not running";
    ReceiverAdminDown, "receiver_admin_down", "the receiving port is administratively down";
    RxRingFull, "rx_ring_full", "the receiver does not give buffers back fast enough";
    RxRingBusy, "rx_ring_busy", "other workers held the receiver's ring twice in one turn";
    RxBufferTooSmall, "rx_buffer_too_small", "the receiver's buffers are too small for the frame and cannot be merged";
    ReceiverFaulted, "receiver_faulted", "the receiver's memory or ring failed while the frame was written";
    ReceiverMtu, "receiver_mtu", "the frame is longer than the receiving port's MTU";
    FloodBacklog, "flood_backlog", "too many frames for many receivers were waiting";
    TxQueueFull, "tx_queue_full", "the device does not send fast enough";
    NoMbuf, "no_mbuf", "DPDK's packet memory is exhausted: raise dpdk.memory";
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drops.md")).unwrap();
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert!(DropReason::ALL[..i].iter().all(|r| r.name() != reason.name()), "{reason} twice");
            let row = format!("| `{}` | {} |", reason.name(), reason.text());
            assert!(page.contains(&row), "docs/drops.md lacks the row {row}");
        }
    }
}
