//! A thread's registration with DPDK.

use std::marker::PhantomData;

use dpdk_sys as sys;

use super::{Eal, EalError, errno, errno_text};

/// Says that the thread which made it is registered with DPDK; dropping it, on that thread, ends that.
#[derive(Debug)]
pub struct LcoreToken {
    lcore: u32,
    /// EAL is not cleaned up while threads are registered.
    _eal: Eal,
    /// The registration belongs to the thread: the token stays there.
    _thread: PhantomData<*mut ()>,
}

impl LcoreToken {
    pub(super) fn new(eal: Eal) -> Result<Self, EalError> {
        // SAFETY: EAL runs. DPDK answers a thread that is registered already with success.
        if unsafe { sys::rte_thread_register() } < 0 {
            return Err(EalError::Register { limit: sys::SHIM_MAX_LCORE, reason: errno_text(errno()) });
        }
        // SAFETY: reads a variable of the thread.
        let lcore = unsafe { sys::shim_lcore_id() };
        Ok(Self { lcore, _eal: eal, _thread: PhantomData })
    }

    /// DPDK's number for this thread.
    #[must_use]
    pub fn lcore(&self) -> u32 {
        self.lcore
    }
}

impl Drop for LcoreToken {
    fn drop(&mut self) {
        // SAFETY: the token never left the thread that was registered.
        unsafe { sys::rte_thread_unregister() };
    }
}
