//! A worker's turns, run by the test's own thread on guests in memory.

mod allocations;
mod instructions;
mod sharing;
mod valgrind;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use vhost::address::GuestPhys;
use vhost::driver::{Arena, Receive, Shape, Transmit};
use vhost::fault::FaultCell;
use vhost::features::Features;
use vhost::guest::{Level, LevelTask, audit, dispatch};
use vhost::memory::{GuestMemory, MapRequest, Mapper, MemfdKind, RegionRequest};
use vhost::notify::Call;
use vhost::ring::DeviceRing;

use super::*;
use crate::drops::DropReason;
use crate::fdb::{Dest, Fdb};
use crate::ids::{MacAddr, NetworkId};
use crate::port::{Exit, PortShared};
use crate::report::PortCounters;
use crate::security::Admission;
use crate::snapshot::{NetworkEntry, PortEntry, PortSlot, Snapshot};
use crate::spec::PortSettings;

const PLAIN: Shape<'static> = Shape { cuts: &[], indirect: false };

/// A guest with one queue pair.
struct Guest {
    mac: MacAddr,
    transmit: Transmit,
    receive: Receive,
    shared: Arc<PortShared>,
    enabled: Arc<AtomicBool>,
}

/// What to make of each guest.
#[derive(Clone)]
struct Plan {
    network: u16,
    settings: PortSettings,
    features: Features,
    entries: u16,
    frame_len: u32,
    buffer_len: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            network: 0,
            settings: PortSettings::default(),
            features: Features::VERSION_1
                | Features::MRG_RXBUF
                | Features::INDIRECT_DESC
                | Features::IN_ORDER,
            entries: 256,
            frame_len: 2048,
            buffer_len: 2176,
        }
    }
}

/// Guests, networks and, unless asked otherwise, one worker.
struct World {
    ground: Arc<Ground>,
    guests: Vec<Guest>,
    fdbs: Vec<Arc<Fdb>>,
    mailbox: Mailbox,
    inbox: Option<mail::Inbox>,
    /// Of the workers after the first.
    others: Vec<(Mailbox, mail::Inbox)>,
}

fn mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8])
}

fn map(arena: &Arena) -> Arc<GuestMemory> {
    let regions = arena.regions().into_iter().map(|r| RegionRequest {
        guest: r.guest,
        frontend: r.frontend,
        len: r.len,
        mmap_offset: r.mmap_offset,
        fd: arena.file().try_clone().unwrap(),
    });
    let request = MapRequest { regions: regions.collect(), limit_bytes: u64::MAX, ..MapRequest::default() };
    let (to, from) = crossbeam_channel::bounded(1);
    let wake = Arc::new(arena.file().try_clone().unwrap());
    Mapper::spawn().unwrap().map(request, to, wake);
    from.recv().unwrap().result.unwrap()
}

impl World {
    fn new(plans: &[Plan]) -> Self {
        Self::served(plans, |_| 0)
    }

