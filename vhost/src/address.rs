//! The three address spaces of a vhost-user port, as three types that do not mix.

/// An address in the guest's physical address space, as descriptors carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPhys(pub u64);

/// An address in the frontend's virtual address space, as `SET_VRING_ADDR` carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendVirt(pub u64);

/// An address in our own process that lies inside a mapping of guest memory.
///
/// It may be read and written only through [`crate::guest`]: the bytes behind it change under our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct HostAddr(pub usize);

impl HostAddr {
    /// The address `bytes` further on. The caller has checked that it is still inside the mapping.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "named as the method of pointers is")]
    pub fn add(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}
