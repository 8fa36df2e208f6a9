//! The gRPC server, metrics and the daemon's own rounds, until a signal.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use proto::v1::attachment_service_server::AttachmentServiceServer;
use proto::v1::network_service_server::NetworkServiceServer;
use proto::v1::node_service_server::NodeServiceServer;
use proto::v1::port_service_server::PortServiceServer;
use proto::v1::stats_service_server::StatsServiceServer;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::listen::Metrics;
use crate::metrics::{self, Listener};
use crate::services::Services;
use crate::switch::Switch;
use crate::system;

/// How long requests that run when the daemon stops may take to end.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);
/// Largest message either way.
const LARGEST_MESSAGE: usize = 4 << 20;
const MOST_STREAMS: u32 = 64;
const MOST_CONNECTIONS: usize = 256;
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
const ROUND: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(switch: Arc<Switch>, api: StdUnixListener, metrics: Metrics) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    if let Some(listener) = listener(metrics)? {
        tokio::spawn(metrics::serve(listener, Arc::clone(&switch), stop.clone()));
    }
    tokio::spawn(rounds(Arc::clone(&switch), stop.clone()));
    let connections = accept(UnixListener::from_std(api)?, stop.clone());
    let server = tokio::spawn(grpc(Arc::clone(&switch), connections, stop.clone()));

    switch.serving();
    tracing::info!(workers = switch.worker_cpus(), "ready");
    if let Err(e) = system::notify("READY=1") {
        tracing::warn!("systemd was not told: {e}");
    }
    let mut server = server;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => return finished(ended),
    }
    tracing::info!("stopping");
    let _ = system::notify("STOPPING=1");
    stop.cancel();
    // Requests that run may end; a connection that is merely open may not keep us.
    match tokio::time::timeout(PATIENCE, server).await {
        Ok(ended) => finished(ended),
        Err(_) => Ok(()),
    }
}

fn finished(ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn listener(metrics: Metrics) -> io::Result<Option<Listener>> {
    Ok(match metrics {
        Metrics::Off => None,
        Metrics::Unix(listener) => Some(Listener::Unix(UnixListener::from_std(listener)?)),
        Metrics::Tcp(listener) => Some(Listener::Tcp(TcpListener::from_std(listener)?)),
    })
}

async fn grpc(
    switch: Arc<Switch>,
    connections: ReceiverStream<io::Result<UnixStream>>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let services = Services::new(switch);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<PortServiceServer<Services>>().await;
    reporter.set_serving::<NetworkServiceServer<Services>>().await;
    reporter.set_serving::<NodeServiceServer<Services>>().await;
    reporter.set_serving::<StatsServiceServer<Services>>().await;
    reporter.set_serving::<AttachmentServiceServer<Services>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by our own build");
    Server::builder()
        .timeout(LONGEST_REQUEST)
        .concurrency_limit_per_connection(MOST_STREAMS as usize)
        .max_concurrent_streams(MOST_STREAMS)
        .max_frame_size(16 << 10)
        .http2_max_header_list_size(16 << 10)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(health)
        .add_service(reflection)
        .add_service(PortServiceServer::new(services.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(NetworkServiceServer::new(services.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(NodeServiceServer::new(services.clone()).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(
            AttachmentServiceServer::new(services.clone()).max_decoding_message_size(LARGEST_MESSAGE),
        )
        .add_service(StatsServiceServer::new(services).max_decoding_message_size(LARGEST_MESSAGE))
        .serve_with_incoming_shutdown(connections, async move { stop.cancelled().await })
        .await
}

/// Connections of root and of our own user; others are closed before they say a word.
fn accept(listener: UnixListener, stop: CancellationToken) -> ReceiverStream<io::Result<UnixStream>> {
    let (to, connections) = mpsc::channel(MOST_CONNECTIONS);
    tokio::spawn(async move {
        let mut refused = 0_u64;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: that passes.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if !may_speak(&stream) {
                refused += 1;
                // 1, 2, 4, …: whoever tries for ever does not fill the log.
                if refused.is_power_of_two() {
                    tracing::warn!(refused, "a connection to the API was refused: only root is served");
                }
                continue;
            }
            if to.send(Ok(stream)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(connections)
}

fn may_speak(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours)
}

async fn rounds(switch: Arc<Switch>, stop: CancellationToken) {
    let mut clock = tokio::time::interval(ROUND);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = clock.tick() => {}
        }
        let switch = Arc::clone(&switch);
        if let Err(e) = tokio::task::spawn_blocking(move || switch.maintain()).await {
            tracing::error!("a round of maintenance failed: {e}");
        }
    }
}

#[cfg(test)]
mod tests;
