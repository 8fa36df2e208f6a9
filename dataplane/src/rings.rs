//! A vhost-user port's rings on their way between the control thread for sockets and the workers.
//!
//! A ring on which the guest sends travels to the worker of its queue pair by mail; one on which it receives is put
//! into the port's outlet. Nothing here blocks: what is asked back arrives later. Called by the vhost-user control
//! thread, and by control threads that change the plan.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use vhost::owner::{LinkEvent, RingIndex, RingOwner};
use vhost::ring::DeviceRing;

use crate::fdb::Fdb;
use crate::ids::MacAddr;
use crate::plan;
use crate::port::{Exit, PortShared};
use crate::quiesce::Grace;
use crate::snapshot::PortSlot;
use crate::worker::{Ground, Mail, Mailbox, QueueKey, RxEnd, RxQueue};

/// A RARP that a frontend asks for is sent at most this often.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(200);

/// Which worker serves each queue pair of a port, and whether it has the queue. Locked for moments only: whoever
/// holds it puts mail into boxes and waits for nothing.
#[derive(Debug)]
pub(crate) struct Places(Mutex<Vec<Place>>);

#[derive(Clone, Copy, Debug)]
struct Place {
    worker: usize,
    running: bool,
    size: u32,
}

impl Places {
    /// Nothing runs yet; `plan` names the worker of each pair.
    pub(crate) fn new(plan: &[usize]) -> Self {
        Self(Mutex::new(plan.iter().map(|&worker| Place { worker, running: false, size: 0 }).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker of each pair.
    pub(crate) fn plan(&self) -> Vec<usize> {
        self.lock().iter().map(|p| p.worker).collect()
    }

    /// Whether the receive queue of a pair runs, and its entries.
    pub(crate) fn running(&self, pair: usize) -> (bool, u32) {
        self.lock().get(pair).map_or((false, 0), |p| (p.running, p.size))
    }

    /// Gives a queue to its worker.
    pub(crate) fn start(&self, mailboxes: &[Mailbox], queue: Box<RxQueue>, size: u32) {
        let mut places = self.lock();
        let place = &mut places[usize::from(queue.key.pair)];
        (place.running, place.size) = (true, size);
        mailboxes[place.worker].send(Mail::Take(queue));
    }

    /// Asks for a queue back; it arrives at the receiver returned when its worker has let go.
    pub(crate) fn stop(&self, mailboxes: &[Mailbox], key: QueueKey) -> Receiver<Box<RxQueue>> {
        let (to, from) = bounded(1);
        let mut places = self.lock();
        let place = &mut places[usize::from(key.pair)];
        if place.running {
            mailboxes[place.worker].send(Mail::Give { key, to });
        }
        (place.running, place.size) = (false, 0);
        from
    }

    /// Moves queues to other workers.
    pub(crate) fn replan(&self, mailboxes: &[Mailbox], slot: PortSlot, plan: &[usize]) {
        let mut places = self.lock();
        for (pair, (place, &worker)) in places.iter_mut().zip(plan).enumerate() {
            if place.worker != worker && place.running {
                let key = QueueKey { slot, pair: pair as u16 };
                mailboxes[place.worker].send(Mail::Pass { key, to: mailboxes[worker].clone() });
            }
            place.worker = worker;
        }
    }
}

/// A ring that was asked back.
#[derive(Debug)]
enum Returning {
    FromWorker(Receiver<Box<RxQueue>>),
    FromOutlet(Grace),
}

/// What the vhost-user control thread hands a port's rings to.
pub(crate) struct Rings {
    pub shared: Arc<PortShared>,
    pub places: Arc<Places>,
    pub ground: Arc<Ground>,
    pub mailboxes: Arc<[Mailbox]>,
    pub slot: PortSlot,
    pub fdb: Arc<Fdb>,
    returning: Vec<Option<Returning>>,
    announced: Option<Instant>,
}

impl Rings {
    pub(crate) fn new(
        shared: Arc<PortShared>,
        places: Arc<Places>,
        ground: Arc<Ground>,
        mailboxes: Arc<[Mailbox]>,
        slot: PortSlot,
        fdb: Arc<Fdb>,
    ) -> Self {
        let rings = 2 * shared.outlets.len();
        Self {
            shared,
            places,
            ground,
            mailboxes,
            slot,
            fdb,
            returning: (0..rings).map(|_| None).collect(),
            announced: None,
        }
    }

    fn key(&self, index: RingIndex) -> QueueKey {
        QueueKey { slot: self.slot, pair: index.pair() }
    }

    /// Sends a RARP request from `mac` into the network (RFC 903), as a moved guest's peers expect. It passes port
    /// security like any frame of the port.
    fn announce(&mut self, mac: [u8; 6]) {
        let now = Instant::now();
        if self.announced.is_some_and(|last| now - last < ANNOUNCE_PAUSE) {
            return;
        }
        self.announced = Some(now);
        let mut frame = vec![0xFF; 6];
        frame.extend(mac);
        frame.extend([0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
        for _ in 0..2 {
            frame.extend(mac);
            frame.extend([0; 4]);
        }
        frame.resize(60, 0);
        if let Some(worker) = self.places.plan().first() {
            self.mailboxes[*worker].send(Mail::Inject { slot: self.slot, frame: frame.into() });
        }
    }
}

impl RingOwner for Rings {
    fn start(&mut self, index: RingIndex, ring: DeviceRing) {
        self.shared.set_node(plan::node_of_memory(ring.place()));
        if index.is_guest_transmit() {
            let size = ring.size();
            let queue = RxQueue { key: self.key(index), end: RxEnd::Guest(ring) };
            self.places.start(&self.mailboxes, Box::new(queue), size);
        } else {
            self.shared.set_tx_size(index.pair(), ring.size());
            self.shared.open(index.pair(), Exit::Guest(ring));
        }
    }

    fn stop(&mut self, index: RingIndex) {
        self.returning[usize::from(index.0)] = Some(if index.is_guest_transmit() {
            Returning::FromWorker(self.places.stop(&self.mailboxes, self.key(index)))
        } else {
            self.shared.close(index.pair());
            Returning::FromOutlet(self.ground.quiescence.begin())
        });
    }

    fn stopped(&mut self, index: RingIndex) -> Option<DeviceRing> {
        let place = &mut self.returning[usize::from(index.0)];
        let ring = match place.as_ref()? {
            Returning::FromWorker(from) => match from.try_recv().ok()?.end {
                RxEnd::Guest(ring) => Some(ring),
                RxEnd::Device(_) => None,
            },
            Returning::FromOutlet(grace) => {
                if !self.ground.quiescence.passed(*grace) {
                    return None;
                }
                match self.shared.outlets[usize::from(index.pair())].take() {
                    Some(Exit::Guest(ring)) => Some(ring),
                    Some(Exit::Device(_)) | None => None,
                }
            }
        };
        *place = None;
        ring
    }

    fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up => {}
            LinkEvent::Down | LinkEvent::Faulted(_) => {
                if let Some(mac) = self.shared.disown() {
                    self.fdb.forget(MacAddr::to_word(mac));
                }
            }
            LinkEvent::Announce(mac) => self.announce(mac),
        }
    }
}
