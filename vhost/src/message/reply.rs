//! What the device answers.

use arrayvec::ArrayVec;

use super::payload::{Bytes, Cursor, put};
use super::{HEADER_LEN, Header, MessageError, Request, VringState};

/// The payload of a reply. Every byte of it is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A number: features, a count, a status, or 0 and 1 for done and refused.
    Number(u64),
    /// Where a ring stands.
    Vring(VringState),
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the request that is answered (may be one that we do not know).
    pub request: u32,
    /// The answer.
    pub body: ReplyBody,
}

impl Reply {
    /// Bytes of a reply: both bodies have eight.
    pub const LEN: usize = HEADER_LEN + 8;

    /// The whole reply.
    #[must_use]
    pub fn encode(&self) -> ArrayVec<u8, { Reply::LEN }> {
        let mut payload = Bytes::new();
        match self.body {
            ReplyBody::Number(n) => put(&mut payload, &n.to_ne_bytes()),
            ReplyBody::Vring(state) => state.write(&mut payload),
        }
        let mut bytes = ArrayVec::new();
        bytes.extend(Header::reply(self.request, payload.len()).to_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Types a reply, as a frontend does.
    ///
    /// # Errors
    /// If the size is not that of the reply to this request, or the request is unknown.
    pub fn parse(header: &Header, payload: &[u8]) -> Result<Reply, MessageError> {
        let request = Request::from_code(header.request).ok_or(MessageError::Unknown(header.request))?;
        if payload.len() != 8 {
            return Err(MessageError::Size { request, got: payload.len(), expected: 8 });
        }
        let mut cursor = Cursor(payload);
        let body = match request {
            Request::GetVringBase => ReplyBody::Vring(VringState::read(cursor)),
            _ => ReplyBody::Number(cursor.u64()),
        };
        Ok(Reply { request: header.request, body })
    }
}
