//! The kernel's view of a network interface: what DPDK does not tell of the one under `net_af_packet`.
//!
//! Asked by socket and not under /sys, which shows the interfaces of the network namespace that it was mounted
//! in. Used by the control thread.

#![expect(unsafe_code, reason = "ioctl and its union have no safe form")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Whether the interface exists in the calling thread's network namespace.
pub(super) fn exists(name: &str) -> bool {
    // SAFETY: the string ends in zero.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

/// The interface's MTU.
pub(super) fn mtu(name: &str) -> Option<u32> {
    let mut request = request(name).ok()?;
    ask(libc::SIOCGIFMTU, &mut request).ok()?;
    // SAFETY: the kernel filled in this member.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

/// Sets the interface's MTU, unless it is that already.
pub(super) fn set_mtu(name: &str, value: u16) -> io::Result<()> {
    if mtu(name) == Some(u32::from(value)) {
        return Ok(());
    }
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = i32::from(value);
    ask(libc::SIOCSIFMTU, &mut request)
}

/// Whether the interface is up and has a carrier.
pub(super) fn running(name: &str) -> bool {
    let Ok(mut request) = request(name) else { return false };
    if ask(libc::SIOCGIFFLAGS, &mut request).is_err() {
        return false;
    }
    // SAFETY: the kernel filled in this member.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    let needed = libc::IFF_UP | libc::IFF_RUNNING;
    flags & needed == needed
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: a structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn ask(what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: these requests take a pointer to an ifreq.
    if unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_and_others_are_not() {
        assert!(exists("lo") && !exists("no-such-if") && !exists("a\0b"));
        assert!(mtu("lo").is_some_and(|mtu| mtu >= 1280));
        assert!(running("lo") && !running("no-such-if"));
        assert_eq!(mtu("no-such-if"), None);
        assert_eq!(mtu("a-name-that-is-too-long-for-linux"), None);
        assert!(set_mtu("no-such-if", 1500).is_err());
    }
}
