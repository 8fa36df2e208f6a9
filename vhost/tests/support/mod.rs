//! What several test programs of this crate need: asking the mapper, descriptors of many kinds, raw bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(
    unsafe_code,
    reason = "tests make descriptors that the standard library cannot, and touch shared memory"
)]
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod recording;
pub(crate) mod worker;

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vhost::address::{FrontendVirt, GuestPhys, HostAddr};
use vhost::memory::{GuestMemory, MapError, MapRequest, Mapper, MemfdKind, RegionRequest, memfd};

/// A page of the machine.
pub(crate) const PAGE: u64 = 4096;
/// A huge page.
pub(crate) const HUGE: u64 = 2 << 20;

/// A non-blocking eventfd of ours.
pub(crate) fn eventfd() -> OwnedFd {
    // SAFETY: takes two integers, returns a new descriptor.
    own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Takes a descriptor that a system call just returned.
pub(crate) fn own(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: callers pass what a system call returned to them alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Asks for a table and waits for the answer, which must come within ten seconds.
pub(crate) fn ask(mapper: &Mapper, request: MapRequest) -> Result<Arc<GuestMemory>, MapError> {
    let (send, receive) = crossbeam_channel::unbounded();
    let wake = Arc::new(eventfd());
    let ticket = mapper.map(request, send, Arc::clone(&wake));
    let reply = receive.recv_timeout(Duration::from_secs(10)).expect("an answer");
    assert_eq!(reply.ticket, ticket);
    reply.result
}

/// A region at the same guest-physical and frontend address.
pub(crate) fn region(at: u64, len: u64, mmap_offset: u64, fd: OwnedFd) -> RegionRequest {
    RegionRequest { guest: GuestPhys(at), frontend: FrontendVirt(at), len, mmap_offset, fd }
}

/// A request without a limit.
pub(crate) fn request(regions: Vec<RegionRequest>) -> MapRequest {
    MapRequest { regions, limit_bytes: u64::MAX, ..MapRequest::default() }
}

/// A memfd of ordinary pages.
pub(crate) fn plain(len: u64) -> OwnedFd {
    memfd(MemfdKind::Plain, len).expect("a memfd")
}

/// A memfd of huge pages; `None`, said visibly, where the machine has too few.
pub(crate) fn huge(len: u64) -> Option<OwnedFd> {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u64 = free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if free < len / HUGE {
        eprintln!("NOT RUN on huge pages: {free} free, {} needed", len / HUGE);
        return None;
    }
    Some(memfd(MemfdKind::Huge2M, len).expect("a memfd of huge pages"))
}

/// Changes the size of a file.
pub(crate) fn resize(fd: &OwnedFd, len: u64) {
    File::from(fd.try_clone().unwrap()).set_len(len).unwrap();
}

/// Allocates (`punch` false) or takes away (`punch` true) pages of a file.
pub(crate) fn fallocate(fd: &OwnedFd, punch: bool, offset: u64, len: u64) {
    let mode = if punch { libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE } else { 0 };
    // SAFETY: takes integers only.
    let done = unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset as i64, len as i64) };
    assert_eq!(done, 0, "fallocate: {}", std::io::Error::last_os_error());
}

/// Reads one byte of guest memory.
pub(crate) fn peek(at: HostAddr) -> u8 {
    // SAFETY: tests pass addresses that they translated, of tables that they hold.
    unsafe { std::ptr::read_volatile(at.0 as *const u8) }
}

/// Writes one byte of guest memory.
pub(crate) fn poke(at: HostAddr, byte: u8) {
    // SAFETY: as for `peek`.
    unsafe { std::ptr::write_volatile(at.0 as *mut u8, byte) }
}

/// Waits until `condition` holds, ten seconds at most.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < end, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
