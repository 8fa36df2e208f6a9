//! The twelve bytes in front of every message.

use super::MessageError;

/// Bytes of a header.
pub const HEADER_LEN: usize = 12;

/// The largest payload that any message can have: a device configuration (12 + 256 bytes), rounded up. A full
/// memory table has 264 bytes.
pub const MAX_PAYLOAD: usize = 272;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 0x3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A message header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The request number; see [`super::Request`].
    pub request: u32,
    /// Version, direction and the wish for a reply.
    pub flags: u32,
    /// Bytes of payload that follow.
    pub size: u32,
}

impl Header {
    /// The header of a request.
    #[must_use]
    pub fn request(request: u32, need_reply: bool, size: usize) -> Self {
        let flags = VERSION | if need_reply { NEED_REPLY } else { 0 };
        Self { request, flags, size: size as u32 }
    }

    /// The header of a reply. Frontends in use refuse any other flags than exactly 5.
    #[must_use]
    pub fn reply(request: u32, size: usize) -> Self {
        Self { request, flags: VERSION | REPLY, size: size as u32 }
    }

    /// Reads a request's header.
    ///
    /// # Errors
    /// [`MessageError::Version`], [`MessageError::Direction`] and [`MessageError::TooLong`]: the stream cannot be
    /// followed any further.
    pub fn parse_request(bytes: &[u8; HEADER_LEN]) -> Result<Self, MessageError> {
        let header = Self::read(bytes);
        if header.flags & VERSION_MASK != VERSION {
            return Err(MessageError::Version(header.flags));
        }
        if header.flags & REPLY != 0 {
            return Err(MessageError::Direction(header.flags));
        }
        header.bounded()
    }

    /// Reads a reply's header, as a frontend does.
    ///
    /// # Errors
    /// As [`Header::parse_request`].
    pub fn parse_reply(bytes: &[u8; HEADER_LEN]) -> Result<Self, MessageError> {
        let header = Self::read(bytes);
        if header.flags != VERSION | REPLY {
            return Err(MessageError::Direction(header.flags));
        }
        header.bounded()
    }

    /// True if the frontend asks for a reply to a request that has none of its own.
    #[must_use]
    pub fn need_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    /// The twelve bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.request.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_ne_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { request: word(0), flags: word(4), size: word(8) }
    }

    fn bounded(self) -> Result<Self, MessageError> {
        if self.size as usize > MAX_PAYLOAD {
            return Err(MessageError::TooLong { request: self.request, size: self.size });
        }
        Ok(self)
    }
}