    /// A world in which guest `n` is served by worker `by(n)`.
    fn served(plans: &[Plan], by: impl Fn(usize) -> usize) -> Self {
        let workers = (0..plans.len()).map(&by).max().unwrap_or(0) + 1;
        let ground = Arc::new(Ground {
            published: Published::new(),
            quiescence: Quiescence::new(workers),
            tallies: (0..workers).map(|_| CachePadded::new(WorkerTally::default())).collect(),
            now: CachePadded::new(1.into()),
            level: CopyLevel::detect(),
            idle: Idle::Busy,
            two_copies: false,
            tsc_hz: 1,
        });
        let (mut mailboxes, mut inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mail::channel()).unzip();
        let networks = plans.iter().map(|p| p.network).max().unwrap_or(0) + 1;
        let fdbs: Vec<Arc<Fdb>> =
            (0..networks).map(|n| Arc::new(Fdb::new(1024, 256, 77 + u64::from(n)))).collect();
        let (mut guests, mut ports, mut members) =
            (Vec::new(), Vec::new(), vec![Vec::new(); networks.into()]);
        for (n, plan) in plans.iter().enumerate() {
            let (slot, dest) = (PortSlot(n as u16), Dest(members[usize::from(plan.network)].len() as u16));
            members[usize::from(plan.network)].push((slot, dest));
            let shared = Arc::new(PortShared::new(1, workers, workers > 1));
            if let Some(mac) = plan.settings.mac {
                fdbs[usize::from(plan.network)].declare(mac, dest);
            }
            let need =
                u64::from(plan.entries) * u64::from(plan.frame_len + plan.buffer_len + 4096 + 64) + (2 << 20);
            let arena = Arc::new(
                Arena::new(MemfdKind::Plain, need.next_multiple_of(4096), GuestPhys(1 << 32)).unwrap(),
            );
            let transmit = Transmit::new(&arena, plan.entries, plan.frame_len, plan.features).unwrap();
            let receive = Receive::new(&arena, plan.entries, plan.buffer_len, PLAIN, plan.features).unwrap();
            let (memory, fault) = (map(&arena), FaultCell::new(None));
            let enabled = Arc::new(AtomicBool::new(true));
            let ring = |setup| {
                DeviceRing::new(memory.clone(), setup, enabled.clone(), fault.clone(), Call::none()).unwrap()
            };
            shared.open(0, Exit::Guest(ring(receive.ring().setup())));
            let queue =
                RxQueue { key: QueueKey { slot, pair: 0 }, end: RxEnd::Guest(ring(transmit.ring().setup())) };
            mailboxes[by(n)].send(Mail::Take(Box::new(queue)));
            ports.push(Some(PortEntry {
                shared: shared.clone(),
                network: plan.network,
                dest,
                admission: Admission::new(&plan.settings),
                max_frame: plan.settings.mtu.map_or(u32::MAX, |mtu| u32::from(mtu) + 18),
                admin_up: plan.settings.admin_up,
            }));
            guests.push(Guest { mac: mac(n), transmit, receive, shared, enabled });
        }
        let networks =
            members.iter().zip(&fdbs).enumerate().map(|(n, (ports, fdb))| {
                Some(NetworkEntry::new(NetworkId(n as u32 + 1), fdb.clone(), ports))
            });
        drop(ground.published.publish(Snapshot { ports: ports.into(), networks: networks.collect() }));
        let (mailbox, inbox) = (mailboxes.remove(0), Some(inboxes.remove(0)));
        let others = mailboxes.into_iter().zip(inboxes).collect();
        Self { ground, guests, fdbs, mailbox, inbox, others }
    }

    /// Runs `f` with the worker's turns.
    fn with_turns<R>(&mut self, f: impl FnOnce(&mut Turns<'_>, &mut [Guest]) -> R) -> R {
        let inbox = self.inbox.take().expect("once");
        let mut turns = Turns::new(0, &self.ground, inbox);
        f(&mut turns, &mut self.guests)
    }
}

struct OneTurn<'a, 'b>(&'a mut Turns<'b>);

impl LevelTask for OneTurn<'_, '_> {
    type Output = usize;
    fn run<L: Level>(self) -> usize {
        self.0.one::<L>()
    }
}

fn turn(turns: &mut Turns<'_>) -> usize {
    let level = CopyLevel::detect();
    dispatch(level, OneTurn(turns))
}

impl Guest {
    fn send(&mut self, to: MacAddr, len: usize) -> Vec<u8> {
        let frame = frame(to, self.mac, len);
        self.transmit.send(&frame, PLAIN).unwrap();
        self.transmit.publish();
        frame
    }

    fn received(&mut self) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        self.receive.receive(&mut frame).map(|_| frame)
    }

    fn counters(&self) -> PortCounters {
        self.shared.tallies.sum()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.counters().drops.iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n)
    }
}

fn frame(to: MacAddr, from: MacAddr, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = to.0.into_iter().chain(from.0).chain([0x88, 0xB5]).collect();
    frame.extend((0..len.saturating_sub(14)).map(|i| (i * 7 + i / 256) as u8));
    frame.truncate(len.max(1));
    frame
}

fn owned(n: usize) -> Plan {
    let settings = PortSettings { mac: Some(mac(n)), ..PortSettings::default() };
    Plan { settings, ..Plan::default() }
}

