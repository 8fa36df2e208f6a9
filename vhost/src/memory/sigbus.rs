//! A page of a tenant's memory that is not there any more costs the tenant its port, and nobody else anything.
//!
//! The tenant can shrink its file, or punch holes into it, while we copy; the copy then raises SIGBUS on the
//! worker. The handler finds the mapping in a fixed table, puts an anonymous page under the one faulting page,
//! sets the mapping's poison mark and returns: the copy goes on, reads zeros, and the worker finds the mark before
//! it publishes anything. What is not in the table goes to the handler that was there before (DPDK uses SIGBUS
//! for NICs that are pulled, the Rust runtime for stack overflows).
//!
//! Entries are written by expendable threads; they are read by the handler on any thread, without locks. A thread
//! faults only in a mapping that it keeps alive, so the entry it looks for cannot change under it; the generation
//! of an entry keeps it from believing a mixture of two others.
#![expect(unsafe_code, reason = "sigaction, and mmap over a page that a table entry vouches for")]

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// Mappings that can be guarded at once, over all ports.
pub(super) const SLOTS: usize = 16384;

#[derive(Debug)]
struct Slot {
    /// Odd while the entry is being written.
    generation: AtomicU32,
    /// Taken by a mapping (set first, cleared last).
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 in an entry that guards nothing.
    end: AtomicUsize,
    page: AtomicUsize,
    poisoned: AtomicPtr<AtomicBool>,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        generation: AtomicU32::new(0),
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(0),
        poisoned: AtomicPtr::new(ptr::null_mut()),
    }
}; SLOTS];

/// Entries from here on were never used; keeps the handler's search short.
static HIGH_WATER: AtomicUsize = AtomicUsize::new(0);
static REPLACED: AtomicU64 = AtomicU64::new(0);

/// What an entry says about an address.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    page: usize,
    poisoned: *mut AtomicBool,
}

/// An entry of the table, taken out again on drop.
#[derive(Debug)]
pub(super) struct Guard {
    slot: &'static Slot,
    /// Keeps what the entry points at alive for as long as the entry.
    _poisoned: Arc<AtomicBool>,
}

/// Enters a mapping of `len` bytes in pages of `page`; a fault in it sets `poisoned`. `None` if the table is
/// full. The caller keeps the mapping for longer than the guard.
pub(super) fn guard(start: usize, len: usize, page: usize, poisoned: Arc<AtomicBool>) -> Option<Guard> {
    let free = |slot: &&Slot| !slot.taken.swap(true, Ordering::Acquire);
    let (index, slot) = TABLE.iter().enumerate().find(|(_, slot)| free(slot))?;
    HIGH_WATER.fetch_max(index + 1, Ordering::AcqRel);
    slot.write(start, start + len, page, Arc::as_ptr(&poisoned).cast_mut());
    Some(Guard { slot, _poisoned: poisoned })
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.slot.write(0, 0, 0, ptr::null_mut());
        self.slot.taken.store(false, Ordering::Release);
    }
}

impl Slot {
    /// Changes the entry. Only whoever has set `taken` calls it.
    fn write(&self, start: usize, end: usize, page: usize, poisoned: *mut AtomicBool) {
        let generation = self.generation.load(Ordering::Relaxed);
        self.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.page.store(page, Ordering::Relaxed);
        self.poisoned.store(poisoned, Ordering::Relaxed);
        self.generation.store(generation.wrapping_add(2), Ordering::Release);
    }

