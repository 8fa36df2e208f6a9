//! The daemon, as the plugin sees it: a few calls over a UNIX socket, within one deadline.
//!
//! One thread and one connection, made at the first call. The deadline runs from the start of the process, and stands
//! still while an IPAM plugin works, which has a deadline of its own. Every refusal becomes a [`Failure`] here.

mod refusal;

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use proto::v1::attachment_service_client::AttachmentServiceClient;
use proto::v1::{
    AttachRequest, Attachment, AttachmentCheckRequest, AttachmentGetRequest, AttachmentKey, CollectRequest,
    DetachRequest, ReadyRequest, ReadyResponse,
};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use tower::service_fn;

pub use refusal::Refusal;

type Service = AttachmentServiceClient<Channel>;

/// A connection to the daemon, made when it is needed.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    socket: PathBuf,
    deadline: Instant,
    service: Option<Service>,
}

impl Client {
    /// For the daemon at `socket`, which has `timeout` from now on.
    ///
    /// # Errors
    /// The kernel gives no event descriptor.
    pub fn new(socket: &Path, timeout: Duration) -> Result<Self, Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime =
            runtime.map_err(|e| Refusal::Unreachable { socket: socket.to_owned(), why: e.to_string() })?;
        Ok(Self { runtime, socket: socket.to_owned(), deadline: Instant::now() + timeout, service: None })
    }

    /// Moves the deadline by the time that something else took.
    pub fn postpone(&mut self, spent: Duration) {
        self.deadline += spent;
    }

    /// Sees to it that a little time is left, for a last call after the deadline has passed.
    pub fn grant(&mut self, at_least: Duration) {
        self.deadline = self.deadline.max(Instant::now() + at_least);
        // Whatever was wrong with the connection is not wrong with the next.
        self.service = None;
    }

    /// Plugs in.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn attach(&mut self, request: AttachRequest) -> Result<Attachment, Refusal> {
        self.call(async |service| service.attach(request).await)
    }

    /// Unplugs; none of that key is success.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn detach(&mut self, key: &AttachmentKey) -> Result<(), Refusal> {
        let request = DetachRequest { key: Some(key.clone()) };
        self.call(async |service| service.detach(request).await).map(drop)
    }

    /// What is stored for a key.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn get(&mut self, key: &AttachmentKey) -> Result<Option<Attachment>, Refusal> {
        let request = AttachmentGetRequest { key: Some(key.clone()) };
        match self.call(async |service| service.get(request).await) {
            Ok(attachment) => Ok(Some(attachment)),
            Err(Refusal::Status(status)) if status.code() == Code::NotFound => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Compares.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check(&mut self, request: AttachmentCheckRequest) -> Result<(), Refusal> {
        self.call(async |service| service.check(request).await).map(drop)
    }

    /// Deletes what is not in the list.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn collect(&mut self, request: CollectRequest) -> Result<Vec<AttachmentKey>, Refusal> {
        self.call(async |service| service.collect(request).await).map(|answer| answer.deleted)
    }

    /// Whether an attachment would succeed.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn ready(&mut self, network: &str) -> Result<ReadyResponse, Refusal> {
        let request = ReadyRequest { network: network.to_owned() };
        self.call(async |service| service.ready(request).await)
    }

    fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Service) -> Result<Response<T>, Status>,
    ) -> Result<T, Refusal> {
        let Self { runtime, socket, deadline, service } = self;
        let late = || Refusal::Late { socket: socket.clone() };
        runtime.block_on(async {
            let work = async {
                let service = match service {
                    Some(service) => service,
                    none => none.insert(connect(socket).await?),
                };
                call(service).await.map(Response::into_inner).map_err(|status| refused(socket, status))
            };
            tokio::time::timeout_at((*deadline).into(), work).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

/// What the daemon says has no source; what has one was said by the transport on our side.
fn refused(socket: &Path, status: Status) -> Refusal {
    let Some(source) = status.source() else { return Refusal::Status(Box::new(status)) };
    let mut cause = source;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Refusal::Broken { socket: socket.to_owned(), why: cause.to_string() }
}

async fn connect(socket: &Path) -> Result<Service, Refusal> {
    let unreachable = |why: String| Refusal::Unreachable { socket: socket.to_owned(), why };
    // Made here: the transport would hide the kernel's word.
    let stream = UnixStream::connect(socket).await.map_err(|e| unreachable(e.to_string()))?;
    let mut stream = Some(stream);
    let connector = service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("the connection was closed"));
        async move { stream.map(TokioIo::new) }
    });
    // The authority is not used: the connector has the stream.
    let channel = Endpoint::from_static("http://podswitchd").connect_with_connector(connector).await;
    Ok(AttachmentServiceClient::new(channel.map_err(|e| unreachable(e.to_string()))?))
}