/// design: every byte is read once and written once; only the first 128 are private in between.
#[test]
fn every_byte_is_copied_once() {
    for len in [64, 65, 127, 128, 129, 200, 1500, 2048, 4096, 9000, 65_000] {
        for buffer_len in [2176, 70_000] {
            let plan = |n| Plan { frame_len: 65_536, buffer_len, entries: 64, ..owned(n) };
            let mut world = World::new(&[plan(0), plan(1)]);
            world.with_turns(|turns, guests| {
                turn(turns);
                let sent = guests[0].send(mac(1), len);
                let _ = audit::take();
                assert_eq!(turn(turns), 1);
                let moved = audit::take();
                let n = len as u64;
                assert_eq!(moved, audit::Moved { read: n, private: n.min(128), written: n + 12 }, "{len}");
                assert_eq!(guests[1].received().as_deref(), Some(&sent[..]));
                assert_eq!(guests[1].received(), None);
            });
        }
    }
}

#[test]
fn two_copies_read_every_byte_into_private_memory_and_change_nothing_else() {
    for len in [60, 128, 129, 1500, 9000] {
        let mut world = World::new(&[Plan { frame_len: 9000, ..owned(0) }, owned(1)]);
        Arc::get_mut(&mut world.ground).unwrap().two_copies = true;
        world.with_turns(|turns, guests| {
            turn(turns);
            let sent = guests[0].send(mac(1), len);
            let _ = audit::take();
            assert_eq!(turn(turns), 1);
            let n = len as u64;
            assert_eq!(audit::take().private, n, "{len}");
            assert_eq!(guests[1].received().as_deref(), Some(&sent[..]), "{len}");
        });
    }
}

#[test]
fn visits_are_timed_stage_by_stage() {
    let mut world = World::new(&[owned(0), owned(1)]);
    let ground = world.ground.clone();
    world.with_turns(|turns, guests| {
        turn(turns);
        for _ in 0..130 {
            guests[0].send(mac(1), 64);
            assert_eq!(turn(turns), 1);
            guests[1].received().unwrap();
        }
    });
    let stages = ground.tallies[0].stages();
    assert!(stages.iter().all(|s| s.frames == 3 && s.cycles > 0), "one in 64 of 130 visits: {stages:?}");
}

#[test]
fn unknown_addresses_flood_and_learned_ones_do_not() {
    let trusted =
        || Plan { settings: PortSettings { trusted: true, ..PortSettings::default() }, ..Plan::default() };
    let mut world = World::new(&[trusted(), trusted(), trusted()]);
    world.with_turns(|turns, guests| {
        turn(turns);
        let first = guests[0].send(mac(1), 100);
        turn(turns);
        for guest in &mut guests[1..] {
            assert_eq!(guest.received().as_deref(), Some(&first[..]));
        }
        let answer = guests[1].send(mac(0), 80);
        turn(turns);
        assert_eq!(guests[0].received().as_deref(), Some(&answer[..]));
        assert_eq!(guests[2].received(), None, "the address was learned");
        let again = guests[0].send(mac(1), 90);
        turn(turns);
        assert_eq!(guests[1].received().as_deref(), Some(&again[..]));
        assert_eq!(guests[2].received(), None);
        guests[0].send(mac(0), 70);
        turn(turns);
        assert_eq!(guests[0].drops(DropReason::Hairpin), 1);
    });
}

#[test]
fn networks_are_isolated() {
    let in_network = |n, network| Plan { network, ..owned(n) };
    let mut world = World::new(&[in_network(0, 0), in_network(1, 0), in_network(2, 1), in_network(3, 1)]);
    world.with_turns(|turns, guests| {
        turn(turns);
        guests[0].send(mac(2), 100);
        guests[0].send(MacAddr([0xFF; 6]), 100);
        turn(turns);
        assert!(guests[1].received().is_some() && guests[1].received().is_some());
        assert!(guests[2].received().is_none() && guests[3].received().is_none());
    });
}

#[test]
fn a_port_sends_from_its_own_address_alone() {
    let mut world = World::new(&[owned(0), Plan::default(), owned(2)]);
    world.with_turns(|turns, guests| {
        turn(turns);
        guests[0].mac = mac(9);
        guests[0].send(mac(2), 64);
        guests[0].mac = MacAddr([3, 0, 0, 0, 0, 0]);
        guests[0].send(mac(2), 64);
        // The second port has none declared: its first one is adopted, unless somebody has it.
        guests[1].mac = mac(2);
        guests[1].send(mac(0), 64);
        turn(turns);
        assert_eq!(guests[0].drops(DropReason::MacSpoofed), 1);
        assert_eq!(guests[0].drops(DropReason::SourceMacInvalid), 1);
        assert_eq!(guests[1].drops(DropReason::MacInUse), 1);
        guests[1].mac = mac(1);
        guests[1].send(mac(0), 64);
        guests[1].mac = mac(5);
        guests[1].send(mac(0), 64);
        turn(turns);
        assert_eq!(guests[1].drops(DropReason::MacSpoofed), 1);
        assert_eq!(guests[1].shared.adopted(), mac(1).to_word());
        assert!(guests[0].received().is_some());
        assert!(guests[0].received().is_none());
        assert!(guests[2].received().is_none());
    });
}

