//! Takes away everything that the plugin ever made on a node: for an uninstallation.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use proto::paths::DeviceDirectories;
use tracing::{info, warn};

use super::error::Failure;
use super::host::Host;
use super::known::Known;
use super::options::Settings;
use super::service::remove_device_info;
use super::switch::Switch;

/// Unmounts and removes the directories of all devices, device-info files, sockets, and what is remembered. Devices that
/// attachments hold stay, unless forced.
///
/// # Errors
/// Devices that are held; what cannot be removed. The rest is removed all the same.
pub(super) async fn clean_up(settings: &Arc<Settings>, host: &Host) -> Result<(), Failure> {
    let layout = settings.layout.clone();
    let found = host.run(move |_| layout.found()).await??;
    let held = held(settings, host, &found).await?;
    let (kept, gone): (Vec<_>, Vec<_>) = found.into_iter().partition(|id| held.contains(id));
    for pool in &settings.pools {
        absent(&settings.kubelet_dir.join(pool.endpoint()))?;
    }
    let (shared, number, all) = (Arc::clone(settings), gone.len(), kept.is_empty());
    host.run(move |_| {
        for id in &gone {
            shared.layout.remove(id, shared.force)?;
        }
        let failed = |path: PathBuf| move |error| Failure::Remove { path, error };
        remove_device_info(&shared, &gone).map_err(failed(shared.devinfo_dir.clone()))?;
        if all {
            Known::remove(&shared.layout.root).map_err(failed(shared.layout.root.clone()))?;
            // Stays as long as others have directories there.
            let _ = fs::remove_dir(shared.layout.root.join("devices"));
        }
        Ok::<_, Failure>(())
    })
    .await??;
    info!(devices = number, "removed");
    if kept.is_empty() { Ok(()) } else { Err(Failure::InUse(kept)) }
}

/// Directories that attachments are in: as the switch says, or, where it is gone already, those with a port file,
/// which it writes and removes with the attachment.
async fn held(settings: &Arc<Settings>, host: &Host, found: &[String]) -> Result<BTreeSet<String>, Failure> {
    if settings.force || found.is_empty() {
        return Ok(BTreeSet::new());
    }
    match Switch::new(settings.api.clone()).directories_in_use().await {
        Ok(held) => Ok(held),
        Err(error) => {
            warn!("{error}; goes by the port files");
            let (root, mut ids) = (settings.layout.root.clone(), found.to_vec());
            let with_file = move |id: &String| DeviceDirectories::new(&root, id).port_file().exists();
            Ok(host.run(move |_| ids.drain(..).filter(with_file).collect()).await?)
        }
    }
}

fn absent(path: &std::path::Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::Remove { path: path.into(), error })
        }
        _ => Ok(()),
    }
}
