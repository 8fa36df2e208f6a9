//! Who is at the other end of a UNIX socket.
#![expect(unsafe_code, reason = "the safe wrapper takes a process id of 0 for impossible")]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Process and user of the peer. The process id is 0 if the peer lives in a PID namespace that is not seen from ours,
/// as pods do from another pod.
pub(super) fn peer(socket: BorrowedFd<'_>) -> Option<(i32, u32)> {
    let mut cred = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers lead to a structure of the given length and to that length, which outlive the call.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            cred.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    // SAFETY: any bytes are a valid ucred: it has three integers, and was zeroed before.
    let cred = unsafe { cred.assume_init() };
    (rc == 0).then_some((cred.pid, cred.uid))
}
