//! Workers: pinned threads that own receive queues and run each frame from its arrival to its delivery.
//!
//! `loop { quiet point → mail → for each queue: take → admit → forward → send → give back }`. In a turn that moves
//! frames a worker allocates nothing, calls nothing in the kernel (waking the notifier excepted), and waits for
//! nobody. What it owns moves to and from it by mail at the quiet point.

mod idle;
mod mail;
mod staging;
mod turn;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use vhost::guest::{self, CopyLevel};

use crate::counters::WorkerTally;
use crate::eal::Eal;
use crate::ids::CoreId;
use crate::plan;
use crate::quiesce::Quiescence;
use crate::snapshot::Published;
use crate::spec::Idle;

pub(crate) use mail::{Mail, Mailbox, QueueKey, RxEnd, RxQueue};
use turn::Turns;

/// What all workers share, and the control side with them.
#[derive(Debug)]
pub(crate) struct Ground {
    pub published: Published,
    pub quiescence: Quiescence,
    pub tallies: Box<[CachePadded<WorkerTally>]>,
    /// Seconds since start; written by the housekeeper, read by workers for ages of addresses.
    pub now: CachePadded<std::sync::atomic::AtomicU32>,
    pub level: CopyLevel,
    pub idle: Idle,
    pub two_copies: bool,
    pub tsc_hz: u64,
}

/// A running worker, as the control side holds it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub core: CoreId,
    pub numa_node: Option<u32>,
    pub mailbox: Mailbox,
    pub tid: Arc<AtomicI32>,
    /// Set by the watchdog.
    pub stuck: AtomicBool,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Worker {
    /// Starts worker `number` on `core`, and returns when it is pinned and registered with DPDK.
    pub(crate) fn start(
        number: usize,
        core: CoreId,
        ground: &Arc<Ground>,
        eal: &Eal,
    ) -> std::io::Result<Self> {
        let (mailbox, inbox) = mail::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let tid = Arc::new(AtomicI32::new(0));
        let (ground, eal, its_tid) = (ground.clone(), eal.clone(), tid.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
            let lcore = idle::pin(core).and_then(|()| eal.register_thread().map_err(std::io::Error::other));
            its_tid.store(idle::thread_id(), Ordering::Relaxed);
            let outcome =
                lcore.as_ref().map(|_| ()).map_err(|e| std::io::Error::new(e.kind(), e.to_string()));
            if ready.send(outcome).is_err() || lcore.is_err() {
                return;
            }
            run(number, &ground, inbox);
        })?;
        started.recv().map_err(|_| std::io::Error::other("the thread ended at once"))??;
        Ok(Self {
            core,
            numa_node: plan::node_of_cpu(core),
            mailbox,
            tid,
            stuck: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Asks it to end, and waits until it has, for at most `patience`. `false`: it did not.
    pub(crate) fn stop(&self, patience: Duration) -> bool {
        self.mailbox.send(Mail::Stop);
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let deadline = std::time::Instant::now() + patience;
        while !thread.is_finished() {
            if std::time::Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().is_ok()
    }
}

/// The life of a worker. A panic costs the queue that was being served, not the switch.
fn run(number: usize, ground: &Ground, inbox: mail::Inbox) {
    let mut turns = Turns::new(number, ground, inbox);
    loop {
        let outcome =
            std::panic::catch_unwind(AssertUnwindSafe(|| guest::dispatch(ground.level, &mut turns)));
        match outcome {
            Ok(()) => break,
            Err(_) => turns.after_panic(),
        }
    }
    ground.quiescence.offline(number);
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
