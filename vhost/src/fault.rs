//! Why a port was taken out of service, and the cell through which a worker says so.
//!
//! A worker that finds a lie in a ring, or memory that vanished, must neither log nor call into the kernel
//! for long: it stores a code and wakes the control thread, which does the rest.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! faults {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// What a tenant did that ends a connection. The text is what `port show` prints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the text beside each name is its documentation")]
        pub enum Fault { $($name = $code,)* }

        impl Fault {
            /// Every fault there is.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// One sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }

            fn from_code(code: u8) -> Option<Fault> {
                match code { $($code => Some(Fault::$name),)* _ => None }
            }
        }
    };
}

faults! {
    AvailIndexJumped = 1, "the available index moved by more than the ring's size";
    HeadOutOfRange = 2, "an available entry names a descriptor beyond the ring";
    NextOutOfRange = 3, "a descriptor's next field points beyond its table";
    ChainTooLong = 4, "a descriptor chain is longer than its ring or loops";
    AddressOutOfRange = 5, "a descriptor points outside the shared memory";
    IndirectInvalid = 6, "an indirect descriptor was not negotiated, nested, or its table is malformed";
    DirectionWrong = 7, "a descriptor is writable where it must be readable, or the other way round";
    MemoryVanished = 8, "the shared memory shrank or has holes";
    ProtocolViolation = 9, "a vhost-user message was malformed or out of place";
    MemoryRefused = 10, "the memory handed over is not acceptable";
    MemoryLimit = 11, "the memory handed over is more than the port may share";
    RingInvalid = 12, "a ring's address, size or alignment is not valid";
    DeadlineMissed = 13, "a message was begun and not finished in time";
    WorkerStuck = 14, "a worker did not let go of a ring in time";
    LengthOverflow = 15, "the lengths of a chain add up to more than a frame may have";
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Fault {}

/// Where a worker leaves the first fault it finds in a port. Shared by all rings of one connection.
#[derive(Debug, Clone)]
pub struct FaultCell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    code: AtomicU8,
    wake: Option<Arc<OwnedFd>>,
}

impl FaultCell {
    /// A cell that wakes whoever waits on the eventfd `wake`, if there is one, when a fault is stored.
    #[must_use]
    pub fn new(wake: Option<Arc<OwnedFd>>) -> Self {
        Self(Arc::new(Inner { code: AtomicU8::new(0), wake }))
    }

    /// Stores `fault` unless one is there already, and wakes the control thread. Called by workers.
    #[cold]
    pub fn raise(&self, fault: Fault) {
        if self.0.code.compare_exchange(0, fault as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && let Some(wake) = &self.0.wake
        {
            wake_eventfd(wake);
        }
    }

    /// The fault stored, if any.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Option<Fault> {
        match self.0.code.load(Ordering::Acquire) {
            0 => None,
            code => Fault::from_code(code),
        }
    }
}

/// Adds one to an eventfd of our own (never one that a tenant holds: that could block).
#[expect(unsafe_code, reason = "write(2) on a descriptor of ours")]
pub(crate) fn wake_eventfd(fd: &OwnedFd) {
    let one: u64 = 1;
    // SAFETY: the pointer and the length describe `one`; the descriptor is open for as long as `fd` lives.
    // A full counter (EAGAIN) means that the reader is being woken anyway.
    let _ = unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}
