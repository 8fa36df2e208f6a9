//! One thread for what is nobody's turn: the clock of ages, ageing, and the watchdog over workers.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Inner, ports};

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(50);

/// A worker that has not finished a turn for so long is reported.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// What the watchdog remembers of a worker.
struct Watched {
    turns: u64,
    since: Instant,
}

/// Starts the thread. It ends soon after `stop` is set in `inner`.
pub(super) fn start(inner: &Arc<Inner>) -> io::Result<JoinHandle<()>> {
    let inner = inner.clone();
    std::thread::Builder::new().name("housekeeper".into()).spawn(move || run(&inner))
}

fn run(inner: &Inner) {
    let start = Instant::now();
    let watch = |_| Watched { turns: 0, since: Instant::now() };
    let mut watched: Vec<Watched> = (0..inner.workers.len()).map(watch).collect();
    let mut aged = 0;
    while !inner.stop.load(Ordering::Acquire) {
        std::thread::park_timeout(PERIOD);
        let now = 1 + start.elapsed().as_secs() as u32;
        inner.ground.now.store(now, Ordering::Relaxed);
        if now != aged {
            aged = now;
            age(inner, now);
            if let Err(error) = ports::draw_near(inner) {
                tracing::warn!(%error, "queues could not be moved near their guests' memory");
            }
        }
        for (number, watched) in watched.iter_mut().enumerate() {
            look_at(inner, number, watched);
        }
    }
}

/// Forgets addresses that were silent for too long.
fn age(inner: &Inner, now: u32) {
    let most = inner.config.mac_ageing.as_secs() as u32;
    let state = match inner.state.try_lock() {
        Ok(state) => state,
        Err(TryLockError::Poisoned(state)) => state.into_inner(),
        // A change is being made: the next second will do.
        Err(TryLockError::WouldBlock) => return,
    };
    state.fdbs().for_each(|fdb| fdb.expire(now, most));
}

/// Says when a worker has not finished a turn for too long, and when it has again.
fn look_at(inner: &Inner, number: usize, watched: &mut Watched) {
    let worker = &inner.workers[number];
    let turns = inner.ground.tallies[number].turns.get();
    if turns != watched.turns {
        *watched = Watched { turns, since: Instant::now() };
        if worker.stuck.swap(false, Ordering::Relaxed) {
            tracing::warn!(core = %worker.core, "the worker turns again");
        }
    } else if watched.since.elapsed() > STUCK_AFTER && !worker.stuck.swap(true, Ordering::Relaxed) {
        let core = worker.core;
        let tid = worker.tid.load(Ordering::Relaxed);
        tracing::error!(%core, tid, "the worker has not finished a turn for {STUCK_AFTER:?}");
    }
}
