//! In a turn that moves frames nothing is allocated: counted by the test binary's own allocator.
#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches a thread's own cell only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn a_million_frames_allocate_nothing() {
    let (frames, allocations) = forward(1_000_000, 64, true);
    assert!(frames >= 1_000_000);
    assert_eq!(allocations, 0);
    let (_, counted) = forward(100, 64, false);
    assert_eq!(counted, 0);
    let before = ALLOCATIONS.get();
    drop(Box::new(1));
    assert_eq!(ALLOCATIONS.get() - before, 2, "the allocator counts");
}

/// Sends frames of one size both ways between two guests, with some floods and drops among them if `mixed`.
/// Returns frames moved, and what the worker's turns allocated or freed.
fn forward(most: usize, len: usize, mixed: bool) -> (usize, u64) {
    let plans: Vec<Plan> = (0..12).map(owned).collect();
    let mut world = World::new(&plans);
    world.with_turns(|turns, guests| {
        turn(turns);
        let good = frame(mac(1), mac(0), len);
        let flood = frame(MacAddr([0xFF; 6]), mac(0), len);
        let spoofed = frame(mac(1), mac(7), len);
        let (mut moved, mut allocated, mut round) = (0, 0, 0);
        while moved < most {
            round += 1;
            for i in 0..32 {
                let what = match (mixed, i) {
                    (true, 7) if round % 64 == 0 => &flood,
                    (true, 9) => &spoofed,
                    _ => &good,
                };
                guests[0].transmit.send(what, PLAIN).unwrap();
            }
            guests[0].transmit.publish();
            let before = ALLOCATIONS.get();
            moved += turn(turns);
            allocated += ALLOCATIONS.get() - before;
            for guest in guests.iter_mut() {
                guest.receive.discard();
                guest.receive.publish();
            }
            guests[0].transmit.reap();
        }
        (moved, allocated)
    })
}
