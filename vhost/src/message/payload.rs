//! Payload structures, each with a checked constructor from bytes and its way back into bytes.

use arrayvec::ArrayVec;

use super::{MAX_PAYLOAD, MessageError, Request};

/// Regions that fit in one `SET_MEM_TABLE`.
pub const MAX_TABLE_REGIONS: usize = 8;

pub(super) const REGION_LEN: usize = 32;
const VRING_INDEX_MASK: u64 = 0xff;
const VRING_NO_FD: u64 = 1 << 8;
/// The only flag of `SET_VRING_ADDR`: writes to the used ring are logged.
const VRING_ADDR_LOG: u32 = 1;

/// A payload under construction.
pub(super) type Bytes = ArrayVec<u8, MAX_PAYLOAD>;

/// Reads a payload from front to back; the caller has checked the length.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl Cursor<'_> {
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    /// The next `N` bytes; zeros where the payload ends, so that nothing a tenant sends can panic.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let n = N.min(self.0.len());
        let (head, tail) = self.0.split_at(n);
        out[..n].copy_from_slice(head);
        self.0 = tail;
        out
    }
}

pub(super) fn put(bytes: &mut Bytes, field: &[u8]) {
    bytes.try_extend_from_slice(field).expect("no message is longer than MAX_PAYLOAD");
}

/// A ring and a number: its size, its base, or whether it is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringState {
    /// The ring. Compared as 32 bits, never cut short.
    pub index: u32,
    /// The number.
    pub num: u32,
}

impl VringState {
    pub(super) const LEN: usize = 8;

    pub(super) fn read(mut cursor: Cursor<'_>) -> Self {
        Self { index: cursor.u32(), num: cursor.u32() }
    }

    pub(super) fn write(self, bytes: &mut Bytes) {
        put(bytes, &self.index.to_ne_bytes());
        put(bytes, &self.num.to_ne_bytes());
    }
}

/// Where a ring's three parts lie, in the frontend's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringAddr {
    /// The ring. Compared as 32 bits, never cut short.
    pub index: u32,
    /// Bit 0: writes to the used ring are logged. No other bit exists.
    pub flags: u32,
    /// Descriptor table.
    pub desc: u64,
    /// Used ring.
    pub used: u64,
    /// Available ring.
    pub avail: u64,
    /// Guest-physical address of the used ring, for the log.
    pub log: u64,
}

impl VringAddr {
    pub(super) const LEN: usize = 40;

    pub(super) fn read(mut cursor: Cursor<'_>) -> Result<Self, MessageError> {
        let it = Self {
            index: cursor.u32(),
            flags: cursor.u32(),
            desc: cursor.u64(),
            used: cursor.u64(),
            avail: cursor.u64(),
            log: cursor.u64(),
        };
        if it.flags & !VRING_ADDR_LOG != 0 {
            let value = u64::from(it.flags);
            return Err(MessageError::Value { request: Request::SetVringAddr, field: "flags", value });
        }
        Ok(it)
    }

    pub(super) fn write(self, bytes: &mut Bytes) {
        put(bytes, &self.index.to_ne_bytes());
        put(bytes, &self.flags.to_ne_bytes());
        for word in [self.desc, self.used, self.avail, self.log] {
            put(bytes, &word.to_ne_bytes());
        }
    }
}

/// A ring, and whether a descriptor comes with the message (kick, call and error).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringFd {
    /// The ring: eight bits on the wire.
    pub index: u8,
    /// False if the ring is polled instead.
    pub has_fd: bool,
}

impl VringFd {
    pub(super) fn read(request: Request, mut cursor: Cursor<'_>) -> Result<Self, MessageError> {
        let value = cursor.u64();
        if value & !(VRING_INDEX_MASK | VRING_NO_FD) != 0 {
            return Err(MessageError::Value { request, field: "index", value });
        }
        Ok(Self { index: (value & VRING_INDEX_MASK) as u8, has_fd: value & VRING_NO_FD == 0 })
    }

    pub(super) fn write(self, bytes: &mut Bytes) {
        let value = u64::from(self.index) | if self.has_fd { 0 } else { VRING_NO_FD };
        put(bytes, &value.to_ne_bytes());
    }
}

/// One region of shared memory as a frontend describes it. Nothing about it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemRegion {
    /// First guest-physical address.
    pub guest: u64,
    /// Bytes.
    pub len: u64,
    /// First address in the frontend's own address space.
    pub frontend: u64,
    /// Where the region begins in the file that comes with it.
    pub mmap_offset: u64,
}

impl MemRegion {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Self {
        Self { guest: cursor.u64(), len: cursor.u64(), frontend: cursor.u64(), mmap_offset: cursor.u64() }
    }

    pub(super) fn write(self, bytes: &mut Bytes) {
        for word in [self.guest, self.len, self.frontend, self.mmap_offset] {
            put(bytes, &word.to_ne_bytes());
        }
    }
}
