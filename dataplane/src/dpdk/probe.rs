//! Attaching a device to DPDK and detaching it, and saying why when that fails.
//!
//! A PCI device that the kernel drives is refused before DPDK sees it: some of DPDK's drivers would take it from
//! under the kernel. Used by the control thread.

#![expect(unsafe_code, reason = "calls into DPDK's C interface")]

use std::ffi::{CString, c_int};
use std::fs;

use dpdk_sys as sys;

use super::DpdkError;
use super::devargs::Devargs;
use crate::eal::{self, Eal, log};

/// Kernel drivers that leave a device to DPDK, or share it.
const WILLING_DRIVERS: [&str; 6] =
    ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx4_core", "mlx5_core", "mana"];

/// A device that DPDK has attached; detached when dropped.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) port: u16,
    device: *mut sys::rte_device,
}

// SAFETY: DPDK serialises its device functions; the pointer stands for the attached device.
unsafe impl Send for Probed {}
// SAFETY: as above; a shared reference allows only queries.
unsafe impl Sync for Probed {}

impl Probed {
    pub(super) fn probe(devargs: &Devargs) -> Result<Self, DpdkError> {
        let device = || devargs.name().to_owned();
        if let Some(driver) = kernel_driver(devargs)
            && !WILLING_DRIVERS.contains(&driver.as_str())
        {
            return Err(DpdkError::KernelDriver { device: device(), driver });
        }
        let limit = Eal::device_limit();
        // SAFETY: EAL runs.
        if u32::from(unsafe { sys::rte_eth_dev_count_total() }) >= limit {
            return Err(DpdkError::TooManyPorts { limit });
        }
        let text = CString::new(devargs.text()).expect("control characters were refused");
        let name = CString::new(devargs.name()).expect("control characters were refused");
        let mut port = 0;
        // A device that was attached before would be found again by the probe of some buses, and not by others.
        // SAFETY: EAL runs; both strings end in zero.
        if unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) } == 0 {
            return Err(DpdkError::InUse { device: device() });
        }
        // SAFETY: EAL runs; the string is copied.
        let (code, cause) = log::record(|| unsafe { sys::rte_dev_probe(text.as_ptr()) });
        if code < 0 {
            if code == -libc::EEXIST {
                return Err(DpdkError::InUse { device: device() });
            }
            return Err(refusal(devargs, code, cause));
        }
        let mut ports = [0u16; 1];
        // SAFETY: one entry may be written.
        let count = match unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), ports.as_mut_ptr()) } {
            0 => 1,
            // SAFETY: one entry may be written.
            _ => unsafe { sys::shim_ports_of(text.as_ptr(), ports.as_mut_ptr(), 1) },
        };
        let Some(probed) = (count > 0).then(|| Self::of(ports[0])).flatten() else {
            return Err(refusal(devargs, -libc::ENODEV, cause));
        };
        if count > 1 {
            let count = usize::try_from(count).unwrap_or(0);
            return Err(DpdkError::NotOnePort { device: device(), count });
        }
        Ok(probed)
    }

    fn of(port: u16) -> Option<Self> {
        let info = dev_info(port).ok()?;
        Some(Self { port, device: info.device })
    }

    pub(super) fn info(&self, devargs: &Devargs) -> Result<sys::shim_dev_info, DpdkError> {
        dev_info(self.port).map_err(|code| DpdkError::Step {
            device: devargs.name().to_owned(),
            step: "ask",
            reason: eal::errno_text(code),
            cause: None,
        })
    }

    pub(super) fn node(&self) -> Option<c_int> {
        // SAFETY: the port exists.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.port) };
        (node >= 0).then_some(node)
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        // SAFETY: the port exists, is stopped or was never started, and nobody uses it. Closing it leaves the
        // device, which is then removed.
        let (code, cause) = log::record(|| unsafe {
            sys::rte_eth_dev_close(self.port);
            sys::shim_dev_remove(self.device)
        });
        if code < 0 {
            tracing::warn!(port = self.port, reason = eal::errno_text(code), ?cause, "DPDK keeps a device");
        }
    }
}

fn dev_info(port: u16) -> Result<sys::shim_dev_info, c_int> {
    let mut info = sys::shim_dev_info::default();
    // SAFETY: an unknown port is refused.
    match unsafe { sys::shim_dev_info(port, &raw mut info) } {
        0 => Ok(info),
        code => Err(code),
    }
}

/// The kernel's driver of a PCI device, if it has one.
fn kernel_driver(devargs: &Devargs) -> Option<String> {
    if !devargs.is_pci() {
        return None;
    }
    let domain = if devargs.name().matches(':').count() == 1 { "0000:" } else { "" };
    let link = fs::read_link(format!("/sys/bus/pci/devices/{domain}{}/driver", devargs.name())).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// Why a probe failed, as well as it can be told: no bus or driver knows the device, or the one that does
/// refuses it.
fn refusal(devargs: &Devargs, code: c_int, cause: Option<String>) -> DpdkError {
    let device = devargs.name().to_owned();
    match -code {
        libc::ENODEV | libc::EFAULT | libc::ENOENT => DpdkError::UnknownDevice { device, cause },
        code => {
            // Most drivers answer a plain -1, which is no error code.
            let reason = if code == 1 { "its driver refuses it".to_owned() } else { eal::errno_text(code) };
            DpdkError::Step { device, step: "attach", reason, cause }
        }
    }
}
