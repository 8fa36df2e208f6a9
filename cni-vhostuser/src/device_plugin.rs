//! The device plugin: it offers the kubelet a stock of directories that pods share with the switch.
//!
//! A device is an id and two directories on the host (see [`proto::paths`]). The kubelet counts them, hands them to
//! pods and mounts what [`service`] answers; nothing of it needs the switch to run, and no id ever changes. All that
//! lies on the host is made by one thread that lives in the host's mount namespace ([`host`]); everything else is
//! one tokio thread: a server and a registration for every pool ([`kubelet`]), and a look at the switch every few
//! seconds ([`switch`], [`health`]).

mod cleanup;
mod directories;
mod error;
mod health;
mod host;
mod known;
mod kubelet;
mod options;
mod pool;
mod service;
mod stale;
mod stock;
mod switch;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use error::Failure;
pub use options::Options;

use host::Host;
use options::Settings;
use stock::Stock;
use switch::Switch;

const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Runs the device plugin until it is told to end, or cleans up after it where the options say so.
///
/// # Errors
/// Options that do not fit together, a mount namespace that cannot be entered, directories that cannot be made; for a
/// clean-up, devices that are still attached.
pub async fn run(options: Options) -> Result<(), Failure> {
    let settings = Arc::new(options.settle()?);
    let host = Host::enter(&settings.mount_namespace)?;
    if settings.cleanup {
        return cleanup::clean_up(&settings, &host).await;
    }
    let mut ends = Ends::listen()?;
    let switch = Switch::new(settings.api.clone());
    tokio::select! {
        () = ends.wait() => Ok(()),
        started = Stock::start(&settings, &host, switch) => serve(&settings, &host, started?, &mut ends).await,
    }
}

async fn serve(
    settings: &Arc<Settings>,
    host: &Host,
    mut stock: Stock,
    ends: &mut Ends,
) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut pools = JoinSet::new();
    for (index, pool) in settings.pools.iter().enumerate() {
        let service = service::Plugin {
            settings: Arc::clone(settings),
            pool: index,
            host: host.clone(),
            devices: stock.devices(index),
        };
        pools.spawn(kubelet::keep_registered(
            settings.kubelet_dir.clone(),
            pool.clone(),
            service,
            stopped.clone(),
        ));
    }
    let ended = tokio::select! {
        () = ends.wait() => Ok(()),
        failure = stock.follow(settings, host) => Err(failure),
    };
    // The pools remove their sockets; then nobody asks for a file any more.
    let _ = stop.send(true);
    while pools.join_next().await.is_some() {}
    let (kept, ids) = (Arc::clone(settings), stock.ids());
    let removed = host.run(move |_| service::remove_device_info(&kept, &ids)).await;
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("device-info files stay: {error}"),
        Err(error) => warn!("device-info files stay: {error}"),
    }
    info!("ends; directories and their contents stay");
    ended
}

/// The signals that end the plugin.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::Signals)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The wait after `tries` failures in a row: one second, doubled up to fifteen.
fn wait_after(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(4)).min(LONGEST_WAIT)
}
