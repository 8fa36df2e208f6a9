//! A tenant takes its memory away under our hands: its table is poisoned, and everything else goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unsafe_code, reason = "tests map memory past the library: unguarded, or watched by its tenant")]

mod support;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::{Arc, Barrier};

use support::{HUGE, PAGE, ask, fallocate, huge, peek, plain, poke, region, request, resize};
use vhost::address::GuestPhys;
use vhost::memory::{GuestMemory, HolePolicy, MapRequest, Mapper, install_sigbus_guard, pages_replaced};

fn map(file: &OwnedFd, len: u64, holes: HolePolicy) -> Arc<GuestMemory> {
    let regions = vec![region(0, len, 0, file.try_clone().unwrap())];
    ask(&Mapper::spawn().unwrap(), MapRequest { holes, ..request(regions) }).unwrap()
}

fn at(table: &GuestMemory, offset: u64) -> u8 {
    peek(table.translate(GuestPhys(offset), 1).unwrap())
}

/// Shrinks a file of four pages to two while it is mapped, and touches what is left and what is gone.
fn shrink(file: &OwnedFd, page: u64) {
    fallocate(file, false, 0, 4 * page);
    let table = map(file, 4 * page, HolePolicy::FaultIfFull);
    let bystander = map(&plain(PAGE), PAGE, HolePolicy::Allow);
    for n in 0..4 {
        poke(table.translate(GuestPhys(n * page + 1), 1).unwrap(), n as u8 + 1);
    }
    resize(file, 2 * page);
    assert_eq!(at(&table, page + 1), 2, "what is left can be read");
    assert!(!table.poisoned(), "nothing that is gone was touched");
    let replaced = pages_replaced();
    assert_eq!(at(&table, 3 * page + 1), 0, "what is gone reads as zeros");
    assert!(table.poisoned());
    assert!(pages_replaced() > replaced);
    assert_eq!(at(&table, 1), 1, "one page was replaced, not the region");
    // The page that was put there is private: writing to it reaches nobody.
    poke(table.translate(GuestPhys(3 * page), 1).unwrap(), 9);
    resize(file, 4 * page);
    assert_eq!(at(&map(file, 4 * page, HolePolicy::Allow), 3 * page), 0);
    assert!(!bystander.poisoned());
    assert_eq!(at(&bystander, 0), 0);
}

#[test]
fn a_file_of_ordinary_pages_that_shrinks() {
    shrink(&plain(4 * PAGE), PAGE);
}

#[test]
fn a_file_of_huge_pages_that_shrinks() {
    let Some(file) = huge(4 * HUGE) else { return };
    shrink(&file, HUGE);
}

#[test]
fn a_file_that_shrinks_to_nothing_before_it_is_touched() {
    let file = plain(2 * PAGE);
    let table = map(&file, 2 * PAGE, HolePolicy::Allow);
    resize(&file, 0);
    poke(table.translate(GuestPhys(0), 1).unwrap(), 1);
    poke(table.translate(GuestPhys(PAGE), 1).unwrap(), 1);
    assert!(table.poisoned());
}

/// Holes are faults where the kernel lets us register them; where it does not, the test says so.
fn holes(file: &OwnedFd, page: u64) {
    let allowed = map(file, 4 * page, HolePolicy::Allow);
    assert_eq!(at(&allowed, 0), 0);
    assert!(!allowed.poisoned(), "an allowed hole is filled");
    let sparse = map(file, 4 * page, HolePolicy::FaultIfFull);
    assert_eq!(at(&sparse, page), 0);
    assert!(!sparse.poisoned(), "a file with holes may have holes");
    let strict = map(file, 4 * page, HolePolicy::Fault);
    assert_eq!(at(&strict, 0), 0);
    assert!(!strict.poisoned(), "that page is there by now");
    assert_eq!(at(&strict, 2 * page), 0);
    if !strict.poisoned() {
        assert!(!userfaultfd_allowed(), "the hole was filled although userfaultfd is allowed");
        eprintln!("NOT RUN: userfaultfd is not allowed here");
        return;
    }
    fallocate(file, false, 0, 4 * page);
    let full = map(file, 4 * page, HolePolicy::FaultIfFull);
    assert_eq!(at(&full, 3 * page), 0);
    assert!(!full.poisoned());
    fallocate(file, true, 3 * page, page);
    assert_eq!(at(&full, 3 * page), 0);
    assert!(full.poisoned(), "a hole that was punched later is a fault too");
}

fn userfaultfd_allowed() -> bool {
    // SAFETY: takes one integer; the descriptor stays open until the test program ends.
    unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1) >= 0 }
}

#[test]
fn holes_in_ordinary_pages() {
    holes(&plain(4 * PAGE), PAGE);
}

#[test]
fn holes_in_huge_pages() {
    let Some(file) = huge(4 * HUGE) else { return };
    holes(&file, HUGE);
}

#[test]
fn the_mark_goes_with_tables_made_from_one_another() {
    let (first, second) = (plain(PAGE), plain(PAGE));
    let mapper = Mapper::spawn().unwrap();
    let one = ask(&mapper, request(vec![region(0, PAGE, 0, first)])).unwrap();
    let regions = vec![region(PAGE, PAGE, 0, second.try_clone().unwrap())];
    let both = ask(&mapper, MapRequest { keep: Some(one.clone()), ..request(regions) }).unwrap();
    resize(&second, 0);
    assert_eq!(at(&both, PAGE), 0);
    assert!(both.poisoned() && one.poisoned());
}

