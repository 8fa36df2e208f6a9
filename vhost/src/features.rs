//! Feature bits of virtio-net and of vhost-user, and their names.

bitflags::bitflags! {
    /// virtio feature bits (virtio 1.2 §5.1.3 and §6), and vhost's own bits 26 and 30.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Features: u64 {
        /// The device's MTU is told (`NET_SET_MTU`).
        const MTU = 1 << 3;
        /// Buffers can be merged: a frame may take several chains.
        const MRG_RXBUF = 1 << 15;
        /// There is a control queue (never reaches the back end; needed beside MQ).
        const CTRL_VQ = 1 << 17;
        /// The guest can announce itself.
        const GUEST_ANNOUNCE = 1 << 21;
        /// Several queue pairs.
        const MQ = 1 << 22;
        /// Dirty pages can be logged (migration).
        const LOG_ALL = 1 << 26;
        /// Any layout of header and data in a chain (legacy word; implied by VERSION_1).
        const ANY_LAYOUT = 1 << 27;
        /// Descriptor tables in buffers.
        const INDIRECT_DESC = 1 << 28;
        /// Notification by index instead of by flag.
        const EVENT_IDX = 1 << 29;
        /// vhost-user protocol features follow.
        const PROTOCOL_FEATURES = 1 << 30;
        /// virtio 1.0 or newer.
        const VERSION_1 = 1 << 32;
        /// Packed rings.
        const RING_PACKED = 1 << 34;
        /// Buffers are used in the order in which they were made available.
        const IN_ORDER = 1 << 35;
    }

    /// vhost-user protocol feature bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct ProtocolFeatures: u64 {
        /// Several queue pairs.
        const MQ = 1 << 0;
        /// `SEND_RARP`.
        const RARP = 1 << 2;
        /// Replies on request.
        const REPLY_ACK = 1 << 3;
        /// `NET_SET_MTU`.
        const NET_MTU = 1 << 4;
        /// `RESET_DEVICE`.
        const RESET_DEVICE = 1 << 13;
        /// `GET_MAX_MEM_SLOTS`, `ADD_MEM_REG`, `REM_MEM_REG`.
        const CONFIGURE_MEM_SLOTS = 1 << 15;
        /// `SET_STATUS`, `GET_STATUS`.
        const STATUS = 1 << 16;
    }
}

impl Features {
    /// What the device offers unless told otherwise.
    pub const OFFERED: Features = Features::MTU
        .union(Features::MRG_RXBUF)
        .union(Features::CTRL_VQ)
        .union(Features::GUEST_ANNOUNCE)
        .union(Features::MQ)
        .union(Features::ANY_LAYOUT)
        .union(Features::INDIRECT_DESC)
        .union(Features::PROTOCOL_FEATURES)
        .union(Features::VERSION_1)
        .union(Features::IN_ORDER);

    /// Those that an operator may switch off, port by port.
    pub const OPTIONAL: Features = Features::MTU
        .union(Features::MRG_RXBUF)
        .union(Features::GUEST_ANNOUNCE)
        .union(Features::MQ)
        .union(Features::INDIRECT_DESC)
        .union(Features::IN_ORDER);

    /// The bit of a lower-case name such as `mrg_rxbuf`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Features> {
        Self::all().iter_names().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, bit)| bit)
    }

    /// Lower-case names of the bits that are set.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        self.iter_names().map(|(n, _)| n.to_ascii_lowercase()).collect()
    }
}

impl ProtocolFeatures {
    /// What the device offers.
    pub const OFFERED: ProtocolFeatures = ProtocolFeatures::all();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, bit) in Features::all().iter_names() {
            assert_eq!(Features::by_name(&name.to_ascii_lowercase()), Some(bit));
        }
        assert_eq!(Features::by_name("no_such"), None);
    }
}
