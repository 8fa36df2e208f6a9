//! Memory tables that come, change and go while rings run.

use std::os::fd::AsFd;

use vhost::control::{NotRunning, PortChanges, State};
use vhost::fault::Fault;
use vhost::memory::{MemfdKind, memfd};
use vhost::message::{MemRegion, Message};
use vhost::owner::LinkEvent;

use crate::support::*;

fn second_region() -> MemRegion {
    MemRegion { guest: GUEST + MEMORY, len: MEMORY, frontend: FRONTEND + MEMORY, mmap_offset: 0 }
}

#[test]
fn a_new_table_while_rings_run_restarts_them_on_it() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let starts = port.owner.starts();
    for n in 1..=20 {
        let memory = memfd(MemfdKind::Plain, 2 * MEMORY).unwrap();
        assert_eq!(frontend.ack_with(&table(2 * MEMORY), &[memory.as_fd()]), 0);
        assert_eq!(port.owner.starts(), starts + 2 * n);
    }
    let seen = port.state();
    assert_eq!((seen.state, seen.guest_memory), (State::Running, 2 * MEMORY));
    assert_eq!(port.owner.events(), [LinkEvent::Up], "nobody hears of a restart");
}

#[test]
fn a_table_without_the_rings_stops_them() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let memory = memfd(MemfdKind::Plain, 0x1_0000).unwrap();
    // The first ring lies in the first 64 KB, the second behind them.
    assert_eq!(frontend.ack_with(&table(0x1_0000), &[memory.as_fd()]), 0);
    let seen = port.wait("the second ring to stop", |s| !s.rings[1].started);
    assert!(seen.rings[0].started);
    assert_eq!(seen.rings[1].why_not, Some(NotRunning::Invalid(Fault::RingInvalid)));
    assert_eq!(frontend.ack(&Message::SetMemTable([].into_iter().collect())), 0);
    let seen = port.wait_for(State::Paused);
    assert_eq!(seen.guest_memory, 0);
    assert_eq!(seen.rings[0].why_not, Some(NotRunning::NoMemory));
    assert_eq!(port.owner.events(), [LinkEvent::Up, LinkEvent::Down]);
}

#[test]
fn regions_are_added_and_removed_one_by_one() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let more = memfd(MemfdKind::Plain, MEMORY).unwrap();
    assert_eq!(frontend.ack_with(&Message::AddMemReg(second_region()), &[more.as_fd()]), 0);
    assert_eq!(port.state().guest_memory, 2 * MEMORY);
    assert_eq!(port.state().state, State::Running);
    // Twice the same does not fit, and changes nothing.
    assert_eq!(frontend.ack_with(&Message::AddMemReg(second_region()), &[more.as_fd()]), 1);
    assert_eq!(port.state().guest_memory, 2 * MEMORY);
    // One stray descriptor is allowed here, and closed.
    assert_eq!(frontend.ack_with(&Message::RemMemReg(second_region()), &[more.as_fd()]), 0);
    assert_eq!(frontend.ack(&Message::RemMemReg(second_region())), 1, "it is gone already");
    assert_eq!(port.owner.running(), 2);
    // The region in which the rings live.
    assert_eq!(frontend.ack(&Message::RemMemReg(region(MEMORY))), 0);
    let seen = port.wait_for(State::Paused);
    assert_eq!(seen.guest_memory, 0);
    assert!(seen.rings.iter().all(|r| !r.started && r.why_not.is_some()));
    assert_eq!(frontend.ack_with(&Message::AddMemReg(region(MEMORY)), &[more.as_fd()]), 0);
    port.wait_for(State::Running);
}

#[test]
fn more_memory_than_the_limit_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    let port = bench.port_with(Manner::Prompt, |config| config.mem_limit = MEMORY);
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
    let much = memfd(MemfdKind::Plain, 2 * MEMORY).unwrap();
    assert_eq!(frontend.ack_with(&table(2 * MEMORY), &[much.as_fd()]), 1);
    let seen = port.state();
    assert_eq!((seen.state, seen.guest_memory, seen.refusals), (State::Running, MEMORY, 1));
    assert_eq!(seen.fault, Some(Fault::MemoryLimit));
    assert!(seen.reason.contains("4194304") && seen.reason.contains("2097152"), "{}", seen.reason);
    bench
        .control
        .set_port(port.key, PortChanges { mem_limit: Some(4 * MEMORY), ..Default::default() })
        .unwrap();
    assert_eq!(frontend.ack_with(&table(2 * MEMORY), &[much.as_fd()]), 0);
    assert_eq!(port.state().connections, 1, "the limit changed without a reconnect");
}

#[test]
fn memory_refused_without_an_acknowledgement_ends_the_connection() {
    let bench = Bench::new();
    let port = bench.port();
    let mut frontend = port.accept();
    let (pipe, _other) = std::io::pipe().unwrap();
    frontend.send_with(&table(MEMORY), NO_ACK, &[pipe.as_fd()]);
    frontend.wait_closed();
    let seen = port.wait("the fault", |s| s.fault.is_some());
    assert_eq!(seen.fault, Some(Fault::MemoryRefused));
    assert_eq!(seen.faults, 1);
}

#[test]
fn a_connection_that_ends_while_its_memory_is_mapped_is_forgotten() {
    let bench = Bench::new();
    let port = bench.port();
    for _ in 0..50 {
        let frontend = port.accept();
        let memory = memfd(MemfdKind::Plain, MEMORY).unwrap();
        frontend.send_with(&table(MEMORY), ACK, &[memory.as_fd()]);
        drop(frontend);
    }
    let mut frontend = port.accept();
    let _memory = frontend.start_on(&port);
}
