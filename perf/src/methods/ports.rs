//! What more ports and longer ways cost: 2 to 256 ports on one worker, and chains of pods.
//!
//! **Ports.** A worker that finds a full burst at each visit spends its time on frames; one that finds few spends it on
//! visits. To compare numbers of ports the fill must be equal: each port has exactly [`FILL`] frames under way, and
//! the generator sends the next [`FILL`] when all of them have come. The figure is busy cycles a frame, which leaves
//! out the time in which the switch waits for the generator.
//!
//! **Chains.** Frames pass the switch `n` times, from pod to pod; each pod between sends on what it receives.

use std::time::Duration;

use super::MethodError;
use super::bed::{Bed, BedPlan, PairTables, mac};
use super::saturation::{Saturation, saturation};
use crate::clock::{Clock, ticks};
use crate::load::Load;
use crate::peers::{Cpus, Peer, Switch, Work};
use crate::pod::Pod;
use crate::traffic::Size;

/// Frames under way from each port, and at each visit.
pub const FILL: u16 = 32;

/// Numbers of ports to measure.
pub const PORTS: [usize; 7] = [2, 4, 8, 16, 64, 128, 256];

/// Entries of a pod's rings: the same for every number of ports, and few, so that 256 pods find hugepages.
const RING: u16 = 256;

/// Longest frame of the pods here.
const LONGEST: u16 = 1518;

/// Where the ports of a measurement are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Two in each network.
    Pairs,
    /// All in one.
    OneNetwork,
}

/// One number of ports: 64-byte frames both ways in pairs at equal burst fill.
///
/// # Errors
/// Whatever keeps the switch or the pods from running.
pub fn ports(
    peer: &dyn Peer,
    count: usize,
    spread: Spread,
    window: Duration,
    cpus: &Cpus,
) -> Result<Saturation, MethodError> {
    let plan = BedPlan::pairs(count).small(RING, LONGEST);
    let plan = if spread == Spread::OneNetwork { plan.in_one_network() } else { plan };
    let mut bed = Bed::open(peer, &plan, cpus)?;
    let tables = PairTables::new(count, Size::Fixed(64))?;
    let load = Load { burst: FILL, in_flight: Some(u32::from(FILL)), window, ..tables.load() };
    let round = saturation(&mut *bed.switch, &mut bed.pods, &load);
    bed.switch.stop();
    round
}

/// One length of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chain {
    /// Times that each frame passes the switch.
    pub hops: usize,
    /// Million frames per second that arrive at the end.
    pub mfps: f64,
    /// Busy cycles of the switch for each frame and pass.
    pub cycles: Option<f64>,
    /// Frames that did not arrive.
    pub lost: u64,
}

/// Frames under way in a chain, everywhere together: no ring can run over.
const UNDER_WAY: u64 = 512;

/// A chain of `hops` passes over as many pairs of ports, each in a network of its own.
///
/// # Errors
/// Whatever keeps the switch or the pods from running; [`MethodError::Silent`] if nothing arrives.
pub fn chain(peer: &dyn Peer, hops: usize, window: Duration, cpus: &Cpus) -> Result<Chain, MethodError> {
    let plan = BedPlan { ring: 1024, ..BedPlan::pairs(2 * hops).small(1024, LONGEST) };
    let mut bed = Bed::open(peer, &plan, cpus)?;
    let chain = walk(&mut *bed.switch, &mut bed.pods, hops, window);
    bed.switch.stop();
    chain
}

fn walk(
    switch: &mut dyn Switch,
    pods: &mut [Pod],
    hops: usize,
    window: Duration,
) -> Result<Chain, MethodError> {
    let clock = Clock::calibrated();
    let heads: Vec<[u8; 64]> = (0..hops).map(head).collect();
    let mut walk = Walk { heads, sent: 0, arrived: 0 };
    // A switch that learns hears each receiver once.
    for hop in 0..hops {
        let back = reversed(&walk.heads[hop]);
        send(&mut pods[2 * hop + 1], &back, 1);
    }
    let until = |time: Duration| ticks() + clock.in_ticks(time);
    let end = until(Duration::from_millis(50));
    while ticks() < end {
        for pod in pods.iter_mut() {
            receive(pod);
        }
    }
    let end = until(Duration::from_millis(100));
    while ticks() < end {
        walk.turn(pods, true);
    }
    let (work, begin, arrived) = (switch.work(), ticks(), walk.arrived);
    let end = until(window);
    while ticks() < end {
        walk.turn(pods, true);
    }
    let (seconds, arrived) = (clock.seconds(ticks() - begin), walk.arrived - arrived);
    let work = switch.work().zip(work).map(|(after, before)| after.since(before));
    let end = until(Duration::from_millis(200));
    while ticks() < end && walk.arrived < walk.sent {
        walk.turn(pods, false);
    }
    if arrived == 0 {
        return Err(MethodError::Silent { what: "chain", seconds });
    }
    Ok(Chain {
        hops,
        mfps: arrived as f64 / seconds / 1e6,
        cycles: work.and_then(Work::cycles_a_frame),
        lost: walk.sent.saturating_sub(walk.arrived),
    })
}

struct Walk {
    heads: Vec<[u8; 64]>,
    sent: u64,
    arrived: u64,
}

impl Walk {
    /// What has come at each hop goes on; the first hop is filled up if `more` is to be sent.
    fn turn(&mut self, pods: &mut [Pod], more: bool) {
        for hop in 0..self.heads.len() {
            let count = receive(&mut pods[2 * hop + 1]);
            match self.heads.get(hop + 1) {
                Some(_) if count == 0 => {}
                Some(head) => {
                    send(&mut pods[2 * hop + 2], head, count);
                }
                None => self.arrived += u64::from(count),
            }
        }
        if more && self.sent + u64::from(FILL) <= self.arrived + UNDER_WAY {
            self.sent += u64::from(send(&mut pods[0], &self.heads[0], FILL));
        }
    }
}

fn receive(pod: &mut Pod) -> u16 {
    pod.queues().map_or(0, |queues| queues.receive.receive_burst::<false, _>(FILL, |_| {}))
}

fn send(pod: &mut Pod, head: &[u8; 64], count: u16) -> u16 {
    let fill = |slot: &mut vhost::driver::poll::Slot<'_>| {
        slot.head(head);
        64
    };
    pod.queues().map_or(0, |queues| queues.send.send_burst(count, fill))
}

/// A frame of 64 bytes of hop `hop`, from its sending port to its receiving one.
fn head(hop: usize) -> [u8; 64] {
    let mut head = [0; 64];
    head[..6].copy_from_slice(&mac(2 * hop + 1).0);
    head[6..12].copy_from_slice(&mac(2 * hop).0);
    // EtherType for local experiments.
    head[12..14].copy_from_slice(&[0x88, 0xb5]);
    head
}

fn reversed(head: &[u8; 64]) -> [u8; 64] {
    let mut back = *head;
    back[..6].copy_from_slice(&head[6..12]);
    back[6..12].copy_from_slice(&head[..6]);
    back
}
