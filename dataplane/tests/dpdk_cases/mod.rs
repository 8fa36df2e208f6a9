//! The cases that both kinds of memory go through, in sequence: EAL is one for the process.

#![expect(unsafe_code, reason = "frames are raw mbufs")]
#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod af_packet;
mod frames;
mod life;
mod loops;
pub(crate) mod process;
mod refusals;

use std::time::Instant;

use dataplane::eal::{Eal, EalConfig, EalError};

/// Starts EAL, prints what that costs, and checks what it leaves alone.
pub(crate) fn start(config: &EalConfig) -> Eal {
    let affinity = process::affinity();
    let before = process::resident_bytes();
    let begin = Instant::now();
    let eal = Eal::start(config).unwrap();
    let took = begin.elapsed();
    let grown = process::resident_bytes() - before;
    println!(
        "{}: {} started in {took:?}; resident memory {} KB + {} KB; hugepages {} KB",
        Eal::version(),
        eal.memory_kind(),
        before >> 10,
        grown >> 10,
        process::hugepage_bytes() >> 10
    );
    assert_eq!(process::affinity(), affinity, "the thread that starts EAL keeps its CPUs");
    assert!(matches!(Eal::start(config), Err(EalError::AlreadyStarted)));
    assert!(!process::runtime_directory().exists(), "EAL left {:?}", process::runtime_directory());
    assert!(grown < 64 << 20, "EAL alone takes {grown} bytes");
    let memory = eal.memory();
    assert_eq!(memory.total_bytes, u64::from(config.memory_mb) << 20);
    assert!(memory.used_bytes < 8 << 20, "an EAL without ports uses {} bytes", memory.used_bytes);
    eal
}

/// Runs the cases on a registered thread, as workers are.
pub(crate) fn run_all(eal: &Eal) {
    let token = eal.register_thread().unwrap();
    assert!(token.lcore() < 128);
    af_packet::all(eal);
    loops::null_device_makes_frames(eal);
    loops::ring_returns_frames_byte_for_byte(eal);
    loops::pcap_copies_a_file(eal);
    refusals::all(eal);
    life::fifty_times_open_and_close(eal);
    life::frames_may_outlive_their_port(eal);
    life::queues_keep_the_device(eal);
    life::as_many_ports_as_dpdk_takes(eal);
}

/// Ends EAL, and checks that nothing stays.
pub(crate) fn end(eal: Eal) {
    drop(eal);
    assert!(!process::runtime_directory().exists());
    // DPDK leaves its memory mapped; pages without a file go with the process.
    assert_eq!(process::mapped_files("/dev/hugepages"), Vec::<String>::new());
    assert_eq!(process::mapped_files("rtemap_"), Vec::<String>::new());
}
