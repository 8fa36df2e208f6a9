//! What cannot be opened is refused with a reason, and leaves nothing behind.

use dataplane::dpdk::{DpdkError, DpdkPort, DpdkPortConfig};
use dataplane::eal::Eal;

use super::frames::open;
use super::{life, process};

fn refused(eal: &Eal, devargs: &str, config: &DpdkPortConfig) -> DpdkError {
    let why = DpdkPort::open(eal, "refused", devargs, config).err();
    let why = why.unwrap_or_else(|| panic!("{devargs} was opened"));
    println!("  {devargs}: {why}");
    why
}

pub(crate) fn all(eal: &Eal) {
    let config = DpdkPortConfig::default();
    let queues = |queue_pairs| DpdkPortConfig { queue_pairs, ..DpdkPortConfig::default() };
    let (used, files) = (life::settle(eal), process::open_files());

    assert!(matches!(refused(eal, "", &config), DpdkError::Devargs { .. }));
    for unknown in ["net_no_such_driver0", "nonsense", "0000:99:00.0", "99:00.0"] {
        let why = refused(eal, unknown, &config);
        assert!(matches!(&why, DpdkError::UnknownDevice { device, .. } if device == unknown), "{why:?}");
    }
    let why = refused(eal, "net_af_packet0,iface=no-such-if", &config);
    assert!(
        matches!(&why, DpdkError::MissingInterface { interface, .. } if interface == "no-such-if"),
        "{why:?}"
    );
    let why = refused(eal, "net_af_packet0", &config);
    assert!(matches!(why, DpdkError::MissingInterface { .. }), "{why:?}");

    let why = refused(eal, "net_af_packet0,iface=lo,qpairs=2", &queues(3));
    assert!(matches!(why, DpdkError::Queues { asked: 3, most: 2, .. }), "{why:?}");
    let why = refused(eal, "net_af_packet0,iface=lo", &queues(17));
    assert!(matches!(why, DpdkError::Queues { asked: 17, most: 16, .. }), "{why:?}");
    let why = refused(eal, "net_ring0", &queues(17));
    assert!(matches!(why, DpdkError::Queues { asked: 17, most: 16, .. }), "{why:?}");

    let large = DpdkPortConfig { pool_frames: Some(100_000), ..DpdkPortConfig::default() };
    for devargs in ["net_null0", "net_af_packet0,iface=lo"] {
        let why = refused(eal, devargs, &large);
        let DpdkError::Memory { needed, free } = why else { panic!("{why:?}") };
        assert!(needed > 200 << 20 && free <= eal.memory().total_bytes, "{why:?}");
    }
    let why =
        refused(eal, "net_af_packet0,iface=lo", &DpdkPortConfig { mtu: Some(60_000), ..config.clone() });
    assert!(matches!(why, DpdkError::Mtu { asked: 60_000, .. }), "{why:?}");

    let why = refused(eal, "net_pcap0,rx_pcap=/no/such/file", &config);
    assert!(
        matches!(&why, DpdkError::Step { cause: Some(cause), .. } if cause.contains("/no/such/file")),
        "{why:?}"
    );
    let why = refused(eal, "net_null0,no_such_key=1", &config);
    assert!(matches!(why, DpdkError::Step { step: "attach", .. }), "{why:?}");

    if let Some(address) = kernel_device() {
        let why = refused(eal, &address, &config);
        assert!(matches!(&why, DpdkError::KernelDriver { device, .. } if *device == address), "{why:?}");
    }

    let (port, pair) = open(eal, "net_null0");
    assert!(matches!(refused(eal, "net_null0", &config), DpdkError::InUse { .. }));
    drop(pair);
    port.close().unwrap();

    life::settled(eal, used);
    assert_eq!(process::open_files(), files, "a refused port left descriptors open");
}

/// A PCI device that the kernel drives.
fn kernel_device() -> Option<String> {
    std::fs::read_dir("/sys/bus/pci/devices").ok()?.flatten().find_map(|entry| {
        let driver = entry.path().join("driver").read_link().ok()?;
        (!driver.ends_with("vfio-pci")).then(|| entry.file_name().into_string().ok())?
    })
}
