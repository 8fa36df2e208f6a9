//! Turns a tenant's memory message into a table, on threads that may get stuck.
//!
//! The control thread hands over descriptors and goes on; the reply comes through a channel, and an eventfd wakes
//! it. How long to wait is the session's affair: a reply that nobody waits for any more frees what it made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Sender;

use super::check::{Place, check_region, check_table};
use super::expendable::{Pool, dispose};
use super::file::check_file;
use super::mapping::Mapping;
use super::refusal::MapError;
use super::table::{GuestMemory, Region};
use crate::address::{FrontendVirt, GuestPhys};
use crate::fault::wake_eventfd;

/// Threads that may be mapping, or stuck, at once.
const MAPPERS: usize = 16;
/// Requests that may wait for one. Sessions have one request under way each.
const QUEUE: usize = 4096;

/// One region as the frontend described it, with its descriptor.
#[derive(Debug)]
pub struct RegionRequest {
    /// First guest-physical address.
    pub guest: GuestPhys,
    /// First address in the frontend's own address space.
    pub frontend: FrontendVirt,
    /// Bytes.
    pub len: u64,
    /// Where in the file the region begins, bytes.
    pub mmap_offset: u64,
    /// The file.
    pub fd: OwnedFd,
}

/// What a page that is missing from a memory file means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HolePolicy {
    /// A fault of the port if the file has no holes when it is mapped (an application on hugepages), and
    /// nothing out of the ordinary if it has some (a virtual machine).
    #[default]
    FaultIfFull,
    /// Always a fault of the port.
    Fault,
    /// Never: a page that we touch is allocated.
    Allow,
}

/// What a table is to be made of.
#[derive(Debug, Default)]
pub struct MapRequest {
    /// Regions to map.
    pub regions: Vec<RegionRequest>,
    /// A table to extend; its mappings are shared, not made again.
    pub keep: Option<Arc<GuestMemory>>,
    /// A region of `keep` to leave out: its two addresses and its length.
    pub remove: Option<(GuestPhys, FrontendVirt, u64)>,
    /// Bytes that the whole table may have.
    pub limit_bytes: u64,
    /// What missing pages of the new regions mean.
    pub holes: HolePolicy,
}

/// Tells replies apart. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapTicket(u64);

/// The answer to a [`MapRequest`].
#[derive(Debug)]
pub struct MapReply {
    /// Which request it answers.
    pub ticket: MapTicket,
    /// The table, or why there is none. Nothing of the request is kept when it was refused.
    pub result: Result<Arc<GuestMemory>, MapError>,
}

#[derive(Debug)]
struct Job {
    ticket: MapTicket,
    request: MapRequest,
    reply: Sender<MapReply>,
    wake: Arc<OwnedFd>,
}

/// The threads that map memory. One for all ports.
#[derive(Debug)]
pub struct Mapper {
    pool: Pool<Job>,
}

impl Mapper {
    /// Makes the pool and installs the guard against memory that vanishes. Threads start when needed.
    ///
    /// # Errors
    /// If the guard cannot be installed.
    pub fn spawn() -> io::Result<Self> {
        super::install_sigbus_guard()?;
        Ok(Self { pool: Pool::new("vhost-map", MAPPERS, QUEUE, Job::run) })
    }

    /// Asks for a table. Never blocks; the answer is sent to `reply`, and then `wake` (an eventfd) is written.
    pub fn map(&self, request: MapRequest, reply: Sender<MapReply>, wake: Arc<OwnedFd>) -> MapTicket {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let ticket = MapTicket(NEXT.fetch_add(1, Ordering::Relaxed));
        if let Err(job) = self.pool.submit(Job { ticket, request, reply, wake }) {
            // Thousands of requests wait behind threads that tenants made stuck.
            job.request.dispose();
            let busy = io::Error::from(io::ErrorKind::WouldBlock);
            let refused = MapError::Kernel { region: 0, call: "mapping", source: busy };
            let _ = job.reply.send(MapReply { ticket, result: Err(refused) });
            wake_eventfd(&job.wake);
        }
        ticket
    }
}

impl Job {
    fn run(self) {
        let result = self.request.table().map(Arc::new);
        // A session that is gone does not wait: the table is dropped with the message.
        let _ = self.reply.send(MapReply { ticket: self.ticket, result });
        wake_eventfd(&self.wake);
    }
}

impl MapRequest {
    /// Checks and maps. May block; the descriptors are given away to be closed whatever the outcome.
    pub(super) fn table(mut self) -> Result<GuestMemory, MapError> {
        let table = self.checked().and_then(|kept| self.mapped(kept));
        self.dispose_regions();
        table
    }

    /// What stays of the table to extend, after all checks that need no system call.
    fn checked(&self) -> Result<Vec<(Region, Arc<Mapping>)>, MapError> {
        let mut kept: Vec<_> = self.keep.iter().flat_map(|table| table.entries()).collect();
        if let Some((guest, frontend, len)) = self.remove {
            let is_it = |r: &Region| r.guest == guest && r.frontend == frontend && r.len == len;
            let index = kept.iter().position(|(region, _)| is_it(region));
            kept.remove(index.ok_or(MapError::NoSuchRegion { guest: guest.0, len })?);
        }
        let mut places: Vec<Place> = kept.iter().map(|(region, _)| region.place()).collect();
        for (number, region) in self.regions.iter().enumerate() {
            check_region(number, region.place(), region.mmap_offset)?;
            places.push(region.place());
        }
        check_table(&places, self.limit_bytes)?;
        Ok(kept)
    }

    fn mapped(&self, mut entries: Vec<(Region, Arc<Mapping>)>) -> Result<GuestMemory, MapError> {
        let poisoned = match &self.keep {
            Some(table) => Arc::clone(table.poison()),
            None => Arc::new(AtomicBool::new(false)),
        };
        for (number, region) in self.regions.iter().enumerate() {
            let file = check_file(number, region.fd.as_fd(), region.mmap_offset, region.len)?;
            let fault_holes = match self.holes {
                HolePolicy::FaultIfFull => file.full,
                HolePolicy::Fault => true,
                HolePolicy::Allow => false,
            };
            let mapping = Mapping::new(
                number,
                region.fd.as_fd(),
                region.mmap_offset,
                region.len,
                file.page,
                fault_holes,
                &poisoned,
            )?;
            let Place { guest, frontend, len } = region.place();
            entries.push((Region { guest, frontend, host: mapping.host(), len }, Arc::new(mapping)));
        }
        Ok(GuestMemory::new(entries, poisoned))
    }

    fn dispose_regions(&mut self) {
        self.regions.drain(..).for_each(|region| dispose(region.fd));
    }

    /// Gives the descriptors away to be closed.
    fn dispose(mut self) {
        self.dispose_regions();
    }
}

impl RegionRequest {
    fn place(&self) -> Place {
        Place { guest: self.guest, frontend: self.frontend, len: self.len }
    }
}

impl Region {
    fn place(&self) -> Place {
        Place { guest: self.guest, frontend: self.frontend, len: self.len }
    }
}
