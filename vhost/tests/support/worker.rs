//! The smallest worker there can be: it sends a port's frames back to it.
#![expect(unsafe_code, reason = "a worker copies guest memory")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vhost::guest::{CopyLevel, Level, LevelTask, dispatch, guest_read};
use vhost::owner::{LinkEvent, RingIndex, RingOwner};
use vhost::ring::{BURST, Chains, Delivered, DeviceRing, FrameSource, Segment};

/// A burst as a worker holds it: private heads of at most 128 bytes, and bodies where they were sent.
#[derive(Default)]
pub(crate) struct Burst {
    heads: Vec<Vec<u8>>,
    bodies: Vec<Vec<Segment>>,
}

impl Burst {
    /// Reads the heads of all frames that `chains` holds; chains without a frame are left out.
    fn read<L: Level>(chains: &Chains) -> Self {
        let mut burst = Self::default();
        for i in (0..chains.len()).filter(|&i| chains.chain(i).count > 0) {
            let (mut head, mut body) = (Vec::new(), Vec::new());
            for &segment in chains.segments(i) {
                let part = (128 - head.len()).min(segment.len as usize);
                let start = head.len();
                head.resize(start + part, 0);
                // SAFETY: the ring checked that the piece lies in its mapping; `head` has room for the part.
                unsafe { guest_read::<L>(head[start..].as_mut_ptr(), segment.at, part) };
                if part < segment.len as usize {
                    body.push(Segment { at: segment.at.add(part), len: segment.len - part as u32 });
                }
            }
            burst.heads.push(head);
            burst.bodies.push(body);
        }
        L::done();
        burst
    }
}

impl FrameSource for Burst {
    fn head(&self, i: usize) -> &[u8] {
        &self.heads[i]
    }
    fn body(&self, i: usize) -> &[Segment] {
        &self.bodies[i]
    }
    fn len(&self, i: usize) -> u32 {
        self.heads[i].len() as u32 + self.bodies[i].iter().map(|s| s.len).sum::<u32>()
    }
    fn poisoned(&self) -> bool {
        false
    }
}

/// One turn of a worker: takes a burst from one ring and delivers it to the other.
pub(crate) struct Turn<'a> {
    pub(crate) from: &'a mut DeviceRing,
    pub(crate) to: &'a mut DeviceRing,
    pub(crate) chains: &'a mut Chains,
}

impl LevelTask for Turn<'_> {
    type Output = Delivered;
    fn run<L: Level>(self) -> Delivered {
        self.from.take(self.chains, BURST);
        let burst = Burst::read::<L>(self.chains);
        let all: Vec<u8> = (0..burst.heads.len() as u8).collect();
        let delivered = self.to.deliver::<L, Burst>(&burst, &all);
        self.from.complete();
        delivered
    }
}

/// A thread that echoes: what comes on a transmit ring goes back on the receive ring of the same pair.
#[derive(Debug)]
pub(crate) struct Echo {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    rings: Mutex<Rings>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Rings {
    running: BTreeMap<u16, DeviceRing>,
    returned: BTreeMap<u16, DeviceRing>,
    events: Vec<LinkEvent>,
    frames: u64,
}

impl Echo {
    /// Starts the thread.
    pub(crate) fn spawn() -> Self {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let (mut chains, level) = (Chains::new(), CopyLevel::detect());
            while !worker.stop.load(Ordering::Relaxed) {
                if worker.rings.lock().unwrap().echo(level, &mut chains) == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// What a port is given.
    pub(crate) fn owner(&self) -> Box<dyn RingOwner> {
        Box::new(Owner(Arc::clone(&self.shared)))
    }

    /// What happened to the link since the last call.
    pub(crate) fn events(&self) -> Vec<LinkEvent> {
        std::mem::take(&mut self.shared.rings.lock().unwrap().events)
    }

    /// Frames echoed so far.
    pub(crate) fn frames(&self) -> u64 {
        self.shared.rings.lock().unwrap().frames
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Rings {
    fn echo(&mut self, level: CopyLevel, chains: &mut Chains) -> u64 {
        let before = self.frames;
        for transmit in [1, 3, 5, 7] {
            let Some(mut from) = self.running.remove(&transmit) else { continue };
            if let Some(to) = self.running.get_mut(&(transmit - 1))
                && from.enabled()
                && to.enabled()
            {
                self.frames += u64::from(dispatch(level, Turn { from: &mut from, to, chains }).frames);
            }
            self.running.insert(transmit, from);
        }
        self.frames - before
    }
}

struct Owner(Arc<Shared>);

impl RingOwner for Owner {
    fn start(&mut self, index: RingIndex, ring: DeviceRing) {
        self.0.rings.lock().unwrap().running.insert(index.0, ring);
    }
    fn stop(&mut self, index: RingIndex) {
        let mut rings = self.0.rings.lock().unwrap();
        if let Some(ring) = rings.running.remove(&index.0) {
            rings.returned.insert(index.0, ring);
        }
    }
    fn stopped(&mut self, index: RingIndex) -> Option<DeviceRing> {
        self.0.rings.lock().unwrap().returned.remove(&index.0)
    }
    fn link(&mut self, event: LinkEvent) {
        self.0.rings.lock().unwrap().events.push(event);
    }
}
