//! The service that the CNI plugin calls.

use proto::v1;
use proto::v1::attachment_service_server::AttachmentService;
use tonic::Request;

use super::{Reply, Services};

#[tonic::async_trait]
impl AttachmentService for Services {
    async fn attach(&self, request: Request<v1::AttachRequest>) -> Reply<v1::Attachment> {
        let request = request.into_inner();
        self.call(|switch| switch.attach(request)).await
    }

    async fn detach(&self, request: Request<v1::DetachRequest>) -> Reply<v1::DetachResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(v1::DetachResponse { existed: switch.detach(request.key.as_ref())? }))
            .await
    }

    async fn get(&self, request: Request<v1::AttachmentGetRequest>) -> Reply<v1::Attachment> {
        let request = request.into_inner();
        self.call(move |switch| switch.attachment(request.key.as_ref())).await
    }

    async fn list(&self, request: Request<v1::AttachmentListRequest>) -> Reply<v1::AttachmentListResponse> {
        let request = request.into_inner();
        self.call(move |switch| {
            Ok(v1::AttachmentListResponse { attachments: switch.attachments(&request.network) })
        })
        .await
    }

    async fn check(
        &self,
        request: Request<v1::AttachmentCheckRequest>,
    ) -> Reply<v1::AttachmentCheckResponse> {
        let request = request.into_inner();
        self.call(move |switch| switch.check_attachment(&request)).await
    }

    async fn collect(&self, request: Request<v1::CollectRequest>) -> Reply<v1::CollectResponse> {
        let request = request.into_inner();
        self.call(move |switch| switch.collect(&request)).await
    }

    async fn ready(&self, request: Request<v1::ReadyRequest>) -> Reply<v1::ReadyResponse> {
        let request = request.into_inner();
        self.call(move |switch| Ok(switch.ready(&request.network))).await
    }
}
