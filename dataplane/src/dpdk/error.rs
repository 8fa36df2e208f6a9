//! Why a DPDK port could not be opened, changed or closed.

use crate::eal::log::Cause;

/// What went wrong with a DPDK port. `cause` is the first error that DPDK logged meanwhile.
#[derive(Debug, thiserror::Error)]
pub enum DpdkError {
    /// The text is no device description.
    #[error("\"{devargs}\" is not a DPDK device: {reason}")]
    Devargs {
        /// The text as given.
        devargs: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No driver or bus of this DPDK knows the device, or it is not there.
    #[error("DPDK does not know the device \"{device}\"{}", Cause(.cause.as_deref()))]
    UnknownDevice {
        /// The device's DPDK name.
        device: String,
        /// DPDK's word.
        cause: Option<String>,
    },
    /// The network interface that the device stands on does not exist.
    #[error("the device \"{device}\" needs the network interface \"{interface}\", which does not exist")]
    MissingInterface {
        /// The device's DPDK name.
        device: String,
        /// The missing interface.
        interface: String,
    },
    /// A kernel driver holds the PCI device.
    #[error("the device \"{device}\" belongs to the kernel's driver \"{driver}\", not to vfio-pci")]
    KernelDriver {
        /// PCI address.
        device: String,
        /// The kernel's driver.
        driver: String,
    },
    /// The device is a port already.
    #[error("the device \"{device}\" is in use as another port")]
    InUse {
        /// The device's DPDK name.
        device: String,
    },
    /// As many DPDK ports as this DPDK was built for.
    #[error("DPDK was built for at most {limit} ports, and all are in use")]
    TooManyPorts {
        /// The build's limit.
        limit: u32,
    },
    /// The description makes more than one port, or none.
    #[error("the device \"{device}\" makes {count} ports, not one")]
    NotOnePort {
        /// The device's DPDK name.
        device: String,
        /// How many it makes.
        count: usize,
    },
    /// Its buffers do not fit into the memory that EAL was given.
    #[error("the device's buffers need {needed} bytes, {free} bytes of DPDK's memory are free")]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// More queues were asked for than the device has.
    #[error("{asked} queues were asked for, the device \"{device}\" takes {most}")]
    Queues {
        /// The device's DPDK name.
        device: String,
        /// Queue pairs asked for.
        asked: u16,
        /// Queue pairs the device takes.
        most: u16,
    },
    /// The device cannot carry frames of this size.
    #[error("an MTU of {asked} was asked for, the device \"{device}\" takes {least} to {most}{}",
        Cause(.cause.as_deref()))]
    Mtu {
        /// The device's DPDK name.
        device: String,
        /// MTU asked for.
        asked: u16,
        /// Smallest MTU it takes.
        least: u16,
        /// Largest MTU it takes.
        most: u16,
        /// DPDK's word.
        cause: Option<String>,
    },
    /// A step of setting the device up failed.
    #[error("cannot {step} the device \"{device}\" ({reason}){}", Cause(.cause.as_deref()))]
    Step {
        /// The device's DPDK name.
        device: String,
        /// What was being done.
        step: &'static str,
        /// The error code in words.
        reason: String,
        /// DPDK's word.
        cause: Option<String>,
    },
    /// The port was closed while queues of it were still held; it goes when they are dropped.
    #[error("{queues} queues of the port are still held; it closes when they are dropped")]
    QueuesHeld {
        /// How many.
        queues: usize,
    },
}
