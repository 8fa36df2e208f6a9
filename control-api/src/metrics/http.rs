//! `GET /metrics` over HTTP/1, on a UNIX socket or a loopback address. Few connections at a time, and none waits
//! long: a reader that does not read costs a slot for seconds, not the daemon.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::switch::Switch;

const MOST_CONNECTIONS: usize = 16;
const LONGEST_CONNECTION: Duration = Duration::from_secs(60);
const LONGEST_HEADER_WAIT: Duration = Duration::from_secs(5);

/// Where scrapes come in.
#[derive(Debug)]
pub enum Listener {
    /// A UNIX socket.
    Unix(UnixListener),
    /// A loopback address.
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Answers scrapes until `stop`.
pub async fn serve(listener: Listener, switch: Arc<Switch>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok(stream) = accepted else {
            // Out of descriptors, most likely: that passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let switch = Arc::clone(&switch);
        let stop = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&switch)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LONGEST_HEADER_WAIT)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // What a reader does wrong is its own affair.
                _ = tokio::time::timeout(LONGEST_CONNECTION, connection) => {}
            }
            drop(slot);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    switch: Arc<Switch>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = Full::from("metrics are at /metrics\n");
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("a constant"));
    } else {
        match tokio::task::spawn_blocking(move || super::text(switch)).await {
            Ok(Ok(text)) => {
                response.headers_mut().insert(CONTENT_TYPE, super::MEDIA_TYPE.parse().expect("a constant"));
                *response.body_mut() = Full::from(text);
            }
            _ => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
    Ok(response)
}
