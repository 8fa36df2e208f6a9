//! Every way a request can be refused, and the one place that maps it to gRPC.
//!
//! A status's message is the whole story on one line, `FIELD: WHY; WHAT TO DO`, as the command line prints it; its
//! details repeat the parts for programs: `google.rpc.ErrorInfo` (reason, and `field`, `why`, `remedy`), and
//! `google.rpc.BadRequest` where a field of the request is at fault.

use std::borrow::Cow;
use std::collections::HashMap;

use dataplane::ids::MacAddr;
use dataplane::{NetworkError, PortError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::store::StoreError;
use crate::switch::Refusal;
use crate::validate::Invalid;

/// `google.rpc.ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "podswitch.v1";

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field cannot be as it is.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// There is no port of that name.
    #[error("there is no port \"{0}\"")]
    NoPort(String),
    /// There is no network of that name, and the request is about it.
    #[error("there is no network \"{0}\"")]
    NoNetwork(String),
    /// There is no network of that name for the port.
    #[error("there is no network \"{0}\"")]
    UnknownNetwork(String),
    /// The object exists with other content.
    #[error("the {kind} \"{name}\" exists with {field} = {has}, {asked} was asked for")]
    Differs {
        /// "port" or "network": the word of the command line.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The first field that differs.
        field: String,
        /// What it has.
        has: String,
        /// What was asked for.
        asked: String,
    },
    /// The network still has ports.
    #[error("the network \"{name}\" still has {ports}")]
    NotEmpty {
        /// The network.
        name: String,
        /// Its ports, in words.
        ports: String,
    },
    /// The MAC address is another's.
    #[error("{mac} belongs to the port \"{port}\" of the same network")]
    MacTaken {
        /// The address.
        mac: MacAddr,
        /// Whose it is.
        port: String,
    },
    /// The socket is another port's, or the daemon's own.
    #[error("{path} is used by {by}")]
    PathTaken {
        /// The socket.
        path: String,
        /// By whom, in words.
        by: String,
    },
    /// The device is another port's.
    #[error("the device {device} is used by the port \"{port}\"")]
    DeviceTaken {
        /// The device, without arguments.
        device: String,
        /// Whose it is.
        port: String,
    },
    /// Workers run elsewhere.
    #[error("no worker runs on CPU {asked}, workers run on {have}")]
    NoSuchWorker {
        /// What was asked for.
        asked: String,
        /// CPUs of workers.
        have: String,
    },
    /// The guest shares more than the new limit.
    #[error("the guest shares {shared} bytes now, the limit asked for is {limit}")]
    GuestMemory {
        /// Bytes shared.
        shared: u64,
        /// The limit asked for.
        limit: u64,
    },
    /// A setting that only the other kind of port has.
    #[error("the port \"{0}\" is not a vhost-user port")]
    NotVhostUser(String),
    /// The dataplane refused the port.
    #[error("{0}")]
    Port(#[from] PortError),
    /// The dataplane refused to let the network go.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// The change is not on disk.
    #[error("{0}; nothing was changed")]
    Store(#[from] StoreError),
    /// Refused by the dataplane, and the store could not be set back.
    #[error("{refusal}; and the store keeps the change, because {store}")]
    NotUndone {
        /// Why it was refused.
        refusal: Box<Error>,
        /// Why it was not undone.
        store: StoreError,
    },
    /// What a container runtime asks for, and about.
    #[error("{0}")]
    Attach(#[from] Refusal),
    /// The daemon is stopping.
    #[error("podswitchd is stopping")]
    Stopping,
}

struct Mapped {
    code: Code,
    /// Constant, for programs.
    reason: &'static str,
    /// Empty: no field of the request is at fault.
    field: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

fn mapped<F, R>(code: Code, reason: &'static str, field: F, remedy: R) -> Mapped
where
    F: Into<Cow<'static, str>>,
    R: Into<Cow<'static, str>>,
{
    Mapped { code, reason, field: field.into(), remedy: remedy.into() }
}

impl Error {
    fn mapped(&self) -> Mapped {
        use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable};
        match self {
            Self::Invalid(e) => mapped(InvalidArgument, "INVALID_FIELD", e.field, e.why.remedy()),
            Self::NoPort(_) => {
                mapped(NotFound, "NO_SUCH_PORT", "name", "`podswitch port list` shows the ports")
            }
            Self::NoNetwork(_) => {
                mapped(NotFound, "NO_SUCH_NETWORK", "name", "`podswitch network list` shows the networks")
            }
            Self::UnknownNetwork(name) => mapped(
                FailedPrecondition,
                "NO_SUCH_NETWORK",
                "network",
                format!("add it first: `podswitch network add {name}`"),
            ),
            Self::Differs { kind, name, field, .. } => mapped(
                AlreadyExists,
                "EXISTS_WITH_OTHER_CONTENT",
                field.clone(),
                format!("change it with `podswitch {kind} set {name}`, or delete it first"),
            ),
            Self::NotEmpty { .. } => mapped(
                FailedPrecondition,
                "NETWORK_NOT_EMPTY",
                "name",
                "delete them first: `podswitch port del`",
            ),
            Self::MacTaken { .. } => mapped(
                FailedPrecondition,
                "MAC_IN_USE",
                "mac",
                "use another address, or delete that port first",
            ),
            Self::PathTaken { .. } => {
                mapped(FailedPrecondition, "SOCKET_IN_USE", "vhost_user.path", "use another path")
            }
            Self::DeviceTaken { .. } => mapped(
                FailedPrecondition,
                "DEVICE_IN_USE",
                "dpdk.devargs",
                "use another device, or delete that port first",
            ),
            Self::NoSuchWorker { .. } => {
                mapped(FailedPrecondition, "NO_SUCH_WORKER", "workers", "name CPUs of workers, or auto")
            }
            Self::GuestMemory { .. } => mapped(
                FailedPrecondition,
                "GUEST_MEMORY_OVER_LIMIT",
                "mem_limit",
                "use a higher limit, or give the guest less memory",
            ),
            Self::NotVhostUser(_) => mapped(
                InvalidArgument,
                "NOT_VHOST_USER",
                "mem_limit",
                "leave the field out: DPDK ports have no guest",
            ),
            Self::Port(e) => port(e),
            Self::Network(NetworkError::Unknown) => mapped(NotFound, "NO_SUCH_NETWORK", "name", "try again"),
            Self::Network(NetworkError::NotEmpty(_)) => {
                mapped(FailedPrecondition, "NETWORK_NOT_EMPTY", "name", "try again when its ports are gone")
            }
            Self::Network(_) => mapped(Code::Internal, "NETWORK_REFUSED", "name", "see the daemon's log"),
            Self::Store(e) => mapped(Unavailable, "NOT_STORED", "", store_remedy(e)),
            Self::NotUndone { refusal, store } => {
                Mapped { remedy: store_remedy(store), reason: "NOT_UNDONE", ..refusal.mapped() }
            }
            Self::Attach(refusal) => {
                let (code, reason, field, remedy) = refusal.parts();
                Mapped { code, reason, field, remedy }
            }
            Self::Stopping => mapped(Unavailable, "STOPPING", "", "try again when it runs"),
        }
    }

    /// The one line, as status message and on standard error.
    #[must_use]
    pub fn line(&self) -> String {
        let Mapped { field, remedy, .. } = self.mapped();
        let start = if field.is_empty() { String::new() } else { format!("{field}: ") };
        format!("{start}{self}; {remedy}")
    }
}

fn store_remedy(error: &StoreError) -> Cow<'static, str> {
    let directory = error.path.parent().unwrap_or(&error.path).display();
    format!("make {directory} writable, free space or repair the disk, and try again").into()
}

/// What the dataplane found out when it applied a port.
fn port(error: &PortError) -> Mapped {
    use Code::{FailedPrecondition, InvalidArgument, ResourceExhausted};
    match error {
        PortError::UnknownPort => mapped(Code::NotFound, "NO_SUCH_PORT", "name", "try again"),
        PortError::UnknownNetwork => mapped(FailedPrecondition, "NO_SUCH_NETWORK", "network", "try again"),
        PortError::Queues { most, .. } => {
            mapped(InvalidArgument, "TOO_MANY_QUEUES", "queues", format!("use at most {most}"))
        }
        PortError::MacInUse(_) => {
            mapped(FailedPrecondition, "MAC_IN_USE", "mac", "use another address, or delete that port first")
        }
        PortError::NoWorkerOn(_) => mapped(
            FailedPrecondition,
            "NO_SUCH_WORKER",
            "workers",
            "name CPUs of `podswitch worker list`, or auto",
        ),
        PortError::Device { .. } => mapped(
            FailedPrecondition,
            "UNKNOWN_DEVICE",
            "dpdk.devargs",
            "name a PCI address or a vdev as DPDK knows it, such as net_af_packet0,iface=veth0",
        ),
        PortError::DpdkMemory { .. } => mapped(
            ResourceExhausted,
            "DPDK_MEMORY",
            "dpdk.devargs",
            "raise the key dpdk.memory in podswitchd.toml and restart podswitchd",
        ),
        PortError::DpdkPorts(_) => {
            mapped(ResourceExhausted, "DPDK_PORTS", "dpdk.devargs", "delete a DPDK port first")
        }
        PortError::NetworkFull => mapped(
            ResourceExhausted,
            proto::reasons::NO_ROOM,
            "network",
            "delete ports of this network first, or use another",
        ),
        PortError::Socket { .. } => mapped(
            FailedPrecondition,
            "SOCKET",
            "vhost_user.path",
            "make its directory, and see that podswitchd may write there",
        ),
        PortError::WorkerStuck(_) => mapped(
            Code::DeadlineExceeded,
            "WORKER_STUCK",
            "",
            "look at `podswitch status`, and restart podswitchd",
        ),
        _ => mapped(Code::Internal, "REFUSED", "", "see the daemon's log"),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let Mapped { code, reason, field, remedy } = error.mapped();
        let why = error.to_string();
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> = [
            ("field".to_owned(), field.to_string()),
            ("why".to_owned(), why.clone()),
            ("remedy".to_owned(), remedy.to_string()),
        ]
        .into();
        details.set_error_info(reason, DOMAIN, metadata);
        if !field.is_empty() {
            details.add_bad_request_violation(field, why);
        }
        Status::with_error_details(code, error.line(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Why;

    #[test]
    fn a_refusal_has_its_field_reason_and_remedy() {
        let status = Status::from(Error::from(Invalid { field: "queues", why: Why::Queues(99) }));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("queues: 99 queue pairs"), "{}", status.message());
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "queues");
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", DOMAIN));
        assert_eq!(info.metadata["remedy"], "use 1 to 16");
    }

    #[test]
    fn what_the_dataplane_says_names_its_field() {
        let memory = PortError::DpdkMemory { needed: 5, free: 3 };
        let status = Status::from(Error::from(memory));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().starts_with("dpdk.devargs: ") && status.message().contains('5'));
        assert!(status.message().contains("dpdk.memory"));
        let taken = PortError::MacInUse("02:00:00:00:00:01".parse().unwrap());
        assert!(Error::from(taken).line().starts_with("mac: "));
    }

    #[test]
    fn every_line_is_one_line() {
        for error in [Error::NoPort("a".into()), Error::Stopping, Error::UnknownNetwork("b".into())] {
            assert!(!error.line().contains('\n'));
        }
    }
}
