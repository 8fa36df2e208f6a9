//! Our device ring against our driver ring: whatever is sent, in whatever shape, over however many regions,
//! comes out as it was; what a lying driver writes ends in a named fault.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unsafe_code, reason = "one test copies memory that is gone")]

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use support::worker::Turn;
use support::{ask, region};
use vhost::address::{GuestPhys, HostAddr};
use vhost::driver::{Arena, DriverRing, Place, Receive, Shape, Transmit};
use vhost::fault::{Fault, FaultCell};
use vhost::features::Features;
use vhost::guest::{CopyLevel, dispatch, guest_read};
use vhost::memory::{GuestMemory, MapRequest, Mapper, MemfdKind};
use vhost::notify::Call;
use vhost::ring::{BURST, Chains, DeviceRing};

const GUEST: GuestPhys = GuestPhys(0x7_0000_0000);
const BASIC: Features = Features::VERSION_1.union(Features::INDIRECT_DESC);

/// An arena whose buffers lie in many regions; the rings, which are allocated first, lie in the first.
fn arena(regions: u64) -> Arc<Arena> {
    let len = 4 << 20;
    let cuts: Vec<Place> = (1..regions).map(|n| Place(n * (len / regions / 4096) * 4096)).collect();
    Arc::new(Arena::new(MemfdKind::Plain, len, GUEST).unwrap().cut_at(&cuts))
}

fn map(arena: &Arena) -> Arc<GuestMemory> {
    let one = |r: vhost::driver::ArenaRegion| {
        let fd = arena.file().try_clone().unwrap();
        vhost::memory::RegionRequest { frontend: r.frontend, ..region(r.guest.0, r.len, r.mmap_offset, fd) }
    };
    let regions = arena.regions().into_iter().map(one).collect();
    let request = MapRequest { regions, limit_bytes: u64::MAX, ..MapRequest::default() };
    ask(&Mapper::spawn().unwrap(), request).unwrap()
}

fn device(memory: &Arc<GuestMemory>, ring: &DriverRing, fault: &FaultCell) -> DeviceRing {
    let enabled = Arc::new(AtomicBool::new(true));
    DeviceRing::new(memory.clone(), ring.setup(), enabled, fault.clone(), Call::none()).unwrap()
}

#[derive(Clone, Debug)]
struct Sent {
    len: usize,
    cuts: Vec<u32>,
    indirect: bool,
    publish: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let len = prop_oneof![0..3usize, 1..200usize, 1..4000usize];
    let cuts = proptest::collection::vec(prop_oneof![1..20u32, 1..600u32], 0..12);
    (len, cuts, any::<bool>(), any::<bool>()).prop_map(|(len, cuts, indirect, publish)| Sent {
        len,
        cuts,
        indirect,
        publish,
    })
}

fn levels() -> Vec<CopyLevel> {
    let best = CopyLevel::detect();
    let all = CopyLevel::all();
    all[..=all.iter().position(|l| *l == best).unwrap()].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(
        frames in proptest::collection::vec(sent(), 1..80),
        regions in prop_oneof![Just(1u64), Just(3), Just(60)],
        receive_len in prop_oneof![Just(4012u32), 64..2000u32],
        receive_cuts in proptest::collection::vec(1..900u32, 0..3),
        (receive_indirect, mergeable, in_order) in any::<(bool, bool, bool)>(),
        level in proptest::sample::select(levels()),
    ) {
        let mut features = BASIC;
        features.set(Features::MRG_RXBUF, mergeable);
        features.set(Features::IN_ORDER, in_order);
        let (sender, receiver) = (arena(regions), arena(regions));
        let fault = FaultCell::new(None);
        let mut transmit = Transmit::new(&sender, 64, 4000, features).unwrap();
        let shape = Shape { cuts: &receive_cuts, indirect: receive_indirect };
        let mut receive = Receive::new(&receiver, 64, receive_len, shape, features).unwrap();
        let mut from = device(&map(&sender), transmit.ring(), &fault);
        let mut to = device(&map(&receiver), receive.ring(), &fault);
        let mut chains = Chains::new();
        // Frames under way, and what must come out of them.
        let (mut expected, mut frame) = (std::collections::VecDeque::new(), Vec::new());
        let largest = if mergeable { usize::from(receive.buffers()) } else { 1 } * receive_len as usize - 12;
        for (n, one) in frames.iter().chain(std::iter::repeat_n(&Sent { len: 0, cuts: vec![], indirect: false, publish: true }, 8)).enumerate() {
            let bytes: Vec<u8> = (0..one.len).map(|i| (i * 31 + n) as u8).collect();
            let shape = Shape { cuts: &one.cuts, indirect: one.indirect };
            if transmit.send(&bytes, shape).is_ok() && !bytes.is_empty() && bytes.len() <= largest {
                expected.push_back(bytes);
            }
            if !one.publish {
                continue;
            }
            transmit.publish();
            let before = transmit.in_flight();
            let done = dispatch(level, Turn { from: &mut from, to: &mut to, chains: &mut chains });
            prop_assert_eq!(fault.get(), None);
            prop_assert!(before == 0 || transmit.reap() > 0, "nothing was returned");
            // A frame without room is lost; the receiver is emptied after every turn, so the first always has.
            let mut lost = done.no_room;
            for _ in 0..done.frames {
                prop_assert!(receive.receive(&mut frame).is_some());
                while expected.front() != Some(&frame) {
                    prop_assert!(lost > 0 && expected.pop_front().is_some(), "a frame came out changed");
                    lost -= 1;
                }
                expected.pop_front();
            }
            prop_assert!(receive.receive(&mut frame).is_none());
            expected.drain(..expected.len().min(lost as usize));
            receive.publish();
        }
        prop_assert_eq!(expected.len(), 0);
        prop_assert_eq!(receive.malformed(), 0);
        prop_assert_eq!(transmit.in_flight(), 0);
    }
}

