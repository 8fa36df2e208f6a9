//! The poll-mode queues against our own device ring, and against lies that only a hand can write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::address::{GuestPhys, HostAddr};
use crate::driver::Place;
use crate::fault::FaultCell;
use crate::guest::{CopyLevel, Level, LevelTask, dispatch, guest_read};
use crate::memory::{MapRequest, Mapper, MemfdKind, RegionRequest};
use crate::notify::Call;
use crate::ring::{BURST, Chains, Delivered, DeviceRing, FrameSource, Segment};

const GUEST: GuestPhys = GuestPhys(0x4000_0000);
const BASIC: Features = Features::VERSION_1;

fn arena() -> Arc<Arena> {
    Arc::new(Arena::new(MemfdKind::Plain, 8 << 20, GUEST).unwrap())
}

fn features(in_order: bool, mergeable: bool) -> Features {
    let mut features = BASIC;
    features.set(Features::IN_ORDER, in_order);
    features.set(Features::MRG_RXBUF, mergeable);
    features
}

fn device(arena: &Arena, setup: RingSetup, fault: &FaultCell) -> DeviceRing {
    let region = arena.regions()[0];
    let request = MapRequest {
        regions: vec![RegionRequest {
            guest: region.guest,
            frontend: region.frontend,
            len: region.len,
            mmap_offset: 0,
            fd: arena.file().try_clone().unwrap(),
        }],
        limit_bytes: u64::MAX,
        ..MapRequest::default()
    };
    let (reply, answer) = crossbeam_channel::unbounded();
    let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    Mapper::spawn().unwrap().map(request, reply, Arc::new(wake));
    let memory = answer.recv_timeout(std::time::Duration::from_secs(10)).unwrap().result.unwrap();
    let enabled = Arc::new(AtomicBool::new(true));
    DeviceRing::new(memory, setup, enabled, fault.clone(), Call::none()).unwrap()
}

/// Frames that were taken, copied whole.
struct Whole(Vec<Vec<u8>>);

impl FrameSource for Whole {
    fn head(&self, i: usize) -> &[u8] {
        &self.0[i]
    }
    fn body(&self, _: usize) -> &[Segment] {
        &[]
    }
    fn len(&self, i: usize) -> u32 {
        self.0[i].len() as u32
    }
    fn poisoned(&self) -> bool {
        false
    }
}

/// One turn of a worker that moves at most `most` frames.
struct Turn<'a> {
    from: &'a mut DeviceRing,
    to: &'a mut DeviceRing,
    most: usize,
}

impl LevelTask for Turn<'_> {
    type Output = Delivered;
    fn run<L: Level>(self) -> Delivered {
        let mut chains = Chains::new();
        self.from.take(&mut chains, self.most);
        let read = |segment: &Segment| {
            let mut bytes = vec![0; segment.len as usize];
            // SAFETY: the ring checked the piece, and `bytes` has room for it.
            unsafe { guest_read::<L>(bytes.as_mut_ptr(), HostAddr(segment.at.0), bytes.len()) };
            bytes
        };
        let frames = (0..chains.len()).map(|i| chains.segments(i).iter().flat_map(read).collect()).collect();
        L::done();
        let source = Whole(frames);
        let which: Vec<u8> = (0..source.0.len() as u8).collect();
        let done = self.to.deliver::<L, Whole>(&source, &which);
        self.from.complete();
        done
    }
}

fn frame(number: u64, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i as u64 * 7 + number) as u8).collect();
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bursts of any size, over a full ring and around its end, arrive in order, whole and once.
    #[test]
    fn bursts_arrive(
        turns in proptest::collection::vec((0..40u16, 0..=BURST, 0..70u16), 1..150),
        len in prop_oneof![Just(64usize), 64..3000usize],
        (in_order, mergeable) in any::<(bool, bool)>(),
        full: bool,
    ) {
        let features = features(in_order, mergeable);
        let (sender, receiver) = (arena(), arena());
        let mut send = SendQueue::new(&sender, 32, 3000, features).unwrap();
        let room = if mergeable { 500 } else { 3000 };
        let mut receive = ReceiveQueue::new(&receiver, 64, HEADROOM + room, features).unwrap();
        let fault = FaultCell::new(None);
        let mut from = device(&sender, send.setup(), &fault);
        let mut to = device(&receiver, receive.setup(), &fault);
        let (mut sent, mut lost, mut got) = (0u64, 0u64, Vec::new());
        let last = std::iter::repeat_n((0, BURST, 64), 80);
        for (count, most, receiving) in turns.into_iter().chain(last) {
            let free = send.size() - send.in_flight();
            let went = send.send_burst(count, |slot| {
                slot.write(&frame(sent, len));
                sent += 1;
                len as u32
            });
            prop_assert!(went >= count.min(free) && went <= count);
            let done = dispatch(CopyLevel::detect(), Turn { from: &mut from, to: &mut to, most });
            lost += u64::from(done.no_room);
            prop_assert_eq!(done.too_small + done.failed, 0);
            let take = |frame: &Received<'_>| got.push((frame.get::<8>(), frame.len(), frame.buffers(), frame.get::<56>()));
            let frames = if full {
                receive.receive_burst::<true, _>(receiving, take)
            } else {
                receive.receive_burst::<false, _>(receiving, take)
            };
            prop_assert!(mergeable || frames <= receiving.min(MOST));
        }
        prop_assert_eq!(fault.get(), None);
        prop_assert_eq!(send.reap(), 0);
        prop_assert_eq!((send.in_flight(), send.taken()), (0, sent));
        prop_assert_eq!(got.len() as u64 + lost, sent, "each frame comes once, or found no room");
        prop_assert!(got.windows(2).all(|two| two[0].0 < two[1].0), "frames come in order");
        let buffers = if mergeable { (len + 12).div_ceil(512) as u16 } else { 1 };
        for (number, length, merged, word) in got {
            let expected = frame(number, len);
            prop_assert_eq!((length as usize, merged), (len, buffers));
            prop_assert_eq!(word, u64::from_le_bytes(expected[56..64].try_into().unwrap()));
        }
        prop_assert_eq!(receive.malformed() + send.lies(), 0);
    }
}

