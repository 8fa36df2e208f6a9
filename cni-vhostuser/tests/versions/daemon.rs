//! A daemon whose answers a test sets, on a UNIX socket of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};

use proto::reasons;
use proto::v1::attachment_service_server::{AttachmentService, AttachmentServiceServer};
use proto::v1::node_service_server::{NodeService, NodeServiceServer};
use proto::v1::{
    AttachRequest, Attachment, AttachmentCheckRequest, AttachmentCheckResponse, AttachmentGetRequest,
    AttachmentListRequest, AttachmentListResponse, CollectRequest, CollectResponse, DetachRequest,
    DetachResponse, NodeStatus, NodeStatusRequest, ReadyRequest, ReadyResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What the daemon is and has.
#[derive(Default)]
pub(crate) struct State {
    /// Features that it knows.
    pub(crate) features: Vec<String>,
    /// Attachments that it holds.
    pub(crate) attachments: Vec<Attachment>,
    /// What Attach was asked for, in order.
    pub(crate) asked: Vec<AttachRequest>,
    /// How often Detach was called.
    pub(crate) detached: usize,
    /// Answers nothing of Attach, for the plugin's deadline to pass.
    pub(crate) deaf: bool,
}

#[derive(Clone)]
struct Attachments(Arc<Mutex<State>>);

fn refuse<T>(code: Code, reason: &str, field: &str) -> Result<T, Status> {
    let metadata = HashMap::from([("field".to_owned(), field.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, "podswitch.v1", metadata);
    Err(Status::with_error_details(code, format!("{field}: refused"), details))
}

#[tonic::async_trait]
impl AttachmentService for Attachments {
    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<Attachment>, Status> {
        let request = request.into_inner();
        let deaf = {
            let mut state = self.0.lock().unwrap();
            state.asked.push(request.clone());
            state.deaf
        };
        if deaf {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock().unwrap();
        if let Some(lacking) = request.needs.iter().find(|need| !state.features.contains(need)) {
            return refuse(Code::FailedPrecondition, reasons::NOT_OFFERED, lacking);
        }
        let mut spec = request;
        if spec.mac.is_empty() {
            spec.mac = "02:00:00:00:00:77".into();
        }
        let attachment = Attachment {
            spec: Some(spec),
            port: "p".into(),
            directory: "x1".into(),
            host_path: "/run/podswitch/devices/x1/socket/vhost.sock".into(),
            pod_path: "/run/podswitch/sockets/x1/vhost.sock".into(),
            ..Attachment::default()
        };
        state.attachments.push(attachment.clone());
        Ok(Response::new(attachment))
    }

    async fn detach(&self, request: Request<DetachRequest>) -> Result<Response<DetachResponse>, Status> {
        let key = request.into_inner().key;
        let mut state = self.0.lock().unwrap();
        state.detached += 1;
        let before = state.attachments.len();
        state
            .attachments
            .retain(|attachment| attachment.spec.as_ref().and_then(|s| s.key.as_ref()) != key.as_ref());
        Ok(Response::new(DetachResponse { existed: state.attachments.len() < before }))
    }

    async fn get(&self, request: Request<AttachmentGetRequest>) -> Result<Response<Attachment>, Status> {
        let key = request.into_inner().key;
        let state = self.0.lock().unwrap();
        let found =
            state.attachments.iter().find(|a| a.spec.as_ref().and_then(|s| s.key.as_ref()) == key.as_ref());
        match found {
            Some(attachment) => Ok(Response::new(attachment.clone())),
            None => refuse(Code::NotFound, reasons::NOT_ATTACHED, "key"),
        }
    }

    async fn list(
        &self,
        _: Request<AttachmentListRequest>,
    ) -> Result<Response<AttachmentListResponse>, Status> {
        Ok(Response::new(AttachmentListResponse::default()))
    }

    async fn check(
        &self,
        _: Request<AttachmentCheckRequest>,
    ) -> Result<Response<AttachmentCheckResponse>, Status> {
        Ok(Response::new(AttachmentCheckResponse::default()))
    }

    async fn collect(&self, _: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        Ok(Response::new(CollectResponse::default()))
    }

    async fn ready(&self, _: Request<ReadyRequest>) -> Result<Response<ReadyResponse>, Status> {
        let features = self.0.lock().unwrap().features.clone();
        Ok(Response::new(ReadyResponse { features, ..ReadyResponse::default() }))
    }
}

/// A daemon that runs; it ends with this value.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
    pub(crate) state: Arc<Mutex<State>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Daemon {
    fn start(with: impl FnOnce(Attachments) -> tonic::transport::server::Router + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(directory.path().join("api.sock")).unwrap()
        };
        let router = with(Attachments(Arc::clone(&state)));
        runtime.spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { directory, state, runtime: Some(runtime) }
    }

    /// One that knows these features.
    pub(crate) fn with_features(features: &[&str]) -> Self {
        let daemon =
            Self::start(|service| Server::builder().add_service(AttachmentServiceServer::new(service)));
        daemon.state.lock().unwrap().features = features.iter().map(|word| (*word).to_owned()).collect();
        daemon
    }

    /// One from before there were attachments: it serves something else.
    pub(crate) fn without_attachments() -> Self {
        Self::start(|_| Server::builder().add_service(NodeServiceServer::new(Node)))
    }

    /// One whose every answer has fields that nobody here knows, beside those of ours.
    pub(crate) fn of_the_next_release(features: &[&str]) -> Self {
        let daemon = Self::start(|service| {
            Server::builder().add_service(Newer(AttachmentServiceServer::new(service)))
        });
        daemon.state.lock().unwrap().features = features.iter().map(|word| (*word).to_owned()).collect();
        daemon
    }

    /// Dies, in the middle of whatever it does; its files stay.
    pub(crate) fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.die();
    }
}

struct Node;

#[tonic::async_trait]
impl NodeService for Node {
    async fn status(&self, _: Request<NodeStatusRequest>) -> Result<Response<NodeStatus>, Status> {
        Ok(Response::new(NodeStatus::default()))
    }
}

/// Puts unknown fields behind every message.
#[derive(Clone)]
struct Newer<S>(S);

impl<S: NamedService> NamedService for Newer<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Newer<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        /// Field 1000 is the number 1, field 1001 the text "new".
        const UNKNOWN: [u8; 9] = [0xc0, 0x3e, 1, 0xca, 0x3e, 3, b'n', b'e', b'w'];
        let answer = self.0.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            let body = body.collect().await.expect("a body of our own");
            let trailers = body.trailers().cloned();
            let mut frame = body.to_bytes().to_vec();
            // A refusal has no message, only a status.
            if frame.len() >= 5 {
                frame.extend(UNKNOWN);
                let length = u32::try_from(frame.len() - 5).expect("a small message");
                frame[1..5].copy_from_slice(&length.to_be_bytes());
            }
            let body = Full::from(frame).with_trailers(async move { trailers.map(Ok) });
            Ok(http::Response::from_parts(head, Body::new(body)))
        })
    }
}
