//! The turn of a worker.
#![expect(unsafe_code, reason = "reads the published snapshot; mbufs are raw memory")]

use std::sync::atomic::Ordering;

use vhost::guest::{Level, LevelTask};
use vhost::ring::{BURST, Segment};
use vhost::{address::HostAddr, fault::Fault};

use super::idle::Rest;
use super::mail::{Inbox, Mail, QueueKey, RxEnd, RxQueue};
use super::staging::Staging;
use super::{Ground, idle};
use crate::burst::Burst;
use crate::clock::cycles;
use crate::counters::{Laps, WorkerTally};
use crate::dpdk::{self, MbufPtr};
use crate::drops::DropReason;
use crate::emit::{Emission, Floods, Source};
use crate::pipeline::Stage;
use crate::report::WorkStage;
use crate::snapshot::Snapshot;

/// Queues a worker can have before its list has to grow (at a quiet point).
const QUEUES: usize = 256;

/// Everything a worker owns.
pub(super) struct Turns<'a> {
    number: usize,
    ground: &'a Ground,
    inbox: Inbox,
    #[expect(clippy::vec_box, reason = "queues arrive and leave as boxes: moving one moves a pointer")]
    queues: Vec<Box<RxQueue>>,
    /// Queues asked for before they arrived.
    wanted: Vec<Mail>,
    serving: Option<usize>,
    lane: Lane,
    rest: Rest,
    stop: bool,
}

/// The memory that a worker uses again and again.
struct Lane {
    worker: usize,
    now: u32,
    burst: Burst,
    mbufs: [MbufPtr; BURST],
    floods: Floods,
    staging: Staging,
    /// Visits that moved frames.
    visits: u32,
}

impl<'a> Turns<'a> {
    pub(super) fn new(number: usize, ground: &'a Ground, inbox: Inbox) -> Self {
        Self {
            number,
            ground,
            inbox,
            queues: Vec::with_capacity(QUEUES),
            wanted: Vec::new(),
            serving: None,
            lane: Lane {
                worker: number,
                now: 0,
                burst: Burst::new(),
                mbufs: MbufPtr::array(),
                floods: Floods::new(),
                staging: Staging::new(ground.two_copies),
                visits: 0,
            },
            rest: Rest::new(ground.idle),
            stop: false,
        }
    }

    /// A panic unwound out of a turn: the queue being served is taken out of service.
    #[cold]
    pub(super) fn after_panic(&mut self) {
        if let Some(queue) = self.serving.take().and_then(|i| self.queues.get_mut(i)) {
            tracing::error!(worker = self.number, queue = ?queue.key, "a worker failed while it served this queue");
            if let RxEnd::Guest(ring) = &mut queue.end {
                ring.fail(Fault::ProtocolViolation);
            }
        } else {
            tracing::error!(worker = self.number, "a worker failed");
        }
    }

    /// A quiet point and what follows it. Returns the frames moved.
    #[inline(always)]
    pub(super) fn one<L: Level>(&mut self) -> usize {
        self.ground.quiescence.pass(self.number);
        if self.inbox.has_mail() {
            self.read_mail::<L>();
        }
        self.visit_all::<L>()
    }

    /// Visits every queue once. Returns the frames moved.
    #[inline(always)]
    fn visit_all<L: Level>(&mut self) -> usize {
        // SAFETY: this worker is online and drops the reference before the next quiet point.
        let snapshot = unsafe { self.ground.published.read() };
        self.lane.now = self.ground.now.load(Ordering::Relaxed);
        let tally = &self.ground.tallies[self.number];
        let mut frames = 0;
        for (i, queue) in self.queues.iter_mut().enumerate() {
            self.serving = Some(i);
            frames += self.lane.visit::<L>(snapshot, queue, tally);
        }
        self.serving = None;
        if !self.lane.floods.is_empty() {
            self.lane.floods.work::<L>(snapshot, self.number);
            // A frame that waits is work even if nobody could take it.
            frames = frames.max(1);
        }
        frames
    }