#[test]
fn lengths_and_reserved_addresses_are_checked() {
    let mut small = owned(0);
    small.settings.mtu = Some(1500);
    let mut receiver = owned(1);
    receiver.settings.mtu = Some(576);
    let mut world = World::new(&[small, receiver]);
    world.with_turns(|turns, guests| {
        turn(turns);
        guests[0].transmit.send(&[1, 2, 3], PLAIN).unwrap();
        guests[0].transmit.send_with(&[0; 5], &[], PLAIN).unwrap();
        guests[0].send(mac(1), 1519);
        guests[0].send(mac(1), 1518);
        guests[0].send(mac(1), 594);
        guests[0].send(MacAddr([1, 0x80, 0xC2, 0, 0, 1]), 64);
        turn(turns);
        for reason in
            [DropReason::Runt, DropReason::BadChain, DropReason::TooLong, DropReason::ReservedMulticast]
        {
            assert_eq!(guests[0].drops(reason), 1, "{reason}");
        }
        assert_eq!(guests[1].drops(DropReason::ReceiverMtu), 1);
        assert_eq!(guests[1].received().map(|f| f.len()), Some(594));
        assert_eq!(guests[1].received(), None);
    });
}

#[test]
fn a_full_receiver_costs_its_own_frames_only() {
    let mut world = World::new(&[owned(0), Plan { entries: 8, ..owned(1) }, owned(2)]);
    world.with_turns(|turns, guests| {
        turn(turns);
        for _ in 0..20 {
            guests[0].send(mac(1), 64);
            guests[0].send(mac(2), 64);
        }
        turn(turns);
        turn(turns);
        assert_eq!(guests[1].drops(DropReason::RxRingFull), 12);
        assert_eq!(std::iter::from_fn(|| guests[1].received()).count(), 8);
        assert_eq!(std::iter::from_fn(|| guests[2].received()).count(), 20);
        assert_eq!(guests[0].transmit.reap(), 40, "every descriptor came back");
    });
}

#[test]
fn a_visit_is_bounded_in_bytes() {
    let plan = |n| Plan { frame_len: 65_536, buffer_len: 70_000, entries: 64, ..owned(n) };
    let mut world = World::new(&[plan(0), plan(1)]);
    world.with_turns(|turns, guests| {
        turn(turns);
        for _ in 0..30 {
            guests[0].send(mac(1), 65_000);
        }
        let first = turn(turns);
        assert!((2..12).contains(&first), "{first} frames of 65,000 bytes in one visit");
        let rest: usize = (0..20).map(|_| turn(turns)).sum();
        assert_eq!(first + rest, 30);
        assert_eq!(std::iter::from_fn(|| guests[1].received()).count(), 30);
    });
}

#[test]
fn a_receiver_with_chains_of_nothing_cannot_make_a_turn_long() {
    const WRITE: u16 = 2;
    const WRITE_NEXT: u16 = 3;
    let entries = 2048;
    let plan = Plan { entries, frame_len: 256, buffer_len: 512, ..owned(1) };
    let mut world = World::new(&[owned(0), plan]);
    world.with_turns(|turns, guests| {
        turn(turns);
        let buffer = guests[1].receive.ring().arena().guest(vhost::driver::Place(0)).0;
        let raw = guests[1].receive.ring().raw();
        for i in 0..entries - 1 {
            raw.descriptor(i, buffer, 0, WRITE_NEXT, i + 1);
        }
        raw.descriptor(entries - 1, buffer, 4096, WRITE, 0);
        raw.available(0, 0);
        for _ in 0..3 {
            guests[0].send(mac(1), 64);
        }
        turn(turns);
        assert_eq!(guests[1].drops(DropReason::RxBufferTooSmall), 3);
        assert_eq!(guests[1].counters().tx().frames, 0);
    });
}

