//! Receive queues, and the mail by which they move to, from and between workers.
//!
//! A queue is a value with one owner: it travels inside the message. Workers look at a counter once a turn and
//! at the mail only when that has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use vhost::ring::DeviceRing;

use crate::dpdk;
use crate::snapshot::PortSlot;

/// Which queue: a port's slot and the number of the queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueKey {
    pub slot: PortSlot,
    pub pair: u16,
}

/// Where frames come from.
#[derive(Debug)]
pub(crate) enum RxEnd {
    /// A ring on which a guest sends.
    Guest(DeviceRing),
    /// A receive queue of a DPDK device.
    Device(dpdk::RxQueue),
}

/// A receive queue. Whoever has it serves it; it cannot be copied. Its worker writes it in every visit: on lines of its
/// own (two, as CPUs fetch lines in pairs), or another worker's would come and go.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct RxQueue {
    pub key: QueueKey,
    pub end: RxEnd,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Serve this queue.
    Take(Box<RxQueue>),
    /// Stop serving a queue and send it here. One that has not arrived yet is sent on when it does.
    Give { key: QueueKey, to: Sender<Box<RxQueue>> },
    /// Stop serving a queue and pass it to another worker.
    Pass { key: QueueKey, to: Mailbox },
    /// Send this frame as if the port in `slot` had sent it.
    Inject { slot: PortSlot, frame: Box<[u8]> },
    /// End.
    Stop,
}

/// Where mail for one worker is put. Any thread may.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    sender: Sender<Mail>,
    waiting: Arc<AtomicUsize>,
}

/// Where a worker finds its mail.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: Receiver<Mail>,
    waiting: Arc<AtomicUsize>,
}

/// A mailbox and its other side.
pub(crate) fn channel() -> (Mailbox, Inbox) {
    let (sender, receiver) = unbounded();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Mailbox { sender, waiting: waiting.clone() }, Inbox { receiver, waiting })
}

impl Mailbox {
    /// Puts mail in. A worker that has ended drops it.
    pub(crate) fn send(&self, mail: Mail) {
        if self.sender.send(mail).is_ok() {
            self.waiting.fetch_add(1, Ordering::Release);
        }
    }
}

impl Inbox {
    /// Whether there is mail: one load.
    #[inline(always)]
    pub(crate) fn has_mail(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    /// The next letter.
    pub(crate) fn next(&self) -> Option<Mail> {
        let mail = self.receiver.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(mail)
    }
}
