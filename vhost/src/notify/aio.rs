//! Signals an eventfd without writing to it, so that it cannot block us.
//!
//! A poll for readability of an eventfd of our own, which is always readable, completes within `io_submit`; its
//! completion increments the "result eventfd", which may be anybody's. The kernel adds to a full counter
//! nothing and goes on; anything but an eventfd is refused with EINVAL. Completions are taken out of the kernel's
//! ring now and then, or it would fill up. Used by the notifier thread only.

#![expect(unsafe_code, reason = "the asynchronous I/O system calls have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Completions that may wait to be taken.
const DEPTH: usize = 64;
const IOCB_CMD_POLL: u16 = 5;
const IOCB_FLAG_RESFD: u32 = 1;

/// `struct io_event` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

pub(super) struct Aio {
    context: libc::c_ulong,
    always_readable: OwnedFd,
    untaken: usize,
}

impl Aio {
    pub(super) fn new() -> io::Result<Self> {
        let always_readable = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: `context` is zero, as the call asks, and outlives it.
        let rc = unsafe { libc::syscall(libc::SYS_io_setup, DEPTH as libc::c_long, &raw mut context) };
        if rc < 0 {
            let error = io::Error::last_os_error();
            let text =
                format!("no asynchronous I/O context to notify guests with (see fs.aio-max-nr): {error}");
            return Err(io::Error::new(error.kind(), text));
        }
        Ok(Self { context, always_readable, untaken: 0 })
    }

    /// Adds one to `target`. Does not block, whatever `target` is.
    ///
    /// # Errors
    /// If it is not an eventfd, or the kernel is short of memory.
    pub(super) fn signal(&mut self, target: BorrowedFd<'_>) -> io::Result<()> {
        if self.untaken == DEPTH {
            self.take();
        }
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut iocb: libc::iocb = unsafe { std::mem::zeroed() };
        iocb.aio_lio_opcode = IOCB_CMD_POLL;
        iocb.aio_fildes = self.always_readable.as_raw_fd() as u32;
        iocb.aio_buf = libc::POLLIN as u64;
        iocb.aio_flags = IOCB_FLAG_RESFD;
        iocb.aio_resfd = target.as_raw_fd() as u32;
        let mut list = [&raw mut iocb];
        // SAFETY: `list` has one pointer to a request that outlives the call; the kernel copies it, and the poll
        // refers to no memory of ours. Both descriptors in it are open for the duration of the call.
        let rc = unsafe {
            libc::syscall(libc::SYS_io_submit, self.context, list.len() as libc::c_long, list.as_mut_ptr())
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        self.untaken += 1;
        Ok(())
    }

    /// Takes completions out of the kernel's ring.
    fn take(&mut self) {
        let mut events = [Completion::default(); DEPTH];
        let no_wait: *mut libc::timespec = &mut libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `events` has room for the number of completions that we ask for and outlives the call, as does
        // the timeout; both have the kernel's layout.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0 as libc::c_long,
                DEPTH as libc::c_long,
                events.as_mut_ptr(),
                no_wait,
            )
        };
        self.untaken = self.untaken.saturating_sub(rc.max(0) as usize);
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the context is ours and is not used afterwards.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
