//! DPDK ports on hugepages. EAL starts once in a process, so this binary is one test.

#[path = "dpdk_cases/mod.rs"]
mod dpdk_cases;

use dataplane::eal::{Eal, EalConfig, HugePages, MemoryKind};

#[test]
fn ports_on_hugepages() {
    let config = EalConfig { hugepages: HugePages::Auto, memory_mb: 64, ..EalConfig::default() };
    let eal = dpdk_cases::start(&config);
    if eal.memory_kind() == MemoryKind::HugePages {
        assert_eq!(eal.memory().hugepage_bytes, 64 << 20);
        assert_eq!(dpdk_cases::process::hugepage_bytes(), 64 << 20, "taken at start, and no more");
    } else {
        println!("SKIPPED: no hugepages here ({}), cases run without", eal.memory_kind());
    }
    dpdk_cases::run_all(&eal);
    if eal.memory_kind() == MemoryKind::HugePages {
        assert_eq!(dpdk_cases::process::hugepage_bytes(), 64 << 20, "the cases took more");
    }
    assert!(Eal::device_limit() >= 32);
    dpdk_cases::end(eal);
}