/// The fields of a ring, to be lied in.
struct Liar<'a>(&'a Arena, RingSetup);

impl Liar<'_> {
    fn used(&self, at: u64) -> Place {
        Place(self.1.used.0 - self.0.frontend(Place(0)).0 + at)
    }
    fn entry(&self, position: u64, id: u32, len: u32) {
        self.0.word32(self.used(4 + 8 * position)).store(id, Ordering::Relaxed);
        self.0.word32(self.used(8 + 8 * position)).store(len, Ordering::Relaxed);
    }
    fn index(&self, index: u16) {
        self.0.word16(self.used(2)).store(index, Ordering::Release);
    }
    fn avail(&self, at: u64) -> u16 {
        let place = Place(self.1.avail.0 - self.0.frontend(Place(0)).0 + at);
        self.0.word16(place).load(Ordering::Acquire)
    }
    /// Says how many buffers the frame in buffer `id` takes.
    fn buffers(&self, id: u64, count: u16) {
        let desc = Place(self.1.desc.0 - self.0.frontend(Place(0)).0 + 16 * id);
        let at = self.0.word64(desc).load(Ordering::Relaxed) - GUEST.0 + 10;
        self.0.write(Place(at), &count.to_le_bytes());
    }
}

#[test]
fn a_batch_that_one_entry_returns_is_taken_back() {
    let arena = arena();
    let mut send = SendQueue::new(&arena, 8, 64, BASIC | Features::IN_ORDER).unwrap();
    assert_eq!(send.send_burst(8, |_| 64), 8);
    assert_eq!(send.send_burst(8, |_| 64), 0, "the ring is full");
    let liar = Liar(&arena, send.setup());
    liar.entry(0, 4, 0);
    liar.index(5);
    assert_eq!((send.reap(), send.in_flight()), (5, 3));
    assert_eq!(send.send_burst(8, |_| 64), 5);
}

#[test]
fn ids_come_back_in_any_order() {
    let arena = arena();
    let mut send = SendQueue::new(&arena, 4, 64, BASIC).unwrap();
    let liar = Liar(&arena, send.setup());
    assert_eq!(send.send_burst(4, |_| 64), 4);
    for (position, id) in [2, 0, 3, 1].into_iter().enumerate() {
        liar.entry(position as u64, id, 0);
    }
    liar.index(2);
    assert_eq!(send.send_burst(4, |_| 64), 2);
    assert_eq!([liar.avail(4), liar.avail(6)], [2, 0], "the buffers that came back are sent");
    liar.index(4);
    assert_eq!(send.send_burst(4, |_| 64), 2);
    assert_eq!([liar.avail(8), liar.avail(10)], [3, 1]);
}

