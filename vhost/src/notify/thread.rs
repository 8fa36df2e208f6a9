//! The notifier thread: takes marks and signals guests.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};

use super::aio::Aio;
use super::board::{Board, LINES};
use super::pace::Pace;
use super::{Line, NoLine, Slot};

/// The notifier: one thread for all ports. Ends when it is dropped.
#[derive(Debug)]
pub struct Notifier {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the kernel gives no eventfd, no asynchronous I/O context (`fs.aio-max-nr`) or no thread.
    pub fn spawn() -> io::Result<Self> {
        let board = Arc::new(Board::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let work =
            Work { board: Arc::clone(&board), aio: Aio::new()?, pace: Pace::default(), due: BTreeSet::new() };
        let thread = std::thread::Builder::new().name("vhost-notify".into()).spawn(move || work.run())?;
        Ok(Self { board, thread: Some(thread) })
    }

    /// Lines for the rings of one port, which share one bound on time.
    ///
    /// # Errors
    /// If there are not that many left.
    pub fn lines(&self, count: usize) -> Result<Vec<Line>, NoLine> {
        static GROUP: AtomicU64 = AtomicU64::new(0);
        let group = GROUP.fetch_add(1, Ordering::Relaxed);
        let slot = |_| {
            let id = self.board.take(group).ok_or(NoLine(LINES))?;
            Ok(Line(Arc::new(Slot { id, board: Arc::clone(&self.board) })))
        };
        (0..count).map(slot).collect()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.board.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    board: Arc<Board>,
    aio: Aio,
    pace: Pace,
    /// Marked lines whose port must wait for its share of time.
    due: BTreeSet<u32>,
}

impl Work {
    fn run(mut self) {
        while !self.board.stopping() {
            let marked = &mut self.due;
            self.board.take_marks(|id| {
                marked.insert(id);
            });
            let wait_until = self.signal_all();
            if self.board.may_sleep() {
                self.sleep(wait_until);
                self.board.woken();
            }
        }
    }

    /// Signals every marked line whose port has time left; says when the next of the others has.
    fn signal_all(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for id in std::mem::take(&mut self.due) {
            let Some((group, fd)) = self.board.connected(id) else { continue };
            let before = Instant::now();
            if let Some(at) = self.pace.wait(group, before) {
                next = Some(next.map_or(at, |n| n.min(at)));
                self.due.insert(id);
                continue;
            }
            if let Err(error) = self.aio.signal(fd.as_fd()) {
                // Only eventfds get here; what is left is a kernel out of memory. The next mark tries again.
                tracing::debug!(%error, "a guest could not be notified");
            }
            self.pace.spent(group, before.elapsed());
        }
        next
    }

    fn sleep(&self, until: Option<Instant>) {
        let timeout = until.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let wake = self.board.wake_fd();
        let _ = rustix::event::poll(&mut [PollFd::new(wake, PollFlags::IN)], timeout.as_ref());
        let _ = rustix::io::read(wake, &mut [0; 8]);
    }
}
