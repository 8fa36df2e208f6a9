//! A pool's socket beside the kubelet's, and its registration, both kept up for as long as the plugin runs.
//!
//! The kubelet forgets all plugins when it starts, and removes their sockets; it says so only by making its own socket
//! anew. So both are looked at every second. One task for each pool, on the plugin's one thread.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::kubelet::device_plugin::RegisterRequest;
use proto::kubelet::device_plugin::device_plugin_server::DevicePluginServer;
use proto::kubelet::device_plugin::registration_client::RegistrationClient;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};
use tracing::{debug, info, warn};

use super::pool::Pool;
use super::service::{OPTIONS, Plugin, Served};
use super::wait_after;

const VERSION: &str = "v1beta1";
const KUBELET: &str = "kubelet.sock";
const LOOK: Duration = Duration::from_secs(1);
const LONGEST_REGISTRATION: Duration = Duration::from_secs(10);

/// A kubelet that did not take us.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error("its socket: {0}")]
    Connect(#[source] io::Error),
    #[error("its socket: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("it answers \"{0}\"")]
    Refused(String),
}

/// A socket file, so that one of the same name made later is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    // Numbers are used again; a socket's modification time is that of its creation.
    made: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(m) => Ok(Some(Self { device: m.dev(), inode: m.ino(), made: (m.mtime(), m.mtime_nsec()) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Serves `plugin` and keeps it registered until `stopped`, then removes its socket.
pub(super) async fn keep_registered(
    directory: PathBuf,
    pool: Pool,
    plugin: Plugin,
    mut stopped: watch::Receiver<bool>,
) {
    let socket = directory.join(pool.endpoint());
    let kubelet = directory.join(KUBELET);
    let mut server: Option<Serving> = None;
    // The kubelet that knows us.
    let mut registered: Option<Identity> = None;
    let mut tries = 0;
    let mut not_before = Instant::now();
    if Identity::of(&kubelet).ok().flatten().is_none() {
        info!(resource = pool.resource(), "waits for the kubelet at {}", kubelet.display());
    }
    while !*stopped.borrow() {
        if !server.as_ref().is_some_and(|s| s.is_there(&socket)) {
            registered = None;
            server = None;
            match Serving::start(&socket, plugin.clone()) {
                Ok(serving) => server = Some(serving),
                Err(error) => said(&mut tries, &mut not_before, &format!("{}: {error}", socket.display())),
            }
        }
        let now = Identity::of(&kubelet).unwrap_or(None);
        let again = server.is_some() && now.is_some() && now != registered;
        // A kubelet that is new is asked at once.
        if again && (Instant::now() >= not_before || (registered.is_some() && tries == 0)) {
            let asked = tokio::select! {
                asked = register(&kubelet, &pool) => asked,
                _ = stopped.wait_for(|&stopped| stopped) => continue,
            };
            match asked {
                Ok(()) => {
                    info!(resource = pool.resource(), "registered with the kubelet");
                    registered = now;
                    tries = 0;
                }
                Err(error) => {
                    registered = None;
                    said(&mut tries, &mut not_before, &error.to_string());
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stopped.wait_for(|&stopped| stopped) => {}
        }
    }
    if server.is_some_and(|s| s.is_there(&socket))
        && let Err(error) = fs::remove_file(&socket)
    {
        warn!("{} stays: {error}", socket.display());
    }
}

/// Says the first of several failures in a row, and puts off the next try.
fn said(tries: &mut u32, not_before: &mut Instant, reason: &str) {
    if *tries == 0 {
        warn!("not registered with the kubelet: {reason}; tries again");
    } else {
        debug!("not registered with the kubelet: {reason}");
    }
    *not_before = Instant::now() + wait_after(*tries);
    *tries += 1;
}

/// A pool behind its socket. Dropped, it ends: streams end first, then their connections.
struct Serving {
    identity: Identity,
    end: watch::Sender<bool>,
}

impl Serving {
    fn start(socket: &Path, plugin: Plugin) -> io::Result<Self> {
        // Of an earlier run: the name is ours alone.
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let identity = Identity::of(socket)?.ok_or(io::ErrorKind::NotFound)?;
        let (end, ended) = watch::channel(false);
        let mut until = ended.clone();
        let service = DevicePluginServer::new(Served { plugin, ended });
        let serve = Server::builder().add_service(service).serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            async move {
                let _ = until.wait_for(|&end| end).await;
            },
        );
        tokio::spawn(async move {
            if let Err(error) = serve.await {
                warn!("a device plugin's server ended: {error}");
            }
        });
        Ok(Self { identity, end })
    }

    fn is_there(&self, socket: &Path) -> bool {
        !self.end.is_closed() && Identity::of(socket).is_ok_and(|now| now == Some(self.identity))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.end.send(true);
    }
}

async fn register(kubelet: &Path, pool: &Pool) -> Result<(), RegisterError> {
    let path = kubelet.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // Tried by hand first: the transport hides the kernel's word.
    UnixStream::connect(kubelet).await.map_err(RegisterError::Connect)?;
    let endpoint = Endpoint::from_static("http://localhost").timeout(LONGEST_REGISTRATION);
    let channel = endpoint.connect_with_connector(connector).await?;
    let request = RegisterRequest {
        version: VERSION.into(),
        endpoint: pool.endpoint(),
        resource_name: pool.resource().into(),
        options: Some(OPTIONS),
    };
    let answer = RegistrationClient::new(channel).register(request).await;
    answer.map(|_| ()).map_err(|status| RegisterError::Refused(status.message().chars().take(200).collect()))
}