#[test]
fn a_ring_built_again_goes_on_from_the_used_index() {
    let arena = arena(1);
    let memory = map(&arena);
    let fault = FaultCell::new(None);
    let mut transmit = Transmit::new(&arena, 16, 100, BASIC).unwrap();
    let mut chains = Chains::new();
    for n in 0..100u32 {
        let mut ring = device(&memory, transmit.ring(), &fault);
        assert_eq!(ring.base(), 3 * n as u16);
        for _ in 0..3 {
            transmit.send(&n.to_le_bytes(), Shape::SINGLE).unwrap();
        }
        transmit.publish();
        assert_eq!(ring.take(&mut chains, BURST), 3);
        ring.complete();
        // The next ring is told base 0, as virtio-user tells it when it reconnects.
        assert_eq!(transmit.reap(), 3);
    }
    assert_eq!(fault.get(), None);
}

/// One lie on a transmit ring of 16 entries, and the fault that it must end in; `None`: nothing but an empty frame.
fn lie(tell: impl FnOnce(&DriverRing, Place, u64)) -> Option<Fault> {
    let arena = arena(2);
    let (memory, fault) = (map(&arena), FaultCell::new(None));
    let ring = DriverRing::new(&arena, 16, BASIC).unwrap();
    let at = arena.allocate(4096, 4096).unwrap();
    let mut device = device(&memory, &ring, &fault);
    ring.raw().available_index(1);
    ring.raw().available(0, 0);
    tell(&ring, at, arena.guest(at).0);
    let mut chains = Chains::new();
    let taken = device.take(&mut chains, BURST);
    device.complete();
    match fault.get() {
        Some(fault) => {
            assert_eq!(taken, 0, "nothing of a lying burst is served");
            assert!(device.dead());
            assert_eq!(ring.raw().used_index(), 0);
            Some(fault)
        }
        None => {
            assert!((0..taken).all(|i| chains.chain(i).count == 0));
            None
        }
    }
}

/// Told to a ring; there is a free page at the place, with this guest-physical address.
type Lie<'a> = dyn Fn(&DriverRing, Place, u64) + 'a;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

