//! Every way an attachment can be refused, with the reason that callers tell apart, the field and what to do.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;

use dataplane::ids::MacAddr;
use proto::reasons;
use tonic::Code;

/// What another attachment holds and a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Thing {
    /// A MAC address.
    #[error("the MAC address {0}")]
    Mac(MacAddr),
    /// An address.
    #[error("the address {0}")]
    Ip(IpAddr),
    /// The directories of a device.
    #[error("the device {0}")]
    Device(String),
}

impl Thing {
    fn field(&self) -> &'static str {
        match self {
            Self::Mac(_) => "mac",
            Self::Ip(_) => "ips",
            Self::Device(_) => "device_id",
        }
    }
}

/// Why an attachment is refused, or not as it is expected to be.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A field cannot be as it is.
    #[error("{why}")]
    Field {
        /// The field, by its name in the interface.
        field: &'static str,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The namespace may not attach.
    #[error("{} may not attach to the network \"{network}\"", Namespace(namespace))]
    Namespace {
        /// Kubernetes namespace, or empty.
        namespace: String,
        /// The network.
        network: String,
    },
    /// More than the network allows.
    #[error("{asked} was asked for, the network \"{network}\" allows {most}")]
    OverLimit {
        /// The field.
        field: &'static str,
        /// In the field's unit.
        asked: u64,
        /// In the field's unit.
        most: u64,
        /// The network.
        network: String,
    },
    /// What the network does not allow at all.
    #[error("the network \"{network}\" does not allow it")]
    NotAllowed {
        /// The field.
        field: &'static str,
        /// The network.
        network: String,
        /// The flag of `podswitch network set` that allows it.
        flag: &'static str,
    },
    /// An address outside the network's ranges.
    #[error("{ip} lies in none of the ranges of the network \"{network}\" ({ranges})")]
    OutsideRanges {
        /// The address.
        ip: IpAddr,
        /// The network.
        network: String,
        /// With commas.
        ranges: String,
    },
    /// The address is a plain port's.
    #[error("{ip} belongs to the port \"{port}\" of the same network")]
    IpTaken {
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        port: String,
    },
    /// Another attachment holds it, and its owner is not known to be gone.
    #[error("{thing} is held by {holder}")]
    Held {
        /// What.
        thing: Thing,
        /// Pod, container and interface.
        holder: String,
    },
    /// No device id where one is needed.
    #[error("no device was allocated to the pod, and the network \"{0}\" asks for one")]
    NoDevice(String),
    /// The directories of the device are not there, or not as they must be.
    #[error("{}: {why}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The socket's path is too long.
    #[error("the socket's path {} has {} bytes, a UNIX socket takes {most}", path.display(), path.as_os_str().len())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Bytes.
        most: usize,
    },
    /// A feature that this daemon lacks.
    #[error("this podswitchd does not offer \"{0}\"")]
    NotOffered(String),
    /// The key is attached with other content.
    #[error("it is attached already with {field} = {has}, {asked} was asked for")]
    Otherwise {
        /// The first field that differs.
        field: String,
        /// What it has.
        has: String,
        /// What was asked for.
        asked: String,
    },
    /// The port belongs to an attachment.
    #[error("the port \"{port}\" is attached by {holder}: its addresses are its owner's")]
    Attached {
        /// The field.
        field: &'static str,
        /// The port.
        port: String,
        /// Pod, container and interface.
        holder: String,
    },
    /// There is no attachment of that key.
    #[error("there is no attachment {0}")]
    NotAttached(String),
    /// What is there differs from what is expected.
    #[error("it has {has}, {expected} is expected")]
    Differs {
        /// The field.
        field: &'static str,
        /// What it has.
        has: String,
        /// What the runtime remembers.
        expected: String,
    },
    /// The port cannot pass traffic, and not because of its application.
    #[error("the port \"{port}\" cannot pass traffic: {why}")]
    BackendDown {
        /// The port.
        port: String,
        /// Why.
        why: String,
    },
    /// What the switch put there is missing.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// Another request of the same commit made the control plane fail.
    #[error("the request was lost because another one failed")]
    Lost,
}

struct Namespace<'a>(&'a str);

impl std::fmt::Display for Namespace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "" => f.write_str("a container without a Kubernetes namespace"),
            name => write!(f, "the namespace \"{name}\""),
        }
    }
}

