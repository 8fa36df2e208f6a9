//! A frontend's connection: typed messages out, answers in, blocking with a deadline.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::wire;
use crate::features::Features;
use crate::message::{HEADER_LEN, Header, MAX_PAYLOAD, Message, MessageError, Reply, ReplyBody, Request};

/// Why the device could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The socket or the memory failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The device hung up.
    #[error("the device closed the connection")]
    Closed,
    /// An answer is malformed.
    #[error("the device's answer: {0}")]
    Malformed(#[from] MessageError),
    /// An answer belongs to another request.
    #[error("{asked:?} was answered as request {got}")]
    Mismatched {
        /// The request.
        asked: Request,
        /// Which number the answer has.
        got: u32,
    },
    /// The device refused a request.
    #[error("the device refused {request:?} ({code})")]
    Refused {
        /// The request.
        request: Request,
        /// Its answer.
        code: u64,
    },
    /// The device does not offer what is needed, or not any more.
    #[error("the device does not offer {0:?}")]
    Lacking(Features),
}

pub(super) fn doing(doing: &'static str) -> impl Fn(io::Error) -> FrontendError {
    move |source| FrontendError::Io { doing, source }
}

/// A connection to a device.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    acknowledged: bool,
}

impl Connection {
    /// A connection on which nothing was said; each answer must come within `timeout`.
    pub(super) fn new(stream: UnixStream, timeout: Duration) -> Result<Self, FrontendError> {
        stream.set_nonblocking(false).map_err(doing("setting the deadline"))?;
        stream.set_read_timeout(Some(timeout)).map_err(doing("setting the deadline"))?;
        Ok(Self { stream, acknowledged: false })
    }

    /// From now on messages without an answer of their own are acknowledged on request (`REPLY_ACK`).
    pub(super) fn acknowledge(&mut self, negotiated: bool) {
        self.acknowledged = negotiated;
    }

    /// Sends a message that has no answer.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        self.put(message, false, descriptors)
    }

    /// Sends a message and, where acknowledgements are negotiated, waits for it to be done.
    ///
    /// # Errors
    /// [`FrontendError::Refused`] if the device says so, and what goes wrong with the connection.
    pub fn confirm(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        self.put(message, self.acknowledged, descriptors)?;
        if !self.acknowledged {
            return Ok(());
        }
        match self.reply(message.request())? {
            ReplyBody::Number(0) => Ok(()),
            ReplyBody::Number(code) => Err(FrontendError::Refused { request: message.request(), code }),
            ReplyBody::Vring(_) => Err(FrontendError::Refused { request: message.request(), code: 0 }),
        }
    }

    /// Asks for a number.
    ///
    /// # Errors
    /// What goes wrong with the connection or the answer.
    pub fn ask(&self, message: &Message) -> Result<u64, FrontendError> {
        match self.exchange(message)? {
            ReplyBody::Number(number) => Ok(number),
            ReplyBody::Vring(_) => Err(FrontendError::Mismatched { asked: message.request(), got: 0 }),
        }
    }

    pub(super) fn exchange(&self, message: &Message) -> Result<ReplyBody, FrontendError> {
        self.put(message, false, &[])?;
        self.reply(message.request())
    }

    fn put(
        &self,
        message: &Message,
        need_reply: bool,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        wire::send(&self.stream, &message.encode(need_reply), descriptors).map_err(doing("sending"))
    }

    fn reply(&self, asked: Request) -> Result<ReplyBody, FrontendError> {
        let (mut header, mut none) = ([0; HEADER_LEN], Vec::new());
        if !wire::receive(&self.stream, &mut header, &mut none).map_err(doing("waiting for an answer"))? {
            return Err(FrontendError::Closed);
        }
        let header = Header::parse_reply(&header)?;
        let mut payload = [0; MAX_PAYLOAD];
        let payload = &mut payload[..header.size as usize];
        wire::receive(&self.stream, payload, &mut none).map_err(doing("waiting for an answer"))?;
        if header.request != asked as u32 {
            return Err(FrontendError::Mismatched { asked, got: header.request });
        }
        Ok(Reply::parse(&header, payload)?.body)
    }

    /// The socket, for tests that write what no frontend would.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }
}
