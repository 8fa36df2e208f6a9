//! The driver ring against a device that is written here in the plainest way, straight from the specification.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::address::GuestPhys;
use crate::features::Features;
use crate::memory::MemfdKind;

const GUEST: GuestPhys = GuestPhys(0x4000_0000);

/// Address, length, and whether the device may write there.
type Piece = (Place, u32, bool);

/// A device that reads and writes through the arena by guest-physical address.
struct PlainDevice {
    arena: Arc<Arena>,
    desc: Place,
    avail: Place,
    used: Place,
    size: u16,
    next: u16,
}

impl PlainDevice {
    fn new(ring: &DriverRing) -> Self {
        let (setup, arena) = (ring.setup(), Arc::clone(ring.arena()));
        let place = |at: crate::address::FrontendVirt| Place(at.0 - arena.frontend(Place(0)).0);
        Self {
            desc: place(setup.desc),
            avail: place(setup.avail),
            used: place(setup.used),
            size: setup.size,
            next: 0,
            arena: Arc::clone(&arena),
        }
    }

    /// The next available chain: its head and its descriptors (address, length, writable).
    fn pop(&mut self) -> Option<(u16, Vec<Piece>)> {
        let published = self.arena.word16(self.avail.plus(2)).load(Ordering::Acquire);
        if published == self.next {
            return None;
        }
        let slot = u64::from(self.next % self.size);
        let head = self.arena.word16(self.avail.plus(4 + 2 * slot)).load(Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
        let mut chain = Vec::new();
        self.walk(self.desc, head, &mut chain);
        Some((head, chain))
    }

    fn walk(&self, table: Place, mut index: u16, chain: &mut Vec<Piece>) {
        loop {
            let at = table.plus(16 * u64::from(index));
            let place = Place(self.arena.word64(at).load(Ordering::Relaxed) - GUEST.0);
            let rest = self.arena.word64(at.plus(8)).load(Ordering::Relaxed);
            let (len, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if flags & 4 != 0 {
                assert_eq!(flags, 4);
                return self.walk(place, 0, chain);
            }
            chain.push((place, len, flags & 2 != 0));
            if flags & 1 == 0 {
                return;
            }
            index = next;
        }
    }

    fn push(&self, position: u16, head: u16, len: u32) {
        let at = self.used.plus(4 + 8 * u64::from(position % self.size));
        self.arena.word32(at).store(head.into(), Ordering::Relaxed);
        self.arena.word32(at.plus(4)).store(len, Ordering::Relaxed);
    }

    fn publish(&self, index: u16) {
        self.arena.word16(self.used.plus(2)).store(index, Ordering::Release);
    }

    fn bytes(&self, chain: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        chain.iter().for_each(|&(at, len, _)| self.arena.append_to(at, len as usize, &mut bytes));
        bytes
    }
}

fn arena() -> Arc<Arena> {
    Arc::new(Arena::new(MemfdKind::Plain, 4 << 20, GUEST).unwrap())
}

fn cuts() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(1..200u32, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is sent in any shape arrives, is given back in any order, and can be sent again without end.
    #[test]
    fn frames_arrive_whole(
        frames in proptest::collection::vec((0..1500usize, cuts(), any::<bool>(), any::<bool>()), 1..200),
        shuffle: u64,
    ) {
        let arena = arena();
        let mut transmit = Transmit::new(&arena, 16, 1500, Features::VERSION_1).unwrap();
        let mut device = PlainDevice::new(transmit.ring());
        let (mut sent, mut arrived) = (Vec::new(), Vec::new());
        let mut held: Vec<u16> = Vec::new();
        let (mut returned, mut seed) = (0u16, shuffle);
        let mut deliver = |device: &mut PlainDevice, arrived: &mut Vec<Vec<u8>>| {
            while let Some((head, chain)) = device.pop() {
                assert!(chain.iter().all(|&(_, len, writable)| len > 0 && !writable));
                let bytes = device.bytes(&chain);
                assert_eq!(bytes[..12], [0; 12]);
                arrived.push(bytes[12..].to_vec());
                held.push(head);
            }
            while !held.is_empty() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let head = held.swap_remove((seed >> 33) as usize % held.len());
                device.push(returned, head, 0);
                returned = returned.wrapping_add(1);
            }
            device.publish(returned);
        };
        for (n, (len, cuts, indirect, publish)) in frames.iter().enumerate() {
            let frame: Vec<u8> = (0..*len).map(|i| (i * 7 + n) as u8).collect();
            let shape = Shape { cuts, indirect: *indirect };
            if transmit.send(&frame, shape).is_err() {
                transmit.publish();
                deliver(&mut device, &mut arrived);
                transmit.send(&frame, shape).unwrap();
            }
            sent.push(frame);
            if *publish {
                transmit.publish();
            }
        }
        transmit.publish();
        deliver(&mut device, &mut arrived);
        prop_assert!(sent == arrived, "frames differ");
        transmit.reap();
        prop_assert_eq!(transmit.in_flight(), 0);
        prop_assert_eq!(transmit.ring().free(), 16);
    }

    /// Frames written over one or more buffers of any shape come out as they were.
    #[test]
    fn merged_frames_come_out_whole(
        frames in proptest::collection::vec(1..1200usize, 1..60),
        cuts in cuts(),
        indirect: bool,
    ) {
        let arena = arena();
        let shape = Shape { cuts: &cuts, indirect };
        let features = Features::VERSION_1 | Features::MRG_RXBUF;
        let mut receive = Receive::new(&arena, 32, 300, shape, features).unwrap();
        let mut device = PlainDevice::new(receive.ring());
        let mut got = Vec::new();
        let most = usize::from(receive.buffers()) * 300 - 12;
        for (n, len) in frames.iter().enumerate() {
            let frame: Vec<u8> = (0..*len.min(&most)).map(|i| (i * 5 + n) as u8).collect();
            let mut rest: Vec<u8> = [0u8; 12].into_iter().chain(frame.iter().copied()).collect();
            let buffers = rest.len().div_ceil(300) as u16;
            rest[10..12].copy_from_slice(&buffers.to_le_bytes());
            let mut position = device.next;
            while !rest.is_empty() {
                let (head, chain) = device.pop().unwrap();
                let mut written = 0;
                for (at, len, writable) in chain {
                    assert!(writable);
                    let part = rest.len().min(len as usize);
                    device.arena.write(at, &rest[..part]);
                    rest.drain(..part);
                    written += part as u32;
                }
                device.push(position, head, written);
                position = position.wrapping_add(1);
            }
            device.publish(position);
            let received = receive.receive(&mut got).unwrap();
            prop_assert_eq!(received.buffers, buffers);
            prop_assert_eq!(&got, &frame);
            prop_assert!(receive.receive(&mut got).is_none());
            receive.publish();
        }
        prop_assert_eq!(receive.malformed(), 0);
    }
}

#[test]
fn an_in_order_device_may_return_a_batch_by_its_last() {
    let arena = arena();
    let mut ring = DriverRing::new(&arena, 8, Features::VERSION_1 | Features::IN_ORDER).unwrap();
    let at = arena.allocate(64, 64).unwrap();
    let buffer = Buffer { at, len: 64, writable: true };
    for round in 0..10u32 {
        let heads: Vec<u16> = (0..5)
            .map(|n| {
                ring.add(&[buffer], round * 10 + n).unwrap();
                let mut device = PlainDevice { next: ring.raw().published(), ..PlainDevice::new(&ring) };
                ring.publish();
                device.pop().unwrap().0
            })
            .collect();
        let expected: Vec<u16> = (0..5).map(|n| ((round * 5 + n) % 8) as u16).collect();
        assert_eq!(heads, expected, "descriptors are used from front to back");
        let device = PlainDevice::new(&ring);
        let first = (round * 5) as u16;
        device.push(first, heads[2], 7);
        device.push(first + 3, heads[3], 8);
        device.push(first + 4, heads[4], 9);
        device.publish(first + 5);
        let used: Vec<_> = std::iter::from_fn(|| ring.reap()).map(|u| (u.token % 10, u.len)).collect();
        assert_eq!(used, [(0, 0), (1, 0), (2, 7), (3, 8), (4, 9)]);
    }
}

#[test]
fn flags_tell_who_wants_to_be_woken() {
    let arena = arena();
    let mut ring = DriverRing::new(&arena, 8, Features::VERSION_1).unwrap();
    let device = PlainDevice::new(&ring);
    assert!(ring.publish());
    arena.word16(device.used).store(1, Ordering::Relaxed);
    assert!(!ring.publish());
    ring.want_interrupts(false);
    assert_eq!(arena.word16(device.avail).load(Ordering::Relaxed), 1);
    ring.want_interrupts(true);
    assert_eq!(arena.word16(device.avail).load(Ordering::Relaxed), 0);
}

#[test]
fn an_arena_is_handed_out_once_and_told_in_parts() {
    let arena = Arena::new(MemfdKind::Plain, 4 * 4096, GUEST).unwrap();
    assert_eq!(arena.allocate(100, 64), Some(Place(0)));
    assert_eq!(arena.allocate(4, 64), Some(Place(128)));
    assert_eq!(arena.allocate(4 * 4096, 1), None);
    let arena = arena.cut_at(&[Place(4096), Place(8192)]);
    let regions = arena.regions();
    assert_eq!(regions.iter().map(|r| r.len).collect::<Vec<_>>(), [4096, 4096, 8192]);
    assert_eq!(regions[2].guest, GuestPhys(GUEST.0 + 8192));
    assert_eq!(regions[2].mmap_offset, 8192);
}

#[test]
#[should_panic(expected = "outside the arena")]
fn access_outside_the_arena_is_a_mistake() {
    arena().write(Place((4 << 20) - 1), &[1, 2]);
}
