//! One connected vhost-user socket: cuts messages out of the stream, with their descriptors.
//!
//! The peer is a tenant. It may send half a message and fall silent, send more descriptors than any message
//! has, or never read what it is answered: every step here is non-blocking, every buffer is bounded, and
//! what was begun has a deadline. `recvmsg` has room for all the descriptors that the kernel can pass at once,
//! since those that find no room are closed by the kernel within our call, and that can take seconds.
//! Used by the control thread only.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};

use crate::fault::Fault;
use crate::message::{HEADER_LEN, Header, MAX_PAYLOAD, MessageError, Reply};
use crate::tenant_fd::TenantFd;

mod peer;

#[cfg(test)]
mod tests;

/// Descriptors that the kernel passes at most in one message (`SCM_MAX_FD`).
const KERNEL_MAX_FDS: usize = 253;
/// Descriptors that a vhost-user message can carry.
pub const MAX_FDS: usize = 8;
/// Replies that may wait for the peer to read: one is written before the next request is read, so a few do.
const OUTPUT: usize = 4 * Reply::LEN;

/// A request as it came, not yet typed.
#[derive(Debug)]
pub struct Envelope {
    /// Its checked header.
    pub header: Header,
    /// As many bytes as the header says.
    pub payload: ArrayVec<u8, MAX_PAYLOAD>,
    /// The descriptors that came with it, in order.
    pub fds: ArrayVec<TenantFd, MAX_FDS>,
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer closed it, or died.
    #[error("the peer closed the connection")]
    Closed,
    /// The kernel refused to read or write.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A message came with more descriptors than any may have, or they did not fit.
    #[error("a message carries more than {MAX_FDS} descriptors")]
    Descriptors,
    /// The header is not one.
    #[error(transparent)]
    Header(#[from] MessageError),
    /// A message was begun, or a reply not read, for too long.
    #[error("a message was begun and not finished, or a reply not read, in time")]
    Deadline,
    /// More replies than may wait.
    #[error("the peer does not read its replies")]
    Output,
}

impl ChannelError {
    /// The fault it is; `None` if the peer simply left.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Closed | Self::Io(_) => None,
            Self::Deadline => Some(Fault::DeadlineMissed),
            Self::Descriptors | Self::Header(_) | Self::Output => Some(Fault::ProtocolViolation),
        }
    }
}

/// A connection and what of the next message has come.
#[derive(Debug)]
pub struct Channel {
    socket: TenantFd,
    patience: Duration,
    bytes: ArrayVec<u8, { HEADER_LEN + MAX_PAYLOAD }>,
    header: Option<Header>,
    fds: ArrayVec<TenantFd, MAX_FDS>,
    begun: Option<Instant>,
    output: ArrayVec<u8, OUTPUT>,
    stalled: Option<Instant>,
}

impl Channel {
    /// A channel on a connected non-blocking stream. What is begun must be finished within `patience`.
    #[must_use]
    pub fn new(socket: TenantFd, patience: Duration) -> Self {
        Self {
            socket,
            patience,
            bytes: ArrayVec::new(),
            header: None,
            fds: ArrayVec::new(),
            begun: None,
            output: ArrayVec::new(),
            stalled: None,
        }
    }

    /// The next whole message, or `None` if it has not come yet.
    ///
    /// # Errors
    /// The connection must be closed after any.
    pub fn receive(&mut self, now: Instant) -> Result<Option<Envelope>, ChannelError> {
        loop {
            let whole = HEADER_LEN + self.header.map_or(0, |h| h.size as usize);
            if self.header.is_some() && self.bytes.len() == whole {
                return Ok(self.take());
            }
            if !self.read(whole - self.bytes.len())? {
                return Ok(None);
            }
            self.begun.get_or_insert(now);
            if self.header.is_none()
                && let Ok(bytes) = <&[u8; HEADER_LEN]>::try_from(&self.bytes[..])
            {
                self.header = Some(Header::parse_request(bytes)?);
            }
        }
    }

    /// Sends a reply, or keeps it until the peer reads.
    ///
    /// # Errors
    /// The connection must be closed after any.
    pub fn send(&mut self, reply: &Reply, now: Instant) -> Result<(), ChannelError> {
        self.output.try_extend_from_slice(&reply.encode()).map_err(|_| ChannelError::Output)?;
        self.flush(now)
    }

    /// Goes on sending what is kept.
    ///
    /// # Errors
    /// The connection must be closed after any.
    pub fn flush(&mut self, now: Instant) -> Result<(), ChannelError> {
        while !self.output.is_empty() {
            match rustix::net::send(&self.socket, &self.output, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.stalled.get_or_insert(now);
                    return Ok(());
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(ChannelError::Io(error.into())),
            }
        }
        self.stalled = None;
        Ok(())
    }

    /// True while a reply waits for the peer. No request should be read in this time: the peer must not make
    /// us keep more.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        !self.output.is_empty()
    }

    /// When [`Channel::check_deadline`] is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let first = match (self.begun, self.stalled) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        first.map(|t| t + self.patience)
    }

    /// Finds out whether what was begun has taken too long.
    ///
    /// # Errors
    /// [`ChannelError::Deadline`]: the connection must be closed.
    pub fn check_deadline(&self, now: Instant) -> Result<(), ChannelError> {
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(ChannelError::Deadline),
            _ => Ok(()),
        }
    }

    /// True if the peer has closed its end, whatever it sent before that is still unread.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
    }

    /// Process and user of the peer at the time of its `listen` or `connect`. The process id is 0 if the peer is in
    /// a PID namespace that is not seen from ours.
    #[must_use]
    pub fn peer(&self) -> Option<(i32, u32)> {
        peer::peer(self.socket.as_fd())
    }

    fn take(&mut self) -> Option<Envelope> {
        let header = self.header.take()?;
        let payload = self.bytes.drain(..).skip(HEADER_LEN).collect();
        self.begun = None;
        Some(Envelope { header, payload, fds: std::mem::take(&mut self.fds) })
    }

    /// Reads at most `want` bytes and the descriptors that come with them. False if nothing is there.
    fn read(&mut self, want: usize) -> Result<bool, ChannelError> {
        let mut bytes = [0; HEADER_LEN + MAX_PAYLOAD];
        let mut control = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut control);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut iov = [IoSliceMut::new(&mut bytes[..want])];
            match rustix::net::recvmsg(&self.socket, &mut iov, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let mut surplus = false;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                // All are taken out at once: none may be left for the buffer to close here.
                for fd in fds.map(TenantFd::from) {
                    surplus |= self.fds.try_push(fd).is_err();
                }
            }
        }
        match received {
            Ok(_) if surplus => Err(ChannelError::Descriptors),
            Ok(m) if m.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) => {
                Err(ChannelError::Descriptors)
            }
            Ok(m) if m.bytes == 0 => Err(ChannelError::Closed),
            Ok(m) => {
                self.bytes.try_extend_from_slice(&bytes[..m.bytes]).expect("no more was asked for than fits");
                Ok(true)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::CONNRESET) => Err(ChannelError::Closed),
            Err(error) => Err(ChannelError::Io(error.into())),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
