//! Opening, looking at and closing a DPDK port.
//!
//! ```text
//! devargs ─▶ probe ─▶ sizes ─▶ pool ─▶ configure ─▶ queues ─▶ start ─▶ (open)
//!                                                                        │ last queue and port dropped
//!                        pool retires ◀─ remove ◀─ close ◀─ stop ◀───────┘
//! ```
//!
//! Everything from the probe on is undone in that order when a later step fails. Used by the control thread.

#![expect(unsafe_code, reason = "calls into DPDK's C interface")]

use std::ptr;
use std::sync::Arc;

use dpdk_sys as sys;

use super::devargs::{AF_PACKET_MTU_MAX, AF_PACKET_QUEUES_MAX, Devargs};
use super::device::Device;
use super::plan::Plan;
use super::probe::Probed;
use super::queue::{self, QueuePair};
use super::{DpdkError, DpdkStats, LinkState, interface, pool};
use crate::eal::Eal;

/// Most queue pairs of a port: more than there are workers.
const QUEUES_MAX: u16 = 256;

/// What a port is to be.
#[derive(Clone, Debug)]
pub struct DpdkPortConfig {
    /// Receive queues and as many transmit queues.
    pub queue_pairs: u16,
    /// Descriptors of a receive queue; brought into the device's range.
    pub rx_ring: u16,
    /// Descriptors of a transmit queue; brought into the device's range.
    pub tx_ring: u16,
    /// Largest IP packet; the device's own when not given. Frames may have 14 bytes and two VLAN tags more.
    pub mtu: Option<u16>,
    /// Mbufs in the port's pool; worked out from the rings when not given.
    pub pool_frames: Option<u32>,
}

impl Default for DpdkPortConfig {
    fn default() -> Self {
        Self { queue_pairs: 1, rx_ring: 512, tx_ring: 512, mtu: None, pool_frames: None }
    }
}

/// An open DPDK port.
#[derive(Debug)]
pub struct DpdkPort {
    device: Arc<Device>,
    queues: Vec<QueuePair>,
    mac: [u8; 6],
}

impl DpdkPort {
    /// Finds the device that `devargs` describes, sets it up and starts it. `name` is for the log.
    ///
    /// # Errors
    /// See [`DpdkError`]; nothing is left behind.
    pub fn open(eal: &Eal, name: &str, devargs: &str, config: &DpdkPortConfig) -> Result<Self, DpdkError> {
        let queues = config.queue_pairs.max(1);
        let mut devargs = Devargs::parse(devargs)?;
        if devargs.is_af_packet() {
            prepare_af_packet(&mut devargs, queues, config.mtu)?;
            // A device of this driver that is attached and never started leaves its sockets open: what can be
            // refused is refused before. Its plan does not depend on what the device reports.
            let plan = Plan::new(&devargs, &sys::shim_dev_info::default(), config, queues)?;
            pool::check(eal, plan.frames, plan.data_room)?;
        } else if let Some(interface) = devargs.needed_interface() {
            require_interface(&devargs, interface)?;
        }

        let probed = Probed::probe(&devargs)?;
        let info = probed.info(&devargs)?;
        let most = info.max_rx_queues.min(info.max_tx_queues).min(QUEUES_MAX);
        require_queues(&devargs, queues, most)?;
        let plan = Plan::new(&devargs, &info, config, queues)?;
        let device = Device::new(eal, name, &devargs, probed, &info, &plan)?;
        device.set_up(&info, &plan, config.mtu)?;
        let mac = device.mac()?;
        let device = Arc::new(device);
        let queues = (0..queues).map(|number| queue::pair(&device, number)).collect();
        tracing::info!(
            port = name,
            device = devargs.text(),
            driver = device.driver,
            frames = plan.frames,
            "DPDK port opened"
        );
        Ok(Self { device, queues, mac })
    }

    /// The port's queue pairs, in order. Once: later calls return none.
    pub fn take_queues(&mut self) -> Vec<QueuePair> {
        std::mem::take(&mut self.queues)
    }

    /// Stops the device and gives all of it back. Every queue has been dropped before, by whoever held it.
    ///
    /// # Errors
    /// [`DpdkError::QueuesHeld`] if not: then the device goes with the last of them.
    pub fn close(mut self) -> Result<(), DpdkError> {
        self.queues.clear();
        match Arc::try_unwrap(self.device) {
            Ok(device) => {
                drop(device);
                Ok(())
            }
            Err(shared) => Err(DpdkError::QueuesHeld { queues: Arc::strong_count(&shared) - 1 }),
        }
    }

