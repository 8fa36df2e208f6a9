//! A device that is set up as a port and started: the one owner of the device and its pool.
//!
//! Held by the port and by each of its queues; what is undone when the last of them goes is undone in the
//! reverse order of `set_up`. Used by the control thread; workers only read its fixed facts.

#![expect(unsafe_code, reason = "calls into DPDK's C interface")]

use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;
use std::ptr;

use dpdk_sys as sys;

use super::devargs::Devargs;
use super::plan::Plan;
use super::pool::{Pool, RetiredPool};
use super::probe::Probed;
use super::{DpdkError, interface};
use crate::eal::{self, Eal, log};

/// A device that is set up. Stops and goes when dropped.
#[derive(Debug)]
pub(super) struct Device {
    eal: Eal,
    /// The switch's name for the port, for the log.
    name: String,
    /// The device's DPDK name.
    pub(super) device: String,
    /// The driver's name.
    pub(super) driver: String,
    /// The device's NUMA node, where it has one.
    pub(super) numa_node: Option<u32>,
    /// Whether it sends frames of several segments.
    pub(super) multi_segs: bool,
    /// Bytes of data that an empty mbuf holds.
    pub(super) segment_room: usize,
    /// The interface that the device stands on or made (`net_af_packet`, `net_tap`).
    pub(super) interface: Option<String>,
    probed: ManuallyDrop<Probed>,
    pool: ManuallyDrop<Pool>,
}

impl Device {
    /// Makes the pool of an attached device. The device goes if that fails.
    pub(super) fn new(
        eal: &Eal,
        name: &str,
        devargs: &Devargs,
        probed: Probed,
        info: &sys::shim_dev_info,
        plan: &Plan,
    ) -> Result<Self, DpdkError> {
        let node = probed.node();
        let pool = Pool::new(eal, plan.frames, plan.data_room, node.unwrap_or(sys::SHIM_SOCKET_ID_ANY))?;
        Ok(Self {
            eal: eal.clone(),
            name: name.to_owned(),
            device: devargs.name().to_owned(),
            driver: driver_name(info),
            numa_node: node.and_then(|node| u32::try_from(node).ok()),
            multi_segs: info.tx_multi_segs != 0,
            segment_room: plan.data_room as usize,
            interface: devargs.own_interface().map(str::to_owned),
            probed: ManuallyDrop::new(probed),
            pool: ManuallyDrop::new(pool),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.probed.port
    }

    /// The interface whose MTU alone bounds frames: `net_tap` has one too, but also a bound of its own.
    pub(super) fn mtu_interface(&self) -> Option<&str> {
        self.interface.as_deref().filter(|_| self.driver == "net_af_packet")
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Configures and starts the port.
    pub(super) fn set_up(
        &self,
        info: &sys::shim_dev_info,
        plan: &Plan,
        mtu: Option<u16>,
    ) -> Result<(), DpdkError> {
        let port = self.port();
        let conf = sys::shim_port_config {
            rx_queues: plan.queues,
            tx_queues: plan.queues,
            mtu: 0,
            rx_scatter: u8::from(plan.rx_scatter),
            tx_multi_segs: info.tx_multi_segs,
            rss: u8::from(info.rss != 0 && plan.queues > 1),
        };
        // SAFETY: the port exists and is not started; `conf` outlives the call.
        self.step("configure", || unsafe { sys::shim_port_configure(port, &raw const conf) })?;
        if let Some(mtu) = mtu {
            self.set_mtu(mtu, info)?;
        }
        let (mut rx_ring, mut tx_ring) = (plan.rx_ring, plan.tx_ring);
        // SAFETY: the port exists and is configured; two numbers may be written.
        self.step("size the rings of", || unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &raw mut rx_ring, &raw mut tx_ring)
        })?;
        let node = self.numa_node.unwrap_or(sys::SHIM_SOCKET_ID_ANY.cast_unsigned());
        for queue in 0..plan.queues {
            // SAFETY: as above; the pool lives longer than the queue. Null asks for the driver's defaults.
            self.step("make a receive queue of", || unsafe {
                sys::rte_eth_rx_queue_setup(port, queue, rx_ring, node, ptr::null(), self.pool.raw())
            })?;
            // SAFETY: as above.
            self.step("make a transmit queue of", || unsafe {
                sys::rte_eth_tx_queue_setup(port, queue, tx_ring, node, ptr::null())
            })?;
        }
        // SAFETY: the port is configured and all its queues are made.
        self.step("start", || unsafe { sys::rte_eth_dev_start(port) })?;
        // Where the device has no such mode it receives everything anyway, or will never.
        // SAFETY: the port exists.
        let (code, cause) = log::record(|| unsafe { sys::rte_eth_promiscuous_enable(port) });
        if code < 0 {
            tracing::debug!(port = self.name, ?cause, "no promiscuous mode");
        }
        Ok(())
    }

    /// Runs one step, and makes an error of its failure.
    fn step(&self, step: &'static str, call: impl FnOnce() -> c_int) -> Result<(), DpdkError> {
        let (code, cause) = log::record(call);
        if code >= 0 {
            return Ok(());
        }
        let reason = eal::errno_text(code);
        Err(DpdkError::Step { device: self.device.clone(), step, reason, cause })
    }

    fn set_mtu(&self, mtu: u16, info: &sys::shim_dev_info) -> Result<(), DpdkError> {
        let refused = |cause| DpdkError::Mtu {
            device: self.device.clone(),
            asked: mtu,
            least: info.min_mtu,
            // Some drivers know no largest MTU, but a largest frame.
            most: u16::try_from(info.max_rx_pktlen.saturating_sub(18))
                .map_or(info.max_mtu, |most| most.min(info.max_mtu)),
            cause,
        };
        if let Some(interface) = self.mtu_interface() {
            // This driver claims frames of 1,518 bytes at most, so DPDK would refuse more; its slots have been
            // made large enough, and the interface is what decides.
            return interface::set_mtu(interface, mtu).map_err(|why| refused(Some(why.to_string())));
        }
        // SAFETY: the port exists and is not started.
        let (code, cause) = log::record(|| unsafe { sys::rte_eth_dev_set_mtu(self.port(), mtu) });
        match code {
            // A driver without the function takes any frame that fits its buffers.
            0 => Ok(()),
            code if code == -libc::ENOTSUP => Ok(()),
            _ => Err(refused(cause)),
        }
    }

    pub(super) fn mac(&self) -> Result<[u8; 6], DpdkError> {
        let mut mac = [0; 6];
        // SAFETY: six bytes may be written.
        self.step("ask the address of", || unsafe { sys::shim_port_mac(self.port(), mac.as_mut_ptr()) })?;
        Ok(mac)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the port exists; its queues, which hold this device, are gone. A port that was never
        // started says so.
        unsafe { sys::rte_eth_dev_stop(self.port()) };
        // SAFETY: neither is used after this.
        let (probed, pool) =
            unsafe { (ManuallyDrop::take(&mut self.probed), ManuallyDrop::take(&mut self.pool)) };
        drop(probed);
        // SAFETY: the device and with it all its queues are gone.
        self.eal.retire(unsafe { RetiredPool::new(pool) });
        tracing::info!(port = self.name, device = self.device, "DPDK port closed");
    }
}

fn driver_name(info: &sys::shim_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a static string of the driver, which stays loaded.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}
