//! The switch as a device plugin sees it: an API that says whether it is ready, and who is attached.

use std::sync::{Arc, Mutex};

use proto::v1::attachment_service_server::{AttachmentService, AttachmentServiceServer};
use proto::v1::{
    AttachRequest, Attachment, AttachmentCheckRequest, AttachmentCheckResponse, AttachmentGetRequest,
    AttachmentListRequest, AttachmentListResponse, CollectRequest, CollectResponse, DetachRequest,
    DetachResponse, ReadyRequest, ReadyResponse,
};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::kubelet::Background;
use crate::node::Node;

/// What it answers; may change while it serves.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) ready: ReadyResponse,
    pub(crate) attached: Vec<String>,
}

pub(crate) struct Switch {
    state: Arc<Mutex<State>>,
    server: Background,
}

impl Switch {
    pub(crate) fn start(node: &Node, numa_nodes: &[u32]) -> Self {
        let ready = ReadyResponse { numa_nodes: numa_nodes.to_vec(), ..ReadyResponse::default() };
        let state = Arc::new(Mutex::new(State { ready, attached: vec![] }));
        let service = AttachmentServiceServer::new(Service(Arc::clone(&state)));
        let router = Server::builder().add_service(service);
        Self { state, server: Background::serve(&node.path("run/api.sock"), router) }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// As when its process ends: the socket stays and refuses.
    pub(crate) fn stop(self) {
        drop(self.server);
    }
}

struct Service(Arc<Mutex<State>>);

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::internal("no device plugin asks this"))
}

#[tonic::async_trait]
impl AttachmentService for Service {
    async fn ready(&self, _: Request<ReadyRequest>) -> Result<Response<ReadyResponse>, Status> {
        Ok(Response::new(self.0.lock().unwrap().ready.clone()))
    }

    async fn list(
        &self,
        _: Request<AttachmentListRequest>,
    ) -> Result<Response<AttachmentListResponse>, Status> {
        let attached = self.0.lock().unwrap().attached.clone();
        let attachment = |directory| Attachment { directory, ..Attachment::default() };
        let attachments = attached.into_iter().map(attachment).collect();
        Ok(Response::new(AttachmentListResponse { attachments }))
    }

    async fn attach(&self, _: Request<AttachRequest>) -> Result<Response<Attachment>, Status> {
        unused()
    }

    async fn detach(&self, _: Request<DetachRequest>) -> Result<Response<DetachResponse>, Status> {
        unused()
    }

    async fn get(&self, _: Request<AttachmentGetRequest>) -> Result<Response<Attachment>, Status> {
        unused()
    }

    async fn check(
        &self,
        _: Request<AttachmentCheckRequest>,
    ) -> Result<Response<AttachmentCheckResponse>, Status> {
        unused()
    }

    async fn collect(&self, _: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        unused()
    }
}