    /// The device's address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Name of the driver, such as "net_af_packet".
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.device.driver
    }

    /// The device's DPDK name.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device.device
    }

    /// The device's NUMA node, where it has one.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.device.numa_node
    }

    /// Bytes of EAL's memory that the port's pool takes.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        self.device.pool().bytes()
    }

    /// Mbufs of the port's pool that are in use: in its rings, with workers, on their way out elsewhere.
    #[must_use]
    pub fn mbufs_in_use(&self) -> u32 {
        self.device.pool().in_use()
    }

    /// Largest IP packet that passes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        if let Some(mtu) = self.device.mtu_interface().and_then(interface::mtu) {
            return u16::try_from(mtu).unwrap_or(u16::MAX);
        }
        let mut mtu = 0;
        // SAFETY: the port exists.
        let done = unsafe { sys::rte_eth_dev_get_mtu(self.device.port(), &raw mut mtu) };
        if done == 0 { mtu } else { 0 }
    }

    /// Whether a frame to send may lie in several mbufs.
    #[must_use]
    pub fn multi_segs(&self) -> bool {
        self.device.multi_segs
    }

    /// The link, as the driver knows it without waiting.
    #[must_use]
    pub fn link(&self) -> LinkState {
        let mut link = sys::shim_link::default();
        // SAFETY: the port exists.
        if unsafe { sys::shim_port_link(self.device.port(), &raw mut link) } != 0 {
            return LinkState::default();
        }
        // In 22.11 net_af_packet says "up" from start to stop, whatever its interface does.
        let up = self.device.interface.as_deref().map_or(link.up != 0, interface::running);
        LinkState {
            up,
            speed_mbps: (link.speed_mbps != u32::MAX).then_some(link.speed_mbps),
            full_duplex: link.full_duplex != 0,
        }
    }

    /// True once the device is gone from the machine: it is to be closed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        if let Some(interface) = &self.device.interface {
            return !interface::exists(interface);
        }
        // SAFETY: the port exists.
        unsafe { sys::rte_eth_dev_is_removed(self.device.port()) == 1 }
    }

    /// Counters since the port was opened; zero where the driver keeps none.
    #[must_use]
    pub fn stats(&self) -> DpdkStats {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: the port exists.
        if unsafe { sys::rte_eth_stats_get(self.device.port(), &raw mut stats) } != 0 {
            return DpdkStats::default();
        }
        DpdkStats {
            rx_frames: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_frames: stats.opackets,
            tx_bytes: stats.obytes,
            missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            no_mbuf: stats.rx_nombuf,
        }
    }

    /// All counters that the driver keeps, by the driver's names.
    #[must_use]
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let port = self.device.port();
        // SAFETY: the port exists; no room is offered, so nothing is written.
        let count = unsafe { sys::rte_eth_xstats_get(port, ptr::null_mut(), 0) };
        let Ok(room) = usize::try_from(count) else { return Vec::new() };
        let mut values = vec![sys::rte_eth_xstat { id: 0, value: 0 }; room];
        let mut names = vec![sys::rte_eth_xstat_name { name: [0; 64] }; room];
        // SAFETY: the port exists; both arrays have `room` entries, which is what each call is told.
        let (values_read, names_read) = unsafe {
            (
                sys::rte_eth_xstats_get(port, values.as_mut_ptr(), room as u32),
                sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), room as u32),
            )
        };
        if values_read != count || names_read != count {
            return Vec::new();
        }
        let text = |name: &sys::rte_eth_xstat_name| {
            let bytes: Vec<u8> =
                name.name.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        values
            .iter()
            .filter_map(|entry| Some((text(names.get(usize::try_from(entry.id).ok()?)?), entry.value)))
            .collect()
    }
}

fn prepare_af_packet(devargs: &mut Devargs, queues: u16, mtu: Option<u16>) -> Result<(), DpdkError> {
    let interface = devargs.value("iface").unwrap_or_default().to_owned();
    require_interface(devargs, &interface)?;
    require_queues(devargs, queues, devargs.af_packet_queues().unwrap_or(AF_PACKET_QUEUES_MAX))?;
    let most = AF_PACKET_MTU_MAX;
    if let Some(asked) = mtu.filter(|mtu| *mtu > most) {
        let device = devargs.name().to_owned();
        return Err(DpdkError::Mtu { device, asked, least: 68, most, cause: None });
    }
    // An interface of a larger MTU, as the loopback, can be used for what fits.
    let mtu = mtu.map(u32::from).or_else(|| interface::mtu(&interface)).unwrap_or(1500);
    devargs.complete_af_packet(queues, mtu.min(u32::from(most)));
    Ok(())
}

fn require_interface(devargs: &Devargs, interface: &str) -> Result<(), DpdkError> {
    if interface::exists(interface) {
        return Ok(());
    }
    let (device, interface) = (devargs.name().to_owned(), interface.to_owned());
    Err(DpdkError::MissingInterface { device, interface })
}

fn require_queues(devargs: &Devargs, asked: u16, most: u16) -> Result<(), DpdkError> {
    if asked <= most {
        return Ok(());
    }
    Err(DpdkError::Queues { device: devargs.name().to_owned(), asked, most })
}