/// The tenant may watch its own mapping with userfaultfd and never answer: that holds up its faults, not ours.
#[test]
fn a_tenant_that_watches_its_memory_does_not_hold_us_up() {
    const FEATURES: [u64; 3] = [0, 1 << 5, 1 << 10]; // none, missing pages of shared memory, minor faults in it
    for (features, mode) in FEATURES.into_iter().zip([1u64, 1, 4]) {
        let file = plain(4 * PAGE);
        fallocate(&file, false, 0, PAGE);
        // SAFETY: a new mapping of our own, and ioctls with structures laid out as linux/userfaultfd.h has them.
        let watched = unsafe {
            let uffd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1) as i32;
            if uffd < 0 {
                eprintln!("NOT RUN: userfaultfd is not allowed here");
                return;
            }
            let _uffd = std::mem::ManuallyDrop::new(support::own(uffd));
            let mut api = [0xaa, features, 0u64];
            assert_eq!(libc::ioctl(uffd, 0xc018_aa3f, api.as_mut_ptr()), 0);
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let len = 4 * PAGE as usize;
            let theirs = libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(theirs, libc::MAP_FAILED);
            let mut register = [theirs as u64, 4 * PAGE, mode, 0];
            libc::ioctl(uffd, 0xc020_aa00, register.as_mut_ptr()) == 0
        };
        assert!(watched || features == 0, "the tenant can watch its memory");
        let table = map(&file, 4 * PAGE, HolePolicy::Allow);
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            (0..4).for_each(|page| poke(table.translate(GuestPhys(page * PAGE), 1).unwrap(), 1));
            done.send(table.poisoned()).unwrap();
        });
        let poisoned =
            finished.recv_timeout(std::time::Duration::from_secs(5)).expect("our faults are not held up");
        assert!(!poisoned);
    }
}

#[test]
fn two_threads_fault_at_once() {
    const PAGES: u64 = 64;
    for _ in 0..20 {
        let file = plain(PAGES * PAGE);
        let table = map(&file, PAGES * PAGE, HolePolicy::Allow);
        resize(&file, 0);
        let barrier = Arc::new(Barrier::new(2));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (table, barrier) = (table.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    for page in 0..PAGES {
                        poke(table.translate(GuestPhys(page * PAGE), 1).unwrap(), 1);
                    }
                    table.poisoned()
                })
            })
            .collect();
        assert!(threads.into_iter().all(|t| t.join().unwrap()));
    }
}

/// Mapping and unmapping on other threads while one faults: the table of guarded ranges changes all the time.
#[test]
fn faults_while_other_tables_come_and_go() {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let churn = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let other = map(&plain(PAGE), PAGE, HolePolicy::Allow);
                poke(other.translate(GuestPhys(0), 1).unwrap(), 1);
                assert!(!other.poisoned(), "somebody else's fault");
            }
        })
    };
    for _ in 0..300 {
        let file = plain(PAGE);
        let table = map(&file, PAGE, HolePolicy::Allow);
        resize(&file, 0);
        assert_eq!(at(&table, 0), 0);
        assert!(table.poisoned());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.join().unwrap();
}

/// Runs one test of this program again in a process of its own, which is expected to die; how it died.
fn fate_of(test: &str) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env("VHOST_DIE_OF_SIGBUS", "1");
    command.output().unwrap().status
}

fn is_to_die() -> bool {
    std::env::var_os("VHOST_DIE_OF_SIGBUS").is_some()
}

fn touch_unguarded_memory() {
    let file = plain(PAGE);
    // SAFETY: a new mapping at an address of the kernel's choice, read once while it has no page.
    unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let p = libc::mmap(std::ptr::null_mut(), PAGE as usize, prot, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(p, libc::MAP_FAILED);
        resize(&file, 0);
        std::ptr::read_volatile(p.cast::<u8>());
    }
}

#[test]
fn a_fault_that_is_not_ours_ends_the_process_as_ever() {
    if is_to_die() {
        install_sigbus_guard().unwrap();
        install_sigbus_guard().unwrap();
        touch_unguarded_memory();
        return;
    }
    let fate = fate_of("a_fault_that_is_not_ours_ends_the_process_as_ever");
    assert_eq!(fate.signal(), Some(libc::SIGBUS), "{fate:?}");
}

extern "C" fn foreign_handler(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: ends the process at once; allowed in a signal handler.
    unsafe { libc::_exit(33) }
}

fn install_foreign(handler: libc::sighandler_t, flags: i32) {
    // SAFETY: a zeroed action is valid; the handler has the signature that its flags ask for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn a_handler_that_came_between_gets_what_is_not_ours() {
    if is_to_die() {
        install_sigbus_guard().unwrap();
        install_foreign(foreign_handler as *const () as libc::sighandler_t, libc::SA_SIGINFO);
        install_sigbus_guard().unwrap();
        let file = plain(PAGE);
        let table = map(&file, PAGE, HolePolicy::Allow);
        resize(&file, 0);
        assert_eq!(at(&table, 0), 0);
        assert!(table.poisoned(), "ours stays ours");
        touch_unguarded_memory();
        return;
    }
    let fate = fate_of("a_handler_that_came_between_gets_what_is_not_ours");
    assert_eq!(fate.code(), Some(33), "{fate:?}");
}