#[test]
fn a_frame_for_many_goes_out_over_several_turns() {
    let plans: Vec<Plan> = (0..40).map(|n| Plan { entries: 64, ..owned(n) }).collect();
    let mut world = World::new(&plans);
    world.with_turns(|turns, guests| {
        turn(turns);
        let sent = guests[0].send(MacAddr([0xFF; 6]), 1400);
        turn(turns);
        assert_eq!(guests[0].transmit.reap(), 1, "the sender's buffer is not held");
        let got =
            |guests: &mut [Guest]| guests[1..].iter_mut().filter_map(Guest::received).collect::<Vec<_>>();
        let mut frames = got(guests);
        assert!(frames.len() < 39, "not all in one turn");
        for _ in 0..10 {
            turn(turns);
            frames.extend(got(guests));
        }
        assert_eq!(frames.len(), 39);
        assert!(frames.iter().all(|f| *f == sent));
        assert_eq!(guests[0].received(), None);
    });
}

#[test]
fn a_disabled_queue_is_drained_and_receives_nothing() {
    let mut world = World::new(&[owned(0), owned(1)]);
    world.with_turns(|turns, guests| {
        turn(turns);
        guests[0].enabled.store(false, Ordering::Release);
        guests[0].send(mac(1), 64);
        guests[1].send(mac(0), 64);
        turn(turns);
        assert_eq!(guests[0].drops(DropReason::QueueDisabled), 1);
        assert_eq!(guests[0].drops(DropReason::ReceiverDown), 1);
        assert_eq!(guests[0].transmit.reap(), 1);
        assert_eq!(guests[1].received(), None);
        assert_eq!(guests[0].received(), None);
    });
}

#[test]
fn queues_move_by_mail_even_if_asked_for_before_they_come() {
    let mut world = World::new(&[owned(0)]);
    let mailbox = world.mailbox.clone();
    world.with_turns(|turns, _| {
        let (to, from) = crossbeam_channel::bounded(1);
        let key = QueueKey { slot: PortSlot(0), pair: 0 };
        turn(turns);
        mailbox.send(Mail::Give { key, to });
        turn(turns);
        let queue = from.try_recv().unwrap();
        let (to, from) = crossbeam_channel::bounded(1);
        mailbox.send(Mail::Give { key, to });
        turn(turns);
        assert!(from.try_recv().is_err());
        mailbox.send(Mail::Take(queue));
        turn(turns);
        assert_eq!(from.try_recv().unwrap().key, key);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent to whom: what was sent is what was received and what was dropped, to the frame.
    #[test]
    fn nothing_is_lost_uncounted(frames in proptest::collection::vec((0usize..5, 0usize..7, 14usize..2000), 1..300)) {
        let plan = |n| Plan { entries: 32, network: u16::from(n == 4), ..owned(n) };
        let mut world = World::new(&[plan(0), plan(1), plan(2), plan(3), plan(4)]);
        world.with_turns(|turns, guests| {
            turn(turns);
            let mut received = 0u64;
            for chunk in frames.chunks(16) {
                for &(from, to, len) in chunk {
                    guests[from].send(mac(to), len);
                }
                for _ in 0..4 {
                    turn(turns);
                }
                for (n, guest) in guests.iter_mut().enumerate() {
                    if chunk.len() % (n + 2) == 0 {
                        continue;
                    }
                    received += std::iter::from_fn(|| guest.received()).count() as u64;
                }
            }
            for guest in guests.iter_mut() {
                received += std::iter::from_fn(|| guest.received()).count() as u64;
            }
            let counters: Vec<PortCounters> = guests.iter().map(Guest::counters).collect();
            let sum = |f: fn(&PortCounters) -> u64| counters.iter().map(f).sum::<u64>();
            assert_eq!(sum(|c| c.rx().frames), frames.len() as u64);
            assert_eq!(sum(|c| c.tx().frames), received);
            // A flooded frame has as many copies as receivers: three in the first network, none in the second.
            let copies: u64 = frames.iter().map(|&(from, to, _)| match (from, to) {
                (4, _) | (_, 0..4) => 1,
                _ => 3,
            }).sum();
            assert_eq!(received + sum(|c| c.drops.iter().map(|d| d.1).sum()), copies);
        });
    }
}