    /// Reads the mail, at a quiet point.
    #[cold]
    fn read_mail<L: Level>(&mut self) {
        while let Some(mail) = self.inbox.next() {
            match mail {
                Mail::Take(queue) => self.arrived(queue),
                Mail::Give { key, .. } | Mail::Pass { key, .. } => match self.position(key) {
                    Some(i) => send_on(self.queues.swap_remove(i), mail),
                    None => self.wanted.push(mail),
                },
                Mail::Inject { slot, frame } => {
                    // SAFETY: this worker is online and drops the reference before the next quiet point.
                    let snapshot = unsafe { self.ground.published.read() };
                    self.lane.burst.inject(&frame);
                    let mut laps = Laps::begin(1, &self.ground.tallies[self.number]);
                    self.lane.run::<L>(snapshot, slot.0, Source::Own, &mut laps);
                }
                Mail::Stop => self.stop = true,
            }
        }
    }

    fn position(&self, key: QueueKey) -> Option<usize> {
        self.queues.iter().position(|q| q.key == key)
    }

    /// A queue came: it is served, or sent on if somebody asked for it meanwhile.
    fn arrived(&mut self, queue: Box<RxQueue>) {
        let asked = self.wanted.iter().position(|mail| match mail {
            Mail::Give { key, .. } | Mail::Pass { key, .. } => *key == queue.key,
            Mail::Take(_) | Mail::Inject { .. } | Mail::Stop => false,
        });
        match asked {
            Some(i) => send_on(queue, self.wanted.remove(i)),
            None => self.queues.push(queue),
        }
    }
}

/// Does with a queue what `mail` asks.
fn send_on(queue: Box<RxQueue>, mail: Mail) {
    match mail {
        // Whoever asked may have gone; then the queue is dropped, here at a quiet point.
        Mail::Give { to, .. } => drop(to.send(queue)),
        Mail::Pass { to, .. } => to.send(Mail::Take(queue)),
        Mail::Take(_) | Mail::Inject { .. } | Mail::Stop => {}
    }
}

impl LevelTask for &mut Turns<'_> {
    type Output = ();

    /// Turns until told to stop.
    fn run<L: Level>(self) {
        let (quiescence, tally) = (&self.ground.quiescence, &self.ground.tallies[self.number]);
        quiescence.online(self.number);
        let mut before = cycles();
        while !self.stop {
            let frames = self.one::<L>();
            let nap = if frames > 0 {
                self.rest.worked();
                None
            } else {
                self.rest.idled()
            };
            if let Some(time) = nap {
                quiescence.offline(self.number);
                idle::sleep(time);
                quiescence.online(self.number);
            }
            let after = cycles();
            let took = after.wrapping_sub(before);
            before = after;
            tally.turns.add(1);
            if frames > 0 {
                tally.busy.add(took);
                tally.frames.add(frames as u64);
                tally.longest.raise(took);
            } else {
                tally.idle.add(took);
            }
        }
    }
}

