//! What the daemon refuses, and the CNI code that it becomes.
//!
//! The daemon says why in `google.rpc.ErrorInfo` ([`proto::reasons`]); its message is the whole story on one line, with
//! what to do about it. Only that reason decides: a text is for people.

use std::path::PathBuf;

use proto::reasons;
use tonic::{Code as Grpc, Status};
use tonic_types::StatusExt as _;

use super::super::failure::{Code, Failure};

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody listens.
    #[error("podswitchd cannot be reached at {}: {why}", socket.display())]
    Unreachable {
        /// The daemon's socket.
        socket: PathBuf,
        /// The kernel's word.
        why: String,
    },
    /// No answer within the deadline.
    #[error("podswitchd at {} does not answer in time", socket.display())]
    Late {
        /// The daemon's socket.
        socket: PathBuf,
    },
    /// The connection ended before the answer: the daemon has died.
    #[error("podswitchd at {} went away: {why}", socket.display())]
    Broken {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the transport says.
        why: String,
    },
    /// The daemon's own answer.
    #[error("{}", said(.0))]
    Status(Box<Status>),
}

/// What a status says; of one without a word, what its code means.
fn said(status: &Status) -> &str {
    if status.message().is_empty() { status.code().description() } else { status.message() }
}

impl Refusal {
    /// `google.rpc.ErrorInfo`: reason and field; empty where there is none.
    fn reason_and_field(&self) -> (String, String) {
        let Self::Status(status) = self else { return Default::default() };
        match status.get_details_error_info() {
            Some(info) => {
                let field = info.metadata.get("field").cloned().unwrap_or_default();
                (info.reason, field)
            }
            None => Default::default(),
        }
    }

