//! The devices there are, and how well they are: what `ListAndWatch` of every pool tells.
//!
//! Devices of a NUMA node come when the switch first has workers there, and never go: a pod may hold one. Those of a
//! node that lost its workers are unhealthy, as are all when the switch is away for too long. Directories are made
//! before a device is told of. Lives on the plugin's one thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use proto::kubelet::device_plugin::Device;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::directories::DirectoryError;
use super::error::Failure;
use super::health::Health;
use super::host::{Host, HostError};
use super::known::Known;
use super::options::{Nodes, Settings};
use super::switch::{Switch, SwitchError};
use super::wait_after;

/// Devices of a pool, as last told.
pub(super) type Devices = Arc<Vec<Device>>;

/// The devices of all pools.
#[derive(Debug)]
pub(super) struct Stock {
    switch: Switch,
    health: Health,
    told: Vec<watch::Sender<Devices>>,
    /// What the last look found; a change is one log line.
    last: Result<(), SwitchError>,
    /// The last look for directories of a new node failed.
    lacking: bool,
}

impl Stock {
    /// Finds out which nodes have devices, and makes their directories. Waits for the switch where nobody else knows.
    ///
    /// # Errors
    /// Directories that cannot be made.
    pub(super) async fn start(
        settings: &Arc<Settings>,
        host: &Host,
        mut switch: Switch,
    ) -> Result<Self, Failure> {
        let nodes = match &settings.nodes {
            Nodes::Listed(nodes) => nodes.clone(),
            Nodes::Auto => Self::learn(settings, host, &mut switch).await?,
        };
        make(settings, host, &nodes).await??;
        let mut health = Health::new(settings.hold_down, &nodes);
        let first = health.observe(Instant::now(), |_| true);
        let told =
            settings.pools.iter().map(|pool| watch::channel(Arc::new(pool.devices(&first))).0).collect();
        let stock = Self { switch, health, told, last: Ok(()), lacking: false };
        info!(?nodes, devices = stock.ids().len(), "directories are there");
        Ok(stock)
    }

    /// The nodes that were known, and those that the switch names.
    async fn learn(settings: &Arc<Settings>, host: &Host, switch: &mut Switch) -> Result<Vec<u32>, Failure> {
        let root = settings.layout.root.clone();
        let mut known = host.run(move |_| Known::load(&root)).await?;
        let mut tries = 0;
        loop {
            match switch.look().await {
                Ok(nodes) | Err(SwitchError::NotReady { nodes, .. }) => known.numa_nodes.extend(nodes),
                Err(error) if known.numa_nodes.is_empty() => {
                    if tries == 0 {
                        warn!("{error}; waits, because it says which NUMA nodes have devices");
                    }
                    tokio::time::sleep(wait_after(tries)).await;
                    tries += 1;
                    continue;
                }
                Err(error) => warn!("{error}; goes on with NUMA nodes {:?}", known.numa_nodes),
            }
            known.numa_nodes.sort_unstable();
            known.numa_nodes.dedup();
            return Ok(known.numa_nodes);
        }
    }

    /// What a pool tells the kubelet, now and from now on.
    pub(super) fn devices(&self, pool: usize) -> watch::Receiver<Devices> {
        self.told[pool].subscribe()
    }

    /// All ids, of all pools.
    pub(super) fn ids(&self) -> Vec<String> {
        self.told
            .iter()
            .flat_map(|told| told.borrow().iter().map(|d| d.id.clone()).collect::<Vec<_>>())
            .collect()
    }

    /// Looks at the switch for ever. Ends with what cannot be mended: the host's thread is gone.
    pub(super) async fn follow(&mut self, settings: &Arc<Settings>, host: &Host) -> Failure {
        let mut looks = tokio::time::interval(settings.poll);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let found = self.switch.look().await;
            self.log(&found);
            if let (Nodes::Auto, Ok(nodes)) = (&settings.nodes, &found)
                && let Err(gone) = self.grow(settings, host, nodes).await
            {
                return gone.into();
            }
            if let Err(gone) = host.run(|_| ()).await {
                return gone.into();
            }
            let well = |node| match (&found, &settings.nodes) {
                (Err(_), _) => false,
                (Ok(_), Nodes::Listed(_)) => true,
                (Ok(nodes), Nodes::Auto) => nodes.contains(&node),
            };
            let health = self.health.observe(Instant::now(), well);
            self.tell(settings, &health);
        }
    }

    /// Takes in nodes that have workers now, and had none before.
    async fn grow(&mut self, settings: &Arc<Settings>, host: &Host, nodes: &[u32]) -> Result<(), HostError> {
        let have = self.health.nodes();
        let new: Vec<u32> = nodes.iter().copied().filter(|node| !have.contains(node)).collect();
        if new.is_empty() {
            return Ok(());
        }
        match make(settings, host, &[have, new.clone()].concat()).await? {
            Ok(()) => {
                info!(nodes = ?new, "the switch has workers on further NUMA nodes");
                self.lacking = false;
                new.into_iter().for_each(|node| self.health.add(node));
            }
            Err(error) => {
                // Tried again at every look, said once.
                if !std::mem::replace(&mut self.lacking, true) {
                    error!("NUMA nodes {new:?} get no devices: {error}");
                }
            }
        }
        Ok(())
    }

    fn tell(&self, settings: &Settings, health: &BTreeMap<u32, bool>) {
        for (pool, told) in settings.pools.iter().zip(&self.told) {
            let now = Arc::new(pool.devices(health));
            told.send_if_modified(|before| {
                let changed = *before != now;
                if changed {
                    let well = now.iter().filter(|d| d.health == "Healthy").count();
                    info!(resource = pool.resource(), devices = now.len(), healthy = well, "devices changed");
                    *before = now;
                }
                changed
            });
        }
    }

    fn log(&mut self, found: &Result<Vec<u32>, SwitchError>) {
        let now = found.as_ref().map(|_| ()).map_err(Clone::clone);
        if now != self.last {
            match &now {
                Ok(()) => info!("podswitchd answers again"),
                Err(error) => warn!("{error}"),
            }
            self.last = now;
        }
        debug!(?found, "looked at the switch");
    }
}

/// Makes the directories of all devices on these nodes, and remembers the nodes.
async fn make(
    settings: &Arc<Settings>,
    host: &Host,
    nodes: &[u32],
) -> Result<Result<(), DirectoryError>, HostError> {
    let (settings, mut nodes) = (Arc::clone(settings), nodes.to_vec());
    nodes.sort_unstable();
    host.run(move |_| {
        for (id, _) in settings.pools.iter().flat_map(|pool| pool.ids(&nodes)) {
            settings.layout.ensure(&id)?;
        }
        if settings.nodes == Nodes::Auto
            && let Err(error) = (Known { numa_nodes: nodes }).save(&settings.layout.root)
        {
            warn!("the NUMA nodes cannot be kept for the next start: {error}");
        }
        Ok(())
    })
    .await
}
