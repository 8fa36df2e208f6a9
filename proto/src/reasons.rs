//! `google.rpc.ErrorInfo.reason` of refusals that callers tell apart. Domain: `podswitch.v1`; metadata: `field`, `why`,
//! `remedy`.

/// No network of that name.
pub const NO_SUCH_NETWORK: &str = "NO_SUCH_NETWORK";
/// The Kubernetes namespace may not attach to the network.
pub const NAMESPACE_NOT_ALLOWED: &str = "NAMESPACE_NOT_ALLOWED";
/// More than the network allows; `field` names what.
pub const OVER_NETWORK_LIMIT: &str = "OVER_NETWORK_LIMIT";
/// An address outside the network's ranges.
pub const OUTSIDE_RANGES: &str = "OUTSIDE_RANGES";
/// The MAC address belongs to a port that is no attachment.
pub const MAC_IN_USE: &str = "MAC_IN_USE";
/// The address belongs to a port that is no attachment.
pub const IP_IN_USE: &str = "IP_IN_USE";
/// An address, MAC or device id is held by another attachment that lives; try again later.
pub const HELD: &str = "HELD";
/// No device id, and the network asks for one.
pub const NO_DEVICE: &str = "NO_DEVICE";
/// The directories of the device id are not there.
pub const NO_DIRECTORY: &str = "NO_DIRECTORY";
/// A socket path over 107 bytes.
pub const PATH_TOO_LONG: &str = "PATH_TOO_LONG";
/// The daemon lacks a feature; `field` names it.
pub const NOT_OFFERED: &str = "NOT_OFFERED";
/// The key is attached with other content; `field` names the first difference.
pub const ATTACHED_OTHERWISE: &str = "ATTACHED_OTHERWISE";
/// The port belongs to an attachment and is changed and deleted through it alone.
pub const ATTACHED: &str = "ATTACHED";
/// No attachment of that key.
pub const NOT_ATTACHED: &str = "NOT_ATTACHED";
/// Check: what is there differs from what is expected; `field` names it.
pub const DIFFERS: &str = "DIFFERS";
/// Check: the port cannot pass traffic for a reason of the switch.
pub const BACKEND_DOWN: &str = "BACKEND_DOWN";
/// Check: the directory or socket that the switch creates is missing.
pub const SOCKET_MISSING: &str = "SOCKET_MISSING";
/// No further port fits.
pub const NO_ROOM: &str = "NO_ROOM";
/// A field that cannot be as it is.
pub const INVALID_FIELD: &str = "INVALID_FIELD";
/// The store cannot be written; nothing was changed.
pub const NOT_STORED: &str = "NOT_STORED";