    /// Whether it is not known what the daemon did before it fell silent.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Late { .. } | Self::Broken { .. } => true,
            Self::Status(status) => {
                let silent = [
                    Grpc::Unavailable,
                    Grpc::Cancelled,
                    Grpc::DeadlineExceeded,
                    Grpc::Unknown,
                    Grpc::Internal,
                ];
                silent.contains(&status.code())
            }
        }
    }

    /// Whether the daemon, living and of this kind, says that the key cannot be one of its attachments.
    #[must_use]
    pub fn is_no_such_key(&self) -> bool {
        matches!(self, Self::Status(s) if matches!(s.code(), Grpc::InvalidArgument | Grpc::NotFound))
    }

    /// Whether there is no daemon that could answer at all.
    #[must_use]
    pub fn is_down(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } | Self::Broken { .. } => true,
            Self::Status(s) => {
                matches!(s.code(), Grpc::Unavailable | Grpc::Cancelled | Grpc::DeadlineExceeded)
            }
        }
    }

    /// The code of CNI.
    fn code(&self) -> Code {
        let (reason, field) = self.reason_and_field();
        match reason.as_str() {
            reasons::NO_SUCH_NETWORK => Code::UnknownNetwork,
            reasons::NO_ROOM => Code::NoRoom,
            reasons::MAC_IN_USE => Code::MacInUse,
            reasons::OUTSIDE_RANGES | reasons::IP_IN_USE => Code::AddressRefused,
            reasons::NO_DEVICE | reasons::NO_DIRECTORY => Code::NoDevice,
            reasons::PATH_TOO_LONG => Code::PathTooLong,
            reasons::OVER_NETWORK_LIMIT if field == "mtu" => Code::MtuRefused,
            reasons::OVER_NETWORK_LIMIT => Code::OverLimit,
            reasons::NAMESPACE_NOT_ALLOWED => Code::NamespaceNotAllowed,
            reasons::NOT_OFFERED => Code::UnsupportedField,
            reasons::ATTACHED_OTHERWISE => Code::AttachedOtherwise,
            reasons::NOT_ATTACHED => Code::NoPort,
            reasons::DIFFERS => Code::Differs,
            reasons::BACKEND_DOWN => Code::BackendDown,
            reasons::SOCKET_MISSING => Code::SocketMissing,
            reasons::INVALID_FIELD => Code::InvalidConfig,
            reasons::HELD | reasons::NOT_STORED => Code::TryAgainLater,
            _ => self.code_by_status(),
        }
    }

    fn code_by_status(&self) -> Code {
        let Self::Status(status) = self else { return Code::TryAgainLater };
        match status.code() {
            Grpc::Unavailable
            | Grpc::DeadlineExceeded
            | Grpc::Cancelled
            | Grpc::Unimplemented
            | Grpc::Aborted => Code::TryAgainLater,
            Grpc::ResourceExhausted => Code::NoRoom,
            Grpc::InvalidArgument => Code::InvalidConfig,
            _ => Code::Io,
        }
    }

    /// As it is printed. `resource` gives device ids, for advice where one is missing.
    #[must_use]
    pub fn into_failure(self, resource: &str) -> Failure {
        let code = self.code();
        let failure = Failure::new(code, self.to_string());
        match &self {
            Self::Status(status) if status.code() == Grpc::Unimplemented => {
                let msg = "this podswitchd is too old for the CNI plugin: it has no attachments";
                Failure::new(Code::TryAgainLater, msg).with("upgrade podswitchd")
            }
            _ if code == Code::NoDevice => failure.with(format!(
                "request one {resource} for each interface in the pod's resources, and name {resource} in the \
                 attachment definition's annotation k8s.v1.cni.cncf.io/resourceName"
            )),
            Self::Unreachable { .. } => failure.with("see whether podswitchd runs on this node"),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(code: Grpc, reason: &str, field: &str) -> Refusal {
        let metadata = HashMap::from([("field".to_owned(), field.to_owned())]);
        let details = ErrorDetails::with_error_info(reason, "podswitch.v1", metadata);
        Refusal::Status(Box::new(Status::with_error_details(code, "words", details)))
    }

    #[test]
    fn the_reason_decides() {
        let table = [
            (reasons::NO_SUCH_NETWORK, "", 100),
            (reasons::NO_ROOM, "", 101),
            (reasons::MAC_IN_USE, "", 102),
            (reasons::OUTSIDE_RANGES, "", 103),
            (reasons::IP_IN_USE, "", 103),
            (reasons::NO_DEVICE, "", 105),
            (reasons::NO_DIRECTORY, "", 105),
            (reasons::PATH_TOO_LONG, "", 106),
            (reasons::OVER_NETWORK_LIMIT, "mtu", 108),
            (reasons::OVER_NETWORK_LIMIT, "queues", 114),
            (reasons::NAMESPACE_NOT_ALLOWED, "", 113),
            (reasons::NOT_OFFERED, "queues", 2),
            (reasons::ATTACHED_OTHERWISE, "mac", 115),
            (reasons::NOT_ATTACHED, "", 110),
            (reasons::DIFFERS, "mac", 116),
            (reasons::BACKEND_DOWN, "", 111),
            (reasons::SOCKET_MISSING, "", 112),
            (reasons::INVALID_FIELD, "mac", 7),
            (reasons::HELD, "mac", 11),
            (reasons::NOT_STORED, "", 11),
            ("SOMETHING_NEW", "", 5),
        ];
        for (reason, field, code) in table {
            let failure = refusal(Grpc::FailedPrecondition, reason, field).into_failure("r");
            assert_eq!((failure.code, failure.msg.as_str()), (code, "words"), "{reason}");
        }
    }

    #[test]
    fn without_a_reason_the_status_decides() {
        let table = [
            (Grpc::Unavailable, 11),
            (Grpc::DeadlineExceeded, 11),
            (Grpc::Cancelled, 11),
            (Grpc::Unimplemented, 11),
            (Grpc::ResourceExhausted, 101),
            (Grpc::InvalidArgument, 7),
            (Grpc::Internal, 5),
            (Grpc::PermissionDenied, 5),
        ];
        for (code, cni) in table {
            assert_eq!(
                Refusal::Status(Box::new(Status::new(code, "words"))).into_failure("r").code,
                cni,
                "{code:?}"
            );
        }
        let down = Refusal::Unreachable { socket: "/a".into(), why: "No such file".into() };
        assert!(down.is_down() && !down.is_uncertain());
        assert_eq!(down.into_failure("r").code, 11);
    }

    #[test]
    fn a_missing_device_says_what_to_do() {
        let failure =
            refusal(Grpc::FailedPrecondition, reasons::NO_DEVICE, "device_id").into_failure("x.io/y");
        assert!(failure.details.contains("x.io/y"), "{}", failure.details);
    }
}
