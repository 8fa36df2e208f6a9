//! A tenant's shared memory: immutable tables of mapped regions.
//!
//! A table never changes: a new memory table is a new [`GuestMemory`], and rings are built again on it. The
//! mappings go away when the last ring and the session have let go of the table, on a thread that may block.
//! Workers translate and test [`GuestMemory::poisoned`]; the control thread asks a [`Mapper`] for tables.

mod check;
mod expendable;
mod file;
mod mapper;
mod mapping;
mod memfd;
mod refusal;
mod sigbus;
mod table;
mod uffd;

pub use check::MAX_REGIONS;
pub use expendable::{Leaks, dispose, leaks};
pub use mapper::{HolePolicy, MapReply, MapRequest, MapTicket, Mapper, RegionRequest};
pub use memfd::{MemfdKind, memfd};
pub use refusal::{MapError, Space};
pub use sigbus::{install_sigbus_guard, pages_replaced};
pub use table::{GuestMemory, Region};
pub use uffd::holes_are_faults;
