//! Why a memory table was refused.
//!
//! The text reaches the operator (`port show`), so it names the region, the value and what would be accepted.

use std::io;

use crate::fault::Fault;

/// Which of the two address spaces of a memory table a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Guest-physical addresses.
    Guest,
    /// The frontend's own virtual addresses.
    Frontend,
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest-physical",
            Self::Frontend => "frontend-virtual",
        })
    }
}

/// Why a memory table was refused. Regions are counted from 0 in the order in which they were sent.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// More regions than a table may have.
    #[error("{asked} memory regions asked for, {allowed} allowed")]
    TooManyRegions {
        /// Regions the table would have had.
        asked: usize,
        /// Regions it may have.
        allowed: usize,
    },
    /// More bytes than the port may share.
    #[error("{asked} bytes of memory handed over, {allowed} allowed by the port's limit")]
    Limit {
        /// Bytes the table would have had.
        asked: u64,
        /// Bytes it may have.
        allowed: u64,
    },
    /// A region of no bytes.
    #[error("memory region {region} is empty")]
    Empty {
        /// Which.
        region: usize,
    },
    /// An address, an offset or a length is no multiple of the page size.
    #[error("memory region {region}: {what} {value:#x} is not a multiple of the page size {page:#x}")]
    Unaligned {
        /// Which.
        region: usize,
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The page size of the region's file.
        page: u64,
    },
    /// A region runs over the end of an address space.
    #[error("memory region {region} wraps around the end of the {space} address space")]
    Wraps {
        /// Which.
        region: usize,
        /// In which space.
        space: Space,
    },
    /// The offset into the file and the length add up to more than a file can have.
    #[error("memory region {region}: offset {offset:#x} and length {len:#x} overflow")]
    OffsetOverflow {
        /// Which.
        region: usize,
        /// Offset into the file.
        offset: u64,
        /// Length of the region.
        len: u64,
    },
    /// Two regions share addresses.
    #[error("two memory regions overlap at {space} address {at:#x}")]
    Overlap {
        /// In which space.
        space: Space,
        /// First shared address.
        at: u64,
    },
    /// The region to be removed is not in the table.
    #[error("no memory region at guest-physical {guest:#x} with length {len:#x} to remove")]
    NoSuchRegion {
        /// Its guest-physical address.
        guest: u64,
        /// Its length.
        len: u64,
    },
    /// The descriptor is not a memfd, nor a file on tmpfs or hugetlbfs.
    #[error("memory region {region}: the descriptor is not shared memory (memfd, tmpfs or hugetlbfs)")]
    NotMemory {
        /// Which.
        region: usize,
    },
    /// The descriptor is not open for reading and writing.
    #[error("memory region {region}: the descriptor is not open for reading and writing")]
    NotWritable {
        /// Which.
        region: usize,
    },
    /// The file is smaller than the region says.
    #[error("memory region {region}: {needed} bytes of the file needed, it has {size}")]
    FileTooSmall {
        /// Which.
        region: usize,
        /// Offset and length together.
        needed: u64,
        /// Bytes in the file.
        size: u64,
    },
    /// The kernel refused to tell about or to map the file.
    #[error("memory region {region}: {call} failed: {source}")]
    Kernel {
        /// Which.
        region: usize,
        /// The system call.
        call: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// All places of the guard against vanishing memory are taken.
    #[error("memory region {region}: the {allowed} mappings that can be guarded are all in use")]
    NoGuard {
        /// Which.
        region: usize,
        /// Mappings that the process can guard.
        allowed: usize,
    },
}

impl MapError {
    /// The fault that the port gets for it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Limit { .. } | Self::TooManyRegions { .. } => Fault::MemoryLimit,
            _ => Fault::MemoryRefused,
        }
    }
}