#[test]
fn lies_in_a_ring_have_names() {
    let last = GUEST.0 + (4 << 20);
    let cases: [(Fault, &Lie<'_>); 15] = [
        (Fault::AvailIndexJumped, &|r, _, _| r.raw().available_index(17)),
        (Fault::AvailIndexJumped, &|r, _, _| r.raw().available_index(u16::MAX)),
        (Fault::HeadOutOfRange, &|r, _, _| r.raw().available(0, 16)),
        (Fault::HeadOutOfRange, &|r, _, _| r.raw().available(0, u16::MAX)),
        (Fault::NextOutOfRange, &|r, _, at| r.raw().descriptor(0, at, 64, NEXT, 16)),
        (Fault::ChainTooLong, &|r, _, at| r.raw().descriptor(0, at, 64, NEXT, 0)),
        (Fault::DirectionWrong, &|r, _, at| r.raw().descriptor(0, at, 64, WRITE, 0)),
        (Fault::AddressOutOfRange, &|r, _, _| r.raw().descriptor(0, 0, 64, 0, 0)),
        (Fault::AddressOutOfRange, &|r, _, _| r.raw().descriptor(0, last - 63, 64, 0, 0)),
        (Fault::AddressOutOfRange, &|r, _, _| r.raw().descriptor(0, u64::MAX - 10, 64, 0, 0)),
        (Fault::LengthOverflow, &|r, _, at| r.raw().descriptor(0, at, u32::MAX, 0, 0)),
        (Fault::IndirectInvalid, &|r, _, at| r.raw().descriptor(0, at, 0, INDIRECT, 0)),
        (Fault::IndirectInvalid, &|r, _, at| r.raw().descriptor(0, at, 17, INDIRECT, 0)),
        (Fault::IndirectInvalid, &|r, _, at| r.raw().descriptor(0, at, 16, INDIRECT | NEXT, 1)),
        (Fault::IndirectInvalid, &|r, place, at| {
            r.raw().descriptor(0, at, 16, INDIRECT, 0);
            r.raw().descriptor_at(place, at, 16, INDIRECT, 0);
        }),
    ];
    for (n, (fault, tell)) in cases.into_iter().enumerate() {
        assert_eq!(lie(tell), Some(fault), "case {n}");
    }
}

#[test]
fn chains_without_a_frame_are_returned() {
    assert_eq!(lie(|r, _, at| r.raw().descriptor(0, at, 12, 0, 0)), None);
    assert_eq!(lie(|r, _, at| r.raw().descriptor(0, at, 5, 0, 0)), None);
    // A length of zero points nowhere, so its address does not matter.
    assert_eq!(lie(|r, _, _| r.raw().descriptor(0, u64::MAX, 0, 0, 0)), None);
}

#[test]
fn rings_that_are_not_in_memory_are_refused() {
    let arena = arena(2);
    let memory = map(&arena);
    let ring = DriverRing::new(&arena, 16, BASIC).unwrap();
    let good = ring.setup();
    let build = |setup| {
        let enabled = Arc::new(AtomicBool::new(true));
        DeviceRing::new(memory.clone(), setup, enabled, FaultCell::new(None), Call::none()).map(|_| ())
    };
    assert_eq!(build(good), Ok(()));
    let end = arena.frontend(Place(4 << 20)).0;
    let boundary = arena.frontend(Place(2 << 20)).0;
    let mut bad = vec![];
    for size in [0, 3, 65535, 32769] {
        bad.push(vhost::ring::RingSetup { size, ..good });
    }
    for at in [0, end, end - 16, boundary - 16, u64::MAX, good.desc.0 + 8] {
        bad.push(vhost::ring::RingSetup { desc: vhost::address::FrontendVirt(at), ..good });
    }
    for at in [0, end - 2, boundary - 4, good.used.0 + 2, good.used.0 + 1] {
        bad.push(vhost::ring::RingSetup { used: vhost::address::FrontendVirt(at), ..good });
    }
    for at in [0, end - 2, boundary - 4, good.avail.0 + 1] {
        bad.push(vhost::ring::RingSetup { avail: vhost::address::FrontendVirt(at), ..good });
    }
    for setup in bad {
        assert_eq!(build(setup), Err(Fault::RingInvalid), "{setup:?}");
    }
}

/// The memory goes while the ring is served: the burst is not published, and the fault says why.
#[test]
fn a_ring_whose_buffers_vanish_is_taken_out_of_service() {
    let arena = arena(1);
    let (memory, fault) = (map(&arena), FaultCell::new(None));
    let mut transmit = Transmit::new(&arena, 16, 2000, BASIC).unwrap();
    let mut from = device(&memory, transmit.ring(), &fault);
    let far = Place((4 << 20) - 4096);
    transmit.ring().raw().descriptor(0, arena.guest(far).0, 2012, 0, 0);
    transmit.ring().raw().available(0, 0);
    transmit.ring().raw().available_index(1);
    let mut chains = Chains::new();
    assert_eq!(from.take(&mut chains, BURST), 1);
    support::resize(&arena.file().try_clone().unwrap(), (4 << 20) - 4096);
    let segment = chains.segments(0)[0];
    let mut copy = [1u8; 100];
    // SAFETY: the ring checked the piece; the page behind it is gone, which is what is being tested.
    unsafe { guest_read::<vhost::guest::Portable>(copy.as_mut_ptr(), HostAddr(segment.at.0), 100) };
    from.complete();
    assert_eq!(fault.get(), Some(Fault::MemoryVanished));
    assert_eq!(transmit.ring().raw().used_index(), 0, "nothing was published");
    assert!(from.dead());
    assert_eq!(transmit.reap(), 0);
}
