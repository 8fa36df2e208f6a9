//! The switches as processes, with pods connected and frames going through.
//!
//! Needs what the end-to-end tests need (root, hugepages, two CPUs, `dpdk-testpmd`) and a podswitchd beside our own
//! program. Where something is missing the test fails if `CI` is set, and says so on the terminal if not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use perf::machine;
use perf::methods::bed::{Bed, BedPlan, PairTables};
use perf::methods::saturation::saturation;
use perf::peers::{Cpus, OvsDpdk, Peer, Podswitch, TestpmdIo, parse_list};
use perf::traffic::Size;

fn daemon() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_podswitch-perf")).with_file_name("podswitchd")
}

/// The CPUs to use; `None` if the machine cannot run this, which is said.
fn ready() -> Option<Cpus> {
    let all = machine::allowed_cpus();
    let cpus = parse_list(&all);
    let missing = [
        (cpus.len() < 2, "two CPUs"),
        (machine::free_hugepages().unwrap_or(0) < 400, "400 free hugepages"),
        (!daemon().is_file(), "podswitchd beside podswitch-perf (cargo build -p control-api)"),
        (perf::peers::process::find("dpdk-testpmd").is_none(), "dpdk-testpmd"),
        (!rustix::process::geteuid().is_root(), "root"),
    ];
    let missing: Vec<&str> = missing.iter().filter(|(missing, _)| *missing).map(|(_, what)| *what).collect();
    if missing.is_empty() {
        return Some(Cpus::new(cpus[0], cpus[1], &all).unwrap());
    }
    let missing = missing.join(", ");
    assert!(std::env::var_os("CI").is_none(), "missing: {missing}");
    // Past the test harness, which shows nothing of a test that passes.
    let _ = std::fs::write("/dev/tty", format!("NOT TESTED, benchmark: missing {missing}\n"));
    eprintln!("NOT TESTED, benchmark: missing {missing}");
    None
}

/// Frames of 64 and 1,500 bytes go through the switch; gives how many it says that it has moved.
fn passes_frames(peer: &dyn Peer, cpus: &Cpus) -> Option<u64> {
    let plan = BedPlan { longest_frame: 1518, ..BedPlan::pairs(2) };
    let mut bed = Bed::open(peer, &plan, cpus).unwrap();
    for size in [64, 1500] {
        let tables = PairTables::new(2, Size::Fixed(size)).unwrap();
        let mut load = tables.load();
        load.window = Duration::from_millis(200);
        let round = saturation(&mut *bed.switch, &mut bed.pods, &load).unwrap();
        assert!(round.outcome.received > 0 && round.outcome.foreign == 0, "{}: {round:?}", peer.name());
        println!("{} {size}: {:.3} {:?}", peer.name(), round.mfps, round.cycles);
    }
    assert!(!bed.switch.version().is_empty() && !bed.switch.instruction_set().is_empty());
    let pid = bed.switch.pid().unwrap();
    let frames = bed.switch.work().map(|work| work.frames);
    bed.switch.stop();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{} did not end", peer.name());
    frames
}

#[test]
fn every_switch_starts_passes_frames_and_ends() {
    let Some(cpus) = ready() else { return };
    let podswitch = Podswitch::new(&daemon());
    assert!(passes_frames(&podswitch, &cpus).unwrap() > 0);
    assert!(passes_frames(&Podswitch { two_copies: true, ..podswitch }, &cpus).unwrap() > 0);
    assert_eq!(passes_frames(&TestpmdIo::default(), &cpus), None);
    match Bed::open(&OvsDpdk::default(), &BedPlan::pairs(2), &cpus) {
        Err(perf::methods::MethodError::Peer(perf::peers::PeerError::Missing { what, .. })) => {
            println!("no OVS here: {what}");
        }
        Err(error) => panic!("{error}"),
        Ok(bed) => {
            bed.switch.stop();
            assert!(passes_frames(&OvsDpdk::default(), &cpus).unwrap() > 0);
        }
    }
}
