//! Route netlink, as much of it as a stub link needs: messages of attributes, and a socket that asks and is answered.
//!
//! Own, and small: the crates for it bring an asynchronous runtime and types for every attribute there is, and the plugin
//! is started fifty times at once.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Bytes of a message's header: length, kind, flags, sequence number, sender.
const HEADER: usize = 16;
/// Bytes of an attribute's header: length and kind.
const ATTRIBUTE: usize = 4;
/// Messages and attributes start at multiples of this.
const ALIGNMENT: usize = 4;
/// The kernel's own largest for a dump; a single answer is shorter.
const LONGEST: usize = 32 << 10;
/// Bits of an attribute's kind that are not its kind (nested, byte order).
const KIND: u16 = 0x3fff;

/// A request under construction.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A request of `kind` (RTM_…), with NLM_F_… `flags` and the kind's fixed part.
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    /// Adds an attribute. Its value is short: an address, a name, a number.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("values are names and addresses");
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A socket of the namespace in which it was opened.
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { descriptor, sequence: 0 })
    }

    /// Sends a request and collects the answers, each without its header. The kernel's refusal is the error.
    pub(super) fn ask(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        send(self.descriptor.as_raw_fd(), &message.finish(self.sequence), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; LONGEST];
        loop {
            // TRUNC: the length that it has, not the one that fits.
            let length = recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?;
            let received = buffer.get(..length).ok_or(io::ErrorKind::FileTooLarge)?;
            if self.collect(received, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes what one packet holds; whether that was all.
    fn collect(&self, mut rest: &[u8], answers: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        let cut = || io::Error::from(io::ErrorKind::InvalidData);
        while rest.len() >= HEADER {
            let length = number(rest, 0).ok_or_else(cut)? as usize;
            let kind = half(rest, 4).ok_or_else(cut)?;
            let body = rest.get(HEADER..length).ok_or_else(cut)?;
            if number(rest, 8) == Some(self.sequence) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(true),
                    libc::NLMSG_ERROR => {
                        let code = number(body, 0).ok_or_else(cut)?.cast_signed();
                        let refused = io::Error::from_raw_os_error(code.wrapping_neg());
                        return if code == 0 { Ok(true) } else { Err(refused) };
                    }
                    _ => answers.push(body.into()),
                }
            }
            rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// The attributes behind the first `fixed` bytes of an answer, kind and value each.
pub(super) fn attributes(answer: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = answer.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let kind = half(rest, 2)? & KIND;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The 32-bit number at a place.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_read_back() {
        let bytes =
            Message::new(16, 0, &[7; 16]).with(3, b"net1\0").with(4, &1500u32.to_ne_bytes()).finish(9);
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        assert_eq!(number(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!(number(&bytes, 8), Some(9));
        let read: Vec<_> = attributes(&bytes[HEADER..], 16).collect();
        assert_eq!(read, [(3, b"net1\0".as_slice()), (4, &1500u32.to_ne_bytes())]);
    }

    #[test]
    fn cut_answers_end_the_list() {
        let bytes = Message::new(16, 0, &[]).with(3, b"abcd").with(4, b"efgh").finish(1);
        for end in 0..bytes.len() {
            assert!(attributes(&bytes[..end], HEADER).count() < 2, "{end}");
        }
        // A length of zero must not be read for ever.
        assert_eq!(attributes(&[0; 8], 0).count(), 0);
    }
}
