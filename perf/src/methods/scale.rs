//! What many flows and many addresses cost.
//!
//! The same stream layout for every count, from port 0 (trusted, so that it may send from any address) to port 1
//! (secured): only the table of heads differs, which has one length for every count.

use std::time::Duration;

use super::MethodError;
use super::bed::{BedPlan, mac};
use super::saturation::{Saturation, saturation};
use crate::load::{Load, Stream};
use crate::peers::Switch;
use crate::pod::Pod;
use crate::traffic::{HeadTable, Mac, Macs, Size, TrafficSpec};

/// Numbers of flows to measure.
pub const FLOWS: [u32; 6] = [1, 10, 100, 10_000, 100_000, 1_000_000];

/// Numbers of MAC addresses to measure, the receiver's included.
pub const MACS: [u32; 5] = [2, 100, 1_000, 10_000, 100_000];

/// What podswitch's configuration must say for [`MACS`] addresses behind one port.
pub const ROOM_FOR_MACS: &str = "[network]\nmac_table_size = 131072\nmac_quota = 131072\n";

/// The first of the addresses behind the trusted port.
const FIRST: Mac = Mac([2, 0, 1, 0, 0, 0]);

/// What is sent from the trusted port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// UDP flows.
    pub flows: u32,
    /// MAC addresses, the receiver's included: at least 2.
    pub macs: u32,
}

impl Crowd {
    /// Hardly anybody.
    pub const ONE: Self = Self { flows: 1, macs: 2 };
    /// As many as there ever are: 100,000 sources.
    pub const MANY: Self = Self { flows: 1_000_000, macs: 100_001 };
}

/// The ports of these measurements: two in one network, the first trusted.
#[must_use]
pub fn plan() -> BedPlan {
    BedPlan { trusted: |port| port == 0, ..BedPlan::pairs(2) }
}

/// The table for a crowd, in random order, with frames of `size`.
///
/// # Errors
/// If there is no memory.
pub fn heads(crowd: Crowd, size: Size) -> Result<HeadTable, MethodError> {
    let spec = TrafficSpec {
        size,
        flows: crowd.flows,
        sources: Macs { first: FIRST, count: crowd.macs.saturating_sub(1).max(1) },
        shuffled: true,
        ..TrafficSpec::new(FIRST, mac(1))
    };
    Ok(HeadTable::new(&spec)?)
}

/// A closed loop from the trusted port to the secured one.
///
/// # Errors
/// [`MethodError::Silent`] if no frame came through.
pub fn crowd(
    switch: &mut dyn Switch,
    pods: &mut [Pod],
    heads: &HeadTable,
    window: Duration,
) -> Result<Saturation, MethodError> {
    let stream = Stream { from: 0, to: 1, heads, spec: heads.spec() };
    // Every address is learned, and every line of the table was touched, before it counts.
    let load = Load { warm_up: Duration::from_millis(400), window, ..Load::new(vec![stream]) };
    saturation(switch, pods, &load)
}