#[test]
fn lies_harm_nothing() {
    for in_order in [false, true] {
        let (one, other) = (arena(), arena());
        let features = features(in_order, true);
        let mut send = SendQueue::new(&one, 8, 64, features).unwrap();
        let liar = Liar(&one, send.setup());
        assert_eq!(
            send.send_burst(3, |slot| {
                slot.touch(u32::MAX, 1);
                u32::MAX
            }),
            3
        );
        liar.index(4);
        assert_eq!((send.reap(), send.lies(), send.in_flight()), (0, 1, 3));
        (0..3).for_each(|position| liar.entry(position, u32::MAX, u32::MAX));
        liar.index(3);
        assert_eq!((send.reap(), send.in_flight()), (3, 0));
        assert_eq!(send.send_burst(64, |_| 0), 8);

        let mut receive = ReceiveQueue::new(&other, 8, HEADROOM + 64, features).unwrap();
        let liar = Liar(&other, receive.setup());
        liar.index(9);
        assert_eq!(receive.receive_burst::<true, _>(64, |_| panic!("there is no frame")), 0);
        assert_eq!(receive.malformed(), 1);
        // Too short for a header; no buffers; more buffers than the ring has; a length beyond the buffer.
        let cases = [(11, 1), (76, 0), (76, 9), (u32::MAX, 1), (76, 1)];
        for (id, (len, buffers)) in cases.into_iter().enumerate() {
            liar.entry(id as u64, id as u32 | 0xffff_0000, len);
            liar.buffers(id as u64, buffers);
        }
        liar.index(5);
        let mut lens = Vec::new();
        assert_eq!(receive.receive_burst::<true, _>(64, |frame| lens.push(frame.len())), 2);
        assert_eq!((lens, receive.malformed()), (vec![64, 64], 4));
        assert_eq!(liar.avail(2), 13, "all five buffers were given back");
    }
}

#[test]
fn a_merged_frame_waits_for_its_last_buffer() {
    let arena = arena();
    let mut receive = ReceiveQueue::new(&arena, 8, HEADROOM + 64, features(true, true)).unwrap();
    let liar = Liar(&arena, receive.setup());
    for round in 0..20u16 {
        let first = round * 3;
        for i in first..first + 3 {
            liar.entry(u64::from(i % 8), u32::from(i % 8), if i == first + 2 { 40 } else { 76 });
        }
        liar.buffers(u64::from(first % 8), 3);
        liar.index(first + 2);
        assert_eq!(receive.receive_burst::<false, _>(64, |_| panic!("it is not all there")), 0);
        liar.index(first + 3);
        let mut lens = Vec::new();
        // It is taken whole, even if fewer entries were asked for.
        assert_eq!(receive.receive_burst::<true, _>(1, |frame| lens.push((frame.len(), frame.buffers()))), 1);
        assert_eq!(lens, [(64 + 76 + 40, 3)]);
    }
    assert_eq!(receive.malformed(), 0);
}

#[test]
fn a_sleeping_device_is_woken_once_for_what_is_new() {
    use std::os::fd::AsFd;
    let arena = arena();
    let mut send = SendQueue::new(&arena, 8, 64, BASIC).unwrap();
    let liar = Liar(&arena, send.setup());
    let flags = rustix::event::EventfdFlags::NONBLOCK;
    let kick = rustix::event::eventfd(0, flags).unwrap();
    send.set_kick(kick.try_clone().unwrap());
    let kicks = || {
        let mut count = [0; 8];
        rustix::io::read(kick.as_fd(), &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    };
    send.reap();
    assert_eq!(kicks(), 0, "nothing is new");
    send.send_burst(2, |_| 64);
    send.reap();
    send.reap();
    assert_eq!(kicks(), 1);
    arena.word16(liar.used(0)).store(1, Ordering::Relaxed);
    send.send_burst(2, |_| 64);
    send.reap();
    assert_eq!(kicks(), 0, "it polls");
    arena.word16(liar.used(0)).store(0, Ordering::Relaxed);
    send.reap();
    assert_eq!(kicks(), 1, "it fell asleep before it saw the last");
    assert_eq!(liar.avail(0), 1, "the driver wants no interrupts");
}

#[test]
fn buffers_lie_as_dpdk_lays_them_out() {
    let arena = arena();
    let mut send = SendQueue::new(&arena, 16, 1500, BASIC).unwrap();
    let setup = send.setup();
    send.send_burst(16, |slot| {
        slot.head(&[7; 64]);
        slot.put::<42>(1);
        1500
    });
    let mut sets = std::collections::HashSet::new();
    for id in 0..16 {
        let desc = Place(setup.desc.0 - arena.frontend(Place(0)).0 + 16 * id);
        let at = Place(arena.word64(desc).load(Ordering::Relaxed) - GUEST.0);
        assert!((at.0 + 12).is_multiple_of(64), "the frame begins a line");
        assert_eq!(arena.word64(desc.plus(8)).load(Ordering::Relaxed), 1512, "no flags, header and frame");
        let mut bytes = [0; 12 + 64];
        arena.read(at, &mut bytes);
        assert_eq!((&bytes[..12], bytes[12], bytes[12 + 42], bytes[12 + 43]), (&[0; 12][..], 7, 1, 0));
        sets.insert((at.0 + 12) / 64 % 16);
    }
    assert_eq!(sets.len(), 16, "first lines spread over the sets of a cache");
    let memory = PollPair::memory(16, 1500, 2176);
    let small = Arc::new(Arena::new(MemfdKind::Plain, memory.next_multiple_of(4096), GUEST).unwrap());
    assert!(PollPair::new(&small, 16, 1500, 2176, BASIC).is_some());
    assert!(PollPair::new(&small, 16, 1500, 2176, BASIC).is_none(), "there is room for one");
}
