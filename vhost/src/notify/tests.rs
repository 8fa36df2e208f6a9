use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::*;

fn guest() -> (OwnedFd, TenantFd) {
    let ours = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let theirs = rustix::io::fcntl_dupfd_cloexec(&ours, 0).unwrap();
    (ours, TenantFd::from(theirs))
}

/// The counter, once it is not zero within `within`.
fn count(fd: &OwnedFd, within: Duration) -> Option<u64> {
    let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    if poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 0 {
        return None;
    }
    let mut value = [0; 8];
    rustix::io::read(fd, &mut value).unwrap();
    Some(u64::from_ne_bytes(value))
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_mark_reaches_the_guest_and_only_that_guest() {
    let notifier = Notifier::spawn().unwrap();
    let lines = notifier.lines(2).unwrap();
    let (first, fd) = guest();
    lines[0].connect(Some(fd)).unwrap();
    let (second, fd) = guest();
    lines[1].connect(Some(fd)).unwrap();
    for _ in 0..1000 {
        lines[0].call().mark();
        assert!(count(&first, SOON).is_some());
    }
    assert_eq!(count(&second, Duration::from_millis(20)), None);
}

#[test]
fn marks_without_a_guest_do_nothing() {
    let notifier = Notifier::spawn().unwrap();
    let line = notifier.lines(1).unwrap().remove(0);
    line.call().mark();
    Call::none().mark();
    let (guest, fd) = guest();
    line.connect(Some(fd)).unwrap();
    line.call().mark();
    assert!(count(&guest, SOON).is_some());
    line.connect(None).unwrap();
    line.call().mark();
    assert_eq!(count(&guest, Duration::from_millis(20)), None);
}

#[test]
fn a_full_blocking_eventfd_holds_up_nobody() {
    let notifier = Notifier::spawn().unwrap();
    let (full, fd) = guest();
    rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    let attacker = notifier.lines(1).unwrap().remove(0);
    attacker.connect(Some(fd)).unwrap();
    let victim = notifier.lines(1).unwrap().remove(0);
    let (guest, fd) = guest();
    victim.connect(Some(fd)).unwrap();
    for _ in 0..200 {
        attacker.call().mark();
        victim.call().mark();
        assert!(count(&guest, SOON).is_some());
    }
    let before = Instant::now();
    drop(notifier);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn only_eventfds_are_connected() {
    let notifier = Notifier::spawn().unwrap();
    let line = notifier.lines(1).unwrap().remove(0);
    let (_read, write) = std::io::pipe().unwrap();
    assert_eq!(line.connect(Some(TenantFd::from(OwnedFd::from(write)))), Err(NotEventfd));
    line.call().mark();
}

#[test]
fn the_kernel_refuses_what_is_no_eventfd() {
    let mut aio = aio::Aio::new().unwrap();
    let (_read, write) = std::io::pipe().unwrap();
    assert_eq!(aio.signal(write.as_fd()).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let (guest, fd) = guest();
    for _ in 0..1000 {
        aio.signal(fd.as_fd()).unwrap();
    }
    assert_eq!(count(&guest, SOON), Some(1000));
}

#[test]
fn lines_run_out_and_come_back() {
    let notifier = Notifier::spawn().unwrap();
    let all = notifier.lines(board::LINES).unwrap();
    assert_eq!(notifier.lines(1).unwrap_err(), NoLine(board::LINES));
    let call = all[7].call();
    drop(all);
    // One is still held by a worker.
    assert_eq!(notifier.lines(board::LINES).unwrap_err(), NoLine(board::LINES));
    drop(call);
    assert_eq!(notifier.lines(board::LINES).unwrap().len(), board::LINES);
}

#[test]
fn the_first_rings_have_a_cache_line_each() {
    let board = Board::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let lines: std::collections::HashSet<usize> =
        (0..256).map(|_| board.word_of(board.take(1).unwrap()) / 64).collect();
    assert_eq!(lines.len(), 256);
}

#[test]
fn marks_from_many_threads_are_not_lost() {
    let notifier = Notifier::spawn().unwrap();
    let lines = notifier.lines(4).unwrap();
    std::thread::scope(|scope| {
        for line in &lines {
            scope.spawn(move || {
                let (guest, fd) = guest();
                line.connect(Some(fd)).unwrap();
                let call = line.call();
                for n in 0..5000 {
                    call.mark();
                    assert!(count(&guest, SOON).is_some(), "mark {n} was lost");
                }
            });
        }
    });
}
