//! A tap interface in the namespace that the calling thread is in.
#![expect(unsafe_code, reason = "the tun driver is asked by ioctl, and nothing safe wraps these calls")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use super::StubError;

const DEVICE: &str = "/dev/net/tun";

/// Linux' struct ifreq as TUNSETIFF reads it: a name, flags, and room up to its 40 bytes.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    room: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// An open tap; closing it removes the interface, unless it was told to stay.
pub(super) struct Tap(File);

impl Tap {
    /// Makes the interface `name` (at most 15 bytes), which must be new.
    pub(super) fn create(name: &str) -> Result<Self, StubError> {
        let doing = |error| StubError::system(format!("make the tap {name}"), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map_err(|error| StubError::system(format!("open {DEVICE}"), error))?;
        // EXCL: a link of this name that came since we looked is an error, never taken over.
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
        let mut request = Request { name: [0; libc::IFNAMSIZ], flags, room: [0; 22] };
        let room = request.name.get_mut(..name.len()).filter(|room| room.len() < libc::IFNAMSIZ);
        room.ok_or_else(|| doing(io::ErrorKind::InvalidInput.into()))?.copy_from_slice(name.as_bytes());
        // SAFETY: the descriptor is open; TUNSETIFF reads and writes one struct ifreq, whose size `request` has, and
        // which outlives the call.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if answer < 0 { Err(doing(io::Error::last_os_error())) } else { Ok(Self(file)) }
    }

    /// Closes the tap and leaves the interface. Only root may open it again.
    pub(super) fn keep(self) -> Result<(), StubError> {
        for (call, value) in [(libc::TUNSETOWNER, 0), (libc::TUNSETPERSIST, 1)] {
            let value: libc::c_ulong = value;
            // SAFETY: the descriptor is open; both calls take a number, no pointer.
            let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), call, value) };
            if answer < 0 {
                return Err(StubError::system("have the tap stay", io::Error::last_os_error()));
            }
        }
        Ok(())
    }
}
