//! DPDK ports on ordinary memory. EAL starts once in a process, so this binary is one test.

#[path = "dpdk_cases/mod.rs"]
mod dpdk_cases;

use dataplane::eal::{EalConfig, HugePages, MemoryKind};

#[test]
fn ports_on_ordinary_memory() {
    let config = EalConfig { hugepages: HugePages::No, memory_mb: 96, ..EalConfig::default() };
    let eal = dpdk_cases::start(&config);
    assert_eq!(eal.memory_kind(), MemoryKind::OrdinaryAsked);
    assert_eq!(eal.memory().hugepage_bytes, 0);
    dpdk_cases::run_all(&eal);
    assert_eq!(dpdk_cases::process::hugepage_bytes(), 0);
    dpdk_cases::end(eal);
}
