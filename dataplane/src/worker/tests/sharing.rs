//! Two workers whose flows share no port, laid out so that valgrind can show that neither writes a cache line that
//! the other touches: entries of the MAC table and their ages excepted.
//!
//! As an ordinary test it only checks that frames arrive. Under `valgrind --tool=lackey --trace-mem=yes` every load
//! and store is listed; marks in memory say which of them belong to which worker's turn, and `perf/sharing.sh` looks
//! for lines that one of them wrote and the other touched. What lies where is told on standard output. One thread plays
//! both workers, so that the list has an order; its stack is left out, as workers have stacks of their own. The guests
//! of both workers alternate, so that what belongs to different workers lies side by side in the heap, as it does in a
//! switch with many ports.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::*;

/// Frames a burst; the first of them has a source that nobody may have, and is dropped.
const BURST: usize = vhost::ring::BURST;
/// Bursts before and while loads and stores are looked at.
const WARM_UP: usize = 3;
const BURSTS: usize = 3;

/// Bytes that a turn's stack may take.
const STACK: usize = 1 << 20;

/// Words whose addresses and stores the reader of the trace knows: a turn of worker 0 or 1 begins, a turn ends, a
/// scenario ends.
static MARKS: CachePadded<[AtomicU64; 4]> = CachePadded::new([const { AtomicU64::new(0) }; 4]);
const TURN_ENDS: usize = 2;
const SCENARIO_ENDS: usize = 3;

fn mark(which: usize) {
    // Nobody reads them; the compiler must not find out.
    std::hint::black_box(&MARKS)[which].store(1, Ordering::SeqCst);
}

/// Nobody else stores to one place so often in a row: that is how the reader finds the marks.
fn introduce_marks() {
    for word in std::hint::black_box(&MARKS).iter() {
        for i in 0..5000 {
            word.store(i, Ordering::Relaxed);
        }
    }
}

/// What the reader of the trace must find.
#[derive(Clone, Copy, Debug)]
enum Finding {
    /// No line that one worker wrote and the other touched.
    Nothing,
    /// Only lines of MAC entries.
    Entries,
    /// Something: the check can fail.
    Something,
}

/// Four guests, of which worker 0 serves 0 and 2, worker 1 the others.
struct Scenario {
    name: &'static str,
    plans: Vec<Plan>,
    /// To whom each of them sends.
    to: [usize; 4],
    finding: Finding,
}

#[test]
fn workers_write_no_line_of_each_other() {
    introduce_marks();
    let trusted =
        || Plan { settings: PortSettings { trusted: true, ..PortSettings::default() }, ..Plan::default() };
    let apart = [2, 3, 0, 1];
    let declared = || (0..4).map(owned).collect();
    let scenarios = [
        Scenario { name: "apart", plans: declared(), to: apart, finding: Finding::Nothing },
        Scenario {
            name: "learning",
            plans: (0..4).map(|_| trusted()).collect(),
            to: apart,
            finding: Finding::Entries,
        },
        Scenario { name: "one-receiver", plans: declared(), to: [2, 0, 0, 0], finding: Finding::Something },
    ];
    for scenario in &scenarios {
        run(scenario);
    }
}

fn run(scenario: &Scenario) {
    let World { ground, mut guests, fdbs, mailbox, inbox, mut others } =
        World::served(&scenario.plans, |n| n % 2);
    println!("sharing scenario {} {:?}", scenario.name, scenario.finding);
    tell_places(&ground, &guests);
    for fdb in &fdbs {
        tell("MAC entries", fdb.place());
    }
    // What a worker owns lies on its thread's stack; here it must not share the stack of the test.
    let worker = |number, inbox| Box::new(CachePadded::new(Turns::new(number, &ground, inbox)));
    let (second, its_inbox) = others.remove(0);
    let mut workers = [(worker(0, inbox.expect("nobody took it")), mailbox), (worker(1, its_inbox), second)];
    for burst in 0..WARM_UP + BURSTS {
        // Seconds pass, so that ages are written.
        ground.now.fetch_add(1, Ordering::Relaxed);
        for (n, guest) in guests.iter_mut().enumerate() {
            for i in 0..BURST {
                guest.transmit.send(&scenario.frame(n, i), PLAIN).unwrap();
            }
            guest.transmit.publish();
        }
        for (number, (turns, mailbox)) in workers.iter_mut().enumerate() {
            if burst < WARM_UP {
                turn(turns);
            } else if burst + 1 < WARM_UP + BURSTS {
                marked(number, || dispatch(ground.level, OneTurn(turns)));
            } else {
                // One round of the product's loop, with what it counts of itself.
                mailbox.send(Mail::Stop);
                marked(number, || {
                    dispatch(ground.level, &mut ***turns);
                    1
                });
            }
        }
        for (n, guest) in guests.iter_mut().enumerate() {
            let received = guest.receive.discard();
            guest.receive.publish();
            assert_eq!(guest.transmit.reap(), BURST);
            if burst >= WARM_UP {
                let senders = scenario.to.iter().filter(|to| **to == n).count();
                assert_eq!(received, senders * (BURST - 1), "{}: guest {n}", scenario.name);
            }
        }
    }
    mark(SCENARIO_ENDS);
}

/// Runs a turn of worker `number` between marks.
#[inline(never)]
fn marked(number: usize, turn: impl FnOnce() -> usize) {
    let here = 0u8;
    let here = std::hint::black_box(&raw const here) as usize;
    tell("stack", here - STACK..here + 256);
    mark(number);
    let frames = turn();
    mark(TURN_ENDS);
    assert!(frames > 0);
}

impl Scenario {
    /// Frame `i` of the burst that guest `n` sends.
    fn frame(&self, n: usize, i: usize) -> Vec<u8> {
        let source = match i {
            0 => MacAddr([3; 6]),
            2.. if self.plans[n].settings.trusted => mac(1000 + n * BURST + i),
            _ => mac(n),
        };
        frame(mac(self.to[n]), source, 300)
    }
}

/// Chance may lay things well; alignment does not depend on it.
#[test]
fn what_workers_write_has_lines_of_its_own() {
    assert!(align_of::<RxQueue>() >= 128);
    assert!(align_of::<crate::outlet::Outlet<Exit>>() >= 128);
    assert!(align_of::<crate::counters::QueueTally>() >= 128);
    assert!(align_of_val(&World::new(&[owned(0)]).guests[0].shared.tallies.of(0).queues[0]) >= 128);
}

/// Tells what lies where, so that a line can be named.
fn tell_places(ground: &Ground, guests: &[Guest]) {
    tell("ground", bounds(std::slice::from_ref(ground)));
    tell("worker tallies", bounds(&ground.tallies));
    for (n, guest) in guests.iter().enumerate() {
        tell(&format!("port {n}: outlets"), bounds(&guest.shared.outlets));
        tell(&format!("port {n}: shared"), bounds(std::slice::from_ref(&*guest.shared)));
        for worker in 0..2 {
            let tally = guest.shared.tallies.of(worker);
            tell(&format!("port {n}: tally of worker {worker}"), bounds(std::slice::from_ref(tally)));
            tell(&format!("port {n}: queue tallies of worker {worker}"), bounds(&tally.queues));
        }
        tell(&format!("port {n}: enabled"), bounds(std::slice::from_ref(&*guest.enabled)));
    }
}

fn tell(what: &str, place: Range<usize>) {
    println!("sharing place {:x} {:x} {what}", place.start, place.end);
}

fn bounds<T>(of: &[T]) -> Range<usize> {
    let range = of.as_ptr_range();
    range.start as usize..range.end as usize
}