impl Lane {
    /// Visits one queue: takes a burst, runs it through the pipeline, and gives it back. Returns its frames.
    #[inline(always)]
    fn visit<L: Level>(&mut self, snapshot: &Snapshot, queue: &mut RxQueue, tally: &WorkerTally) -> usize {
        let mut laps = Laps::begin(self.visits, tally);
        let QueueKey { slot, pair } = queue.key;
        match &mut queue.end {
            RxEnd::Guest(ring) => {
                let frames = ring.take(&mut self.burst.chains, BURST);
                if frames == 0 {
                    return 0;
                }
                laps.end(WorkStage::Take);
                let enabled = ring.enabled();
                self.receive::<L>(snapshot, slot.0, pair, enabled);
                if enabled {
                    self.staging.copy::<L>(&mut self.burst);
                    laps.end(WorkStage::Head);
                    self.run::<L>(snapshot, slot.0, Source::Guest(ring), &mut laps);
                }
                ring.complete();
                laps.end(WorkStage::Return);
                self.visits = self.visits.wrapping_add(1);
                laps.finish(frames);
                frames
            }
            RxEnd::Device(device) => {
                let frames = self.take_mbufs(device);
                if frames == 0 {
                    return 0;
                }
                laps.end(WorkStage::Take);
                self.receive::<L>(snapshot, slot.0, pair, true);
                laps.end(WorkStage::Head);
                let mut mbufs = std::mem::replace(&mut self.mbufs, MbufPtr::array());
                self.run::<L>(snapshot, slot.0, Source::Mbufs(&mut mbufs), &mut laps);
                // SAFETY: those that were sent on were replaced by null; the others are ours and used no more.
                unsafe { MbufPtr::free_all(&mut mbufs[..frames]) };
                laps.end(WorkStage::Return);
                self.visits = self.visits.wrapping_add(1);
                laps.finish(frames);
                frames
            }
        }
    }

    /// Counts a burst and copies the heads of its frames.
    #[inline(always)]
    fn receive<L: Level>(&mut self, snapshot: &Snapshot, slot: u16, pair: u16, enabled: bool) {
        if !enabled {
            // A disabled ring is drained and what it holds discarded.
            if let Some(port) = snapshot.port(slot) {
                let tally = port.shared.tallies.of(self.worker);
                tally.queues[usize::from(pair)].rx_frames.add(self.burst.count() as u64);
                tally.drop_frames(DropReason::QueueDisabled, self.burst.count() as u64);
            }
            return;
        }
        let bytes = self.burst.load::<L>();
        if let Some(port) = snapshot.port(slot) {
            let queue = &port.shared.tallies.of(self.worker).queues[usize::from(pair)];
            queue.rx_frames.add(self.burst.count() as u64);
            queue.rx_bytes.add(bytes);
        }
    }

    /// Runs the burst through the pipeline.
    #[inline(always)]
    fn run<L: Level>(&mut self, snapshot: &Snapshot, slot: u16, source: Source<'_>, laps: &mut Laps<'_>) {
        let Some(stage) = Stage::new(snapshot, slot, self.worker, self.now) else { return };
        self.burst.prefetch_bodies();
        stage.admit::<L>(&mut self.burst);
        laps.end(WorkStage::Admit);
        stage.forward(&mut self.burst);
        laps.end(WorkStage::Forward);
        let emission = Emission { stage: &stage, snapshot, worker: self.worker, burst: &self.burst, source };
        emission.send::<L>(&mut self.floods);
        laps.end(WorkStage::Emit);
    }

    /// Takes a burst from a device: the bodies are the mbufs' own memory.
    #[inline(always)]
    fn take_mbufs(&mut self, device: &mut dpdk::RxQueue) -> usize {
        let chains = &mut self.burst.chains;
        chains.clear();
        let frames = device.rx(&mut self.mbufs);
        for mbuf in &self.mbufs[..frames] {
            // SAFETY: received just now, so it is a frame of ours.
            vhost::guest::prefetch(HostAddr(unsafe { mbuf.data() } as usize));
        }
        for mbuf in &self.mbufs[..frames] {
            let mut chain = chains.open();
            let mut fits = chains.has_room();
            let mut segment = mbuf.alias();
            while fits && !segment.is_null() {
                // SAFETY: a segment of a frame of ours; its data lies in its buffer.
                let (at, len, next) = unsafe { (segment.data(), segment.data_len(), segment.next()) };
                if len > 0 {
                    fits = chains
                        .push_segment(&mut chain, Segment { at: HostAddr(at as usize), len: len as u32 });
                }
                segment = next;
            }
            if fits { chains.close(chain) } else { chains.close_empty(chain) }
        }
        frames
    }
}
