//! What NICs and VFs need. A switch of pods alone needs none of it, so nothing here is a failure.

use super::finding::Finding;
use super::machine::Machine;

const GROUPS: &str = "/sys/kernel/iommu_groups";
const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    vec![iommu(machine), vfio(machine)]
}

fn iommu(machine: &Machine) -> Finding {
    const CHECK: &str = "IOMMU";
    match machine.names(GROUPS).len() {
        0 => Finding::warn(
            CHECK,
            "no groups: NICs cannot be given to DPDK safely (pods need none)",
            "switch VT-d or AMD-Vi on in the firmware, and intel_iommu=on iommu=pt on the kernel's command line",
        ),
        groups => Finding::ok(CHECK, format!("{groups} groups")),
    }
}

fn vfio(machine: &Machine) -> Finding {
    const CHECK: &str = "vfio";
    if !machine.there(DRIVER) && !machine.there("/sys/module/vfio_pci") {
        return Finding::warn(
            CHECK,
            "the driver vfio-pci is not loaded: NICs cannot be given to DPDK (pods need none)",
            "modprobe vfio-pci, and vfio-pci in /etc/modules-load.d/vfio.conf",
        );
    }
    if !machine.there("/dev/vfio/vfio") {
        return Finding::warn(
            CHECK,
            "the driver is loaded, but there is no /dev/vfio/vfio here",
            "in a container: let it have the device /dev/vfio (the SR-IOV device plugin does)",
        );
    }
    // Beside its devices, by PCI address, the directory has files of the driver.
    let devices: Vec<String> = machine.names(DRIVER).into_iter().filter(|name| name.contains(':')).collect();
    let text = if devices.is_empty() { "no device yet".into() } else { devices.join(", ") };
    Finding::ok(CHECK, format!("loaded, drives {text}"))
}