    /// What the entry says, if it guards `at` and did not change while it was read.
    fn read(&self, at: usize) -> Option<Found> {
        let before = self.generation.load(Ordering::Acquire);
        let found = Found {
            start: self.start.load(Ordering::Relaxed),
            end: self.end.load(Ordering::Relaxed),
            page: self.page.load(Ordering::Relaxed),
            poisoned: self.poisoned.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let unchanged = before.is_multiple_of(2) && self.generation.load(Ordering::Relaxed) == before;
        (unchanged && found.start <= at && at < found.end).then_some(found)
    }
}

/// Pages of tenants that vanished and were replaced since the process started.
#[must_use]
pub fn pages_replaced() -> u64 {
    REPLACED.load(Ordering::Relaxed)
}

/// The action that was in force before ours, leaked when it was found; null if there was none to chain to.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Makes this process survive tenants' memory that vanishes. Does nothing if the guard is in force already.
///
/// Call it at the start, and again after anything that may have installed a SIGBUS handler of its own (DPDK's
/// EAL does): the guard must be the first to see the signal, and hands on what is not its own. No thread that
/// touches guest memory may block SIGBUS: the kernel ends a process that blocks the signal of a fault.
///
/// # Errors
/// What `sigaction` says; never seen in practice.
pub fn install_sigbus_guard() -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let current = current_action()?;
    if current.sa_sigaction == handler_address() {
        return Ok(());
    }
    // Leaked, because the handler may be reading the old one: a few dozen bytes for each foreign handler found.
    PREVIOUS.store(Box::leak(Box::new(current)), Ordering::Release);
    // Not SA_ONSTACK: whoever copies guest memory has a sound stack, while the handlers that are chained to may
    // need more than a small alternate stack has.
    // SAFETY: all zeros is a valid sigaction: no flags, an empty mask.
    let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    ours.sa_sigaction = handler_address();
    ours.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and does only what is allowed in a handler.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn handler_address() -> libc::sighandler_t {
    on_sigbus as Handler as libc::sighandler_t
}

fn current_action() -> io::Result<libc::sigaction> {
    let mut current = MaybeUninit::uninit();
    // SAFETY: with no new action the call only fills `current`.
    unsafe {
        match libc::sigaction(libc::SIGBUS, ptr::null(), current.as_mut_ptr()) {
            0 => Ok(current.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

thread_local! {
    /// Set while this thread is in the previous handler, which may call us back.
    static CHAINING: Cell<bool> = const { Cell::new(false) };
}

/// The handler. Everything it calls may be called from a signal handler: atomics, mmap, sigaction, raise.
extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if CHAINING.get() {
        // The previous handler gave it back: nobody's. It may have called us with one argument only, so `info`
        // must not be looked at.
        die_by_default();
        return;
    }
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler; si_addr is there for a SIGBUS that the
    // kernel raised (si_code above 0), and errno is this thread's own.
    let (errno, code, at) =
        unsafe { (*libc::__errno_location(), (*info).si_code, (*info).si_addr() as usize) };
    if code <= 0 || !replace_page(at) {
        chain(signal, info, context);
    }
    // SAFETY: as above; the interrupted code must not see what mmap left there.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts an anonymous page under the guarded page at `at`; false if nothing guards it.
fn replace_page(at: usize) -> bool {
    let used = HIGH_WATER.load(Ordering::Acquire);
    let Some(found) = TABLE[..used].iter().find_map(|slot| slot.read(at)) else {
        return false;
    };
    // The mark comes before the page: whoever reads zeros from it also finds the mark.
    // SAFETY: the entry was stable while read and its mapping is kept alive by the faulting thread, so the
    // guard, which owns the mark, is alive too.
    unsafe { (*found.poisoned).store(true, Ordering::Release) };
    REPLACED.fetch_add(1, Ordering::Relaxed);
    let page_start = at & !(found.page - 1);
    // If even that fails (too many mappings), the whole range becomes one: nothing in it is worth anything now.
    put_anonymous(page_start, found.page) || put_anonymous(found.start, found.end - found.start)
}

fn put_anonymous(start: usize, len: usize) -> bool {
    // SAFETY: the range lies in a guarded mapping of guest memory, which nobody holds references into (it is read
    // and written through raw copies only), so it may be replaced at any time.
    let put = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    put != libc::MAP_FAILED
}

/// Hands the signal to whoever handled it before us, or dies of it as the process would have without us.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.load(Ordering::Acquire);
    // SAFETY: set by `install_sigbus_guard` to a leaked, never changed action before the handler could run.
    let previous = unsafe { previous.as_ref() };
    let Some(previous) = previous else {
        return die_by_default();
    };
    match previous.sa_sigaction {
        libc::SIG_DFL => return die_by_default(),
        // The kernel does not let a fault be ignored; a signal that was sent can be.
        libc::SIG_IGN => {
            // SAFETY: `info` is the kernel's (see `on_sigbus`).
            if unsafe { (*info).si_code } > 0 {
                die_by_default();
            }
            return;
        }
        _ => {}
    }
    CHAINING.set(true);
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the action says that its handler takes three arguments.
        let handler = unsafe { std::mem::transmute::<libc::sighandler_t, Handler>(previous.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: the action says that its handler takes one argument.
        let handler = unsafe {
            std::mem::transmute::<libc::sighandler_t, extern "C" fn(libc::c_int)>(previous.sa_sigaction)
        };
        handler(signal);
    }
    CHAINING.set(false);
}

/// Restores the default action and sends the signal again: it is delivered when the handler returns.
fn die_by_default() {
    // SAFETY: all zeros is the default action with an empty mask; both calls are allowed in a signal handler.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut());
        libc::raise(libc::SIGBUS);
    }
}