impl Refusal {
    /// gRPC code, reason, field (empty: none) and what to do.
    pub(crate) fn parts(&self) -> (Code, &'static str, Cow<'static, str>, Cow<'static, str>) {
        use Code::{FailedPrecondition, InvalidArgument, PermissionDenied};
        let (code, reason, field, remedy): (_, _, &str, Cow<'static, str>) = match self {
            Self::Field { field, remedy, .. } => {
                (InvalidArgument, reasons::INVALID_FIELD, *field, (*remedy).into())
            }
            Self::Namespace { namespace, network } => (
                PermissionDenied,
                reasons::NAMESPACE_NOT_ALLOWED,
                "owner.namespace",
                allow(namespace, network).into(),
            ),
            Self::OverLimit { field, most, .. } => {
                (FailedPrecondition, reasons::OVER_NETWORK_LIMIT, *field, format!("ask for at most {most}").into())
            }
            Self::NotAllowed { field, network, flag } => (
                FailedPrecondition,
                reasons::OVER_NETWORK_LIMIT,
                *field,
                format!("leave it out, or an administrator allows it: `podswitch network set {network} {flag} on`")
                    .into(),
            ),
            Self::OutsideRanges { .. } => (
                FailedPrecondition,
                reasons::OUTSIDE_RANGES,
                "ips",
                "use an address of these ranges, or an administrator adds one".into(),
            ),
            Self::IpTaken { .. } => (
                FailedPrecondition,
                reasons::IP_IN_USE,
                "ips",
                "use another address, or delete that port first".into(),
            ),
            Self::Held { thing, .. } => (
                FailedPrecondition,
                reasons::HELD,
                thing.field(),
                "try again when it is gone".into(),
            ),
            Self::NoDevice(_) => (
                FailedPrecondition,
                reasons::NO_DEVICE,
                "device_id",
                "ask for the device plugin's resource in the pod's limits, and name it in the attachment definition's \
                 annotation k8s.v1.cni.cncf.io/resourceName"
                    .into(),
            ),
            Self::NoDirectory { .. } => (
                FailedPrecondition,
                reasons::NO_DIRECTORY,
                "device_id",
                "see that podswitch-device-plugin runs on this node with the same root directory as podswitchd"
                    .into(),
            ),
            Self::PathTooLong { .. } => (
                FailedPrecondition,
                reasons::PATH_TOO_LONG,
                "device_id",
                "use a shorter attachments.directory in podswitchd.toml".into(),
            ),
            Self::NotOffered(_) => (
                FailedPrecondition,
                reasons::NOT_OFFERED,
                "needs",
                "leave it out, or bring podswitchd up to date".into(),
            ),
            Self::Otherwise { field, .. } => {
                return (
                    Code::AlreadyExists,
                    reasons::ATTACHED_OTHERWISE,
                    field.clone().into(),
                    "delete the attachment (CNI DEL) first".into(),
                );
            }
            Self::Attached { field, .. } => (
                FailedPrecondition,
                reasons::ATTACHED,
                *field,
                "change the pod's attachment definition and create the pod again".into(),
            ),
            Self::NotAttached(_) => (Code::NotFound, reasons::NOT_ATTACHED, "key", "attach it (CNI ADD) first".into()),
            Self::Differs { field, .. } => (
                FailedPrecondition,
                reasons::DIFFERS,
                *field,
                "create the pod again, or see who changed the port".into(),
            ),
            Self::BackendDown { .. } => {
                (FailedPrecondition, reasons::BACKEND_DOWN, "", "look at `podswitch status` on the node".into())
            }
            Self::Missing(_) => (
                FailedPrecondition,
                reasons::SOCKET_MISSING,
                "host_path",
                "create the pod again; its directories were emptied or removed".into(),
            ),
            Self::Lost => (Code::Internal, reasons::NOT_STORED, "", "try again".into()),
        };
        if let Self::NotOffered(word) = self {
            return (code, reason, word.clone().into(), remedy);
        }
        (code, reason, field.into(), remedy)
    }
}

fn allow(namespace: &str, network: &str) -> String {
    let who = if namespace.is_empty() { "*" } else { namespace };
    format!(
        "an administrator names it, beside those that may: `podswitch network set {network} --namespace {who} …`"
    )
}
