//! What a port reports about itself.

/// A port's counters since it was opened, as its driver keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DpdkStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, without preamble and check sequence.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames the device dropped because no receive descriptor was free: the worker came too late.
    pub missed: u64,
    /// Frames received in error.
    pub rx_errors: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Times no mbuf was free for a frame to receive.
    pub no_mbuf: u64,
}

/// State of a port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether frames can pass.
    pub up: bool,
    /// Speed, if the driver knows it.
    pub speed_mbps: Option<u32>,
    /// Full duplex.
    pub full_duplex: bool,
}
