//! Which descriptor wakes the control thread for what.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::PortKey;

/// Events taken at once.
const EVENTS: usize = 64;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Commands, mapped memory, or a worker's fault.
    Wake,
    /// A directory has changed.
    Watches,
    /// A port's connection.
    Channel(PortKey),
    /// A port's listening socket.
    Listener(PortKey),
}

impl Token {
    fn to_word(self) -> u64 {
        match self {
            Self::Wake => 0,
            Self::Watches => 1,
            Self::Channel(key) => u64::from(key.0) << 8 | 2,
            Self::Listener(key) => u64::from(key.0) << 8 | 3,
        }
    }

    fn from_word(word: u64) -> Self {
        let key = PortKey((word >> 8) as u32);
        match word & 0xff {
            0 => Self::Wake,
            1 => Self::Watches,
            2 => Self::Channel(key),
            _ => Self::Listener(key),
        }
    }
}

/// What to wait for on a connection or listener. It wakes once and must then be armed again, so that a connection
/// that is not to be read, or a peer that is gone, cannot keep the thread spinning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    Write,
}

impl Interest {
    fn flags(self) -> EventFlags {
        EventFlags::ONESHOT
            | match self {
                Self::Read => EventFlags::IN | EventFlags::RDHUP,
                Self::Write => EventFlags::OUT,
            }
    }
}

#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Wakes for as long as a descriptor of ours is readable.
    pub(super) fn add_own(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.to_word()), EventFlags::IN)?)
    }

    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.to_word()), Interest::Read.flags())?)
    }

    pub(super) fn arm(&self, fd: impl AsFd, token: Token, interest: Interest) {
        if let Err(error) =
            epoll::modify(&self.epoll, fd, EventData::new_u64(token.to_word()), interest.flags())
        {
            tracing::error!(%error, ?token, "a descriptor could not be armed");
        }
    }

    /// Must be called before the descriptor is given away to be closed: registrations live as long as the file.
    pub(super) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits and hands what happened to `each`.
    pub(super) fn wait(&self, timeout: Option<Duration>, each: impl FnMut(Token)) {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS];
        match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| Token::from_word(event.data.u64())).for_each(each),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "waiting for events failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
