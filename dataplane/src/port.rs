//! The part of a port that workers and control threads share for as long as it exists.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use vhost::ring::DeviceRing;

use crate::counters::PortTallies;
use crate::dpdk;
use crate::ids::MacAddr;
use crate::outlet::Outlet;

/// What frames to a port are written to.
#[derive(Debug)]
pub(crate) enum Exit {
    /// A ring on which a guest receives.
    Guest(DeviceRing),
    /// A transmit queue of a DPDK device.
    Device(dpdk::TxQueue),
}

/// Shared state of a port.
#[derive(Debug)]
pub(crate) struct PortShared {
    /// One for each queue pair.
    pub outlets: Box<[Outlet<Exit>]>,
    /// A bit for each open outlet. Written by control threads.
    pub open: AtomicU32,
    pub tallies: PortTallies,
    /// The MAC that a port without a declared one has adopted, as a word; 0: none. Set by workers, cleared by
    /// control threads when the link drops.
    adopted: AtomicU64,
    /// Entries of the ring behind each outlet, for reports.
    tx_sizes: Box<[AtomicU32]>,
    /// NUMA node of the guest's rings, plus one; 0: not known. Written when a ring starts.
    node: AtomicU32,
}

impl PortShared {
    pub(crate) fn new(pairs: u16, workers: usize, shared: bool) -> Self {
        Self {
            outlets: (0..pairs).map(|_| Outlet::new(shared)).collect(),
            open: AtomicU32::new(0),
            tallies: PortTallies::new(workers, pairs.into()),
            adopted: AtomicU64::new(0),
            tx_sizes: (0..pairs).map(|_| AtomicU32::new(0)).collect(),
            node: AtomicU32::new(0),
        }
    }

    /// Puts an exit in place for queue pair `pair`.
    pub(crate) fn open(&self, pair: u16, exit: Exit) {
        self.outlets[usize::from(pair)].open(exit);
        self.open.fetch_or(1 << pair, Ordering::Release);
    }

    /// Keeps workers away from queue pair `pair` from now on.
    pub(crate) fn close(&self, pair: u16) {
        self.open.fetch_and(!(1 << pair), Ordering::Release);
        self.outlets[usize::from(pair)].close();
    }

    /// NUMA node of the guest's memory, if a ring has run and the kernel said.
    pub(crate) fn node(&self) -> Option<u32> {
        self.node.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes the NUMA node of the guest's memory.
    pub(crate) fn set_node(&self, node: Option<u32>) {
        self.node.store(node.map_or(0, |n| n + 1), Ordering::Relaxed);
    }

    /// Entries of the ring behind the outlet of `pair`; 0: none is there.
    pub(crate) fn tx_size(&self, pair: usize) -> u32 {
        if self.outlets[pair].is_open() { self.tx_sizes[pair].load(Ordering::Relaxed) } else { 0 }
    }

    /// Notes the entries of the ring that is put behind the outlet of `pair`.
    pub(crate) fn set_tx_size(&self, pair: u16, entries: u32) {
        self.tx_sizes[usize::from(pair)].store(entries, Ordering::Relaxed);
    }

    /// The adopted MAC as a word; 0: none.
    #[inline(always)]
    pub(crate) fn adopted(&self) -> u64 {
        self.adopted.load(Ordering::Acquire)
    }

    /// Adopts `mac` unless another worker has adopted one; returns the one in force.
    pub(crate) fn adopt(&self, mac: u64) -> u64 {
        match self.adopted.compare_exchange(0, mac, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mac,
            Err(other) => other,
        }
    }

    /// Gives the adopted MAC up; returns it.
    pub(crate) fn disown(&self) -> Option<MacAddr> {
        match self.adopted.swap(0, Ordering::AcqRel) {
            0 => None,
            mac => Some(MacAddr::from_word(mac)),
        }
    }

    /// Private bytes that it occupies.
    pub(crate) fn memory(&self) -> u64 {
        size_of::<Self>() as u64 + size_of_val(&*self.outlets) as u64 + self.tallies.memory()
    }
}
