//! The vhost-user messages: a pure codec, without I/O and without state.
//!
//! Every byte here was written by a tenant. A message is cut out of the stream by [`crate::channel`], checked
//! and typed here, and acted on by [`crate::session`]; nobody looks at raw bytes again. Both directions are
//! here, since the driver side and the tests speak the frontend's part. Called from the control thread.
//!
//! Sizes and layouts are those of the vhost-user specification, "Message Specification"; all integers are in
//! the machine's own byte order, as the specification demands.

mod header;
mod payload;
mod reply;
mod request;

#[cfg(test)]
mod tests;

pub use header::{HEADER_LEN, Header, MAX_PAYLOAD};
pub use payload::{MAX_TABLE_REGIONS, MemRegion, VringAddr, VringFd, VringState};
pub use reply::{Reply, ReplyBody};
pub use request::{Message, Request};

/// Why bytes are not a message that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The two version bits are not 1.
    #[error("header flags {0:#x} do not carry protocol version 1")]
    Version(u32),
    /// A request has the reply bit set, or a reply has flags other than exactly 5.
    #[error("header flags {0:#x} do not fit the direction of the message")]
    Direction(u32),
    /// The header announces more payload than any message has.
    #[error("message {request} announces {size} bytes of payload, at most {MAX_PAYLOAD} are possible")]
    TooLong {
        /// The request number.
        request: u32,
        /// The payload size announced.
        size: u32,
    },
    /// The payload has another size than this request has.
    #[error("{request:?} has {got} bytes of payload, {expected} were expected")]
    Size {
        /// The request.
        request: Request,
        /// Bytes that came.
        got: usize,
        /// Bytes that belong to it.
        expected: usize,
    },
    /// A field has a value that is never valid.
    #[error("{request:?}: {field} cannot be {value:#x}")]
    Value {
        /// The request.
        request: Request,
        /// The specification's name of the field.
        field: &'static str,
        /// What it was.
        value: u64,
    },
    /// A request number that no specification names.
    #[error("request {0} is not known")]
    Unknown(u32),
    /// A request that belongs to a feature that the device never offers.
    #[error("{0:?} belongs to a feature that is not offered")]
    NotOffered(Request),
}
