//! The server on a real socket, with a dataplane that only remembers.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use proto::v1;
use proto::v1::network_service_client::NetworkServiceClient;
use proto::v1::port_service_client::PortServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use super::*;
use crate::store::Store;
use crate::switch::fake::{Fake, options};

struct Bench {
    directory: tempfile::TempDir,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    switch: Arc<Switch>,
}

impl Bench {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path());
        let switch = Arc::new(Switch::new(Arc::new(Fake::default()), options(), store));
        let stop = CancellationToken::new();
        let listener = UnixListener::bind(directory.path().join("api")).unwrap();
        let connections = accept(listener, stop.clone());
        let server = tokio::spawn(grpc(Arc::clone(&switch), connections, stop.clone()));
        Self { directory, stop, server, switch }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("api")
    }

    async fn channel(&self) -> Channel {
        let path = self.path();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://podswitchd").connect_with_connector(connector).await.unwrap()
    }
}

#[tokio::test]
async fn health_is_served_for_all_and_for_each() {
    let bench = Bench::start();
    let mut health = HealthClient::new(bench.channel().await);
    for service in ["", "podswitch.v1.PortService", "podswitch.v1.NetworkService", "podswitch.v1.NodeService"]
    {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest { service: "podswitch.v1.NoService".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_our_services() {
    let bench = Bench::start();
    let mut reflection = ServerReflectionClient::new(bench.channel().await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["PortService", "NetworkService", "NodeService", "StatsService"] {
        assert!(names.contains(&format!("podswitch.v1.{service}")), "{names:?}");
    }
}

#[tokio::test]
async fn a_refusal_crosses_the_wire_whole() {
    let bench = Bench::start();
    let mut ports = PortServiceClient::new(bench.channel().await);
    let spec = Some(v1::PortSpec { name: "Bad_Name".into(), ..v1::PortSpec::default() });
    let status = ports.add(v1::PortAddRequest { spec }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("name: \"Bad_Name\" is not a name; use "), "{}", status.message());
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "name");
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    let missing = ports.get(v1::PortGetRequest { name: "a".into() }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_too_large_or_no_protocol_harms_nobody() {
    let bench = Bench::start();
    let channel = bench.channel().await;
    let spec = Some(v1::NetworkSpec { name: "a".repeat(LARGEST_MESSAGE + 1), ..Default::default() });
    let mut networks = NetworkServiceClient::new(channel.clone());
    let status = networks.add(v1::NetworkAddRequest { spec }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    // Garbage instead of HTTP/2: that connection ends.
    let mut garbage = UnixStream::connect(bench.path()).await.unwrap();
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), garbage.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stays open");
    let spec = Some(v1::NetworkSpec { name: "blue".into(), ..Default::default() });
    networks.add(v1::NetworkAddRequest { spec }).await.unwrap();
    assert_eq!(bench.switch.networks().len(), 1);
}

#[tokio::test]
async fn it_stops_although_a_client_stays() {
    let bench = Bench::start();
    let mut ports = PortServiceClient::new(bench.channel().await);
    ports.list(v1::PortListRequest::default()).await.unwrap();
    let _silent = UnixStream::connect(bench.path()).await.unwrap();
    bench.stop.cancel();
    // Either it ends by itself, or the daemon drops it after this long.
    let _ = tokio::time::timeout(PATIENCE, bench.server).await;
    let again = UnixStream::connect(bench.directory.path().join("api")).await;
    assert!(again.is_err(), "nobody listens any more");
}
