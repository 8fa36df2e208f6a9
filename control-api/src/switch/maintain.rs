//! What is done once a second: what waits is tried again, good generations are copied, workers are sampled.

use std::time::Instant;

use dataplane::PortError;

use super::{Applied, Entry, Switch, asked, lock};

impl Switch {
    /// One round. Called by the daemon about once a second, from a thread that may block.
    pub fn maintain(&self) {
        self.remove_lingering();
        self.retry();
        self.detach_other_boots();
        self.replay_tombstones();
        self.reconcile(Instant::now());
        let mut store = lock(&self.changes);
        store.copy_if_due(false);
        self.show_store(&store);
        drop(store);
        self.sample();
    }

    /// Copies the last changes: for an orderly stop.
    pub fn settle(&self) {
        lock(&self.changes).copy_if_due(true);
    }

    fn remove_lingering(&self) {
        let lingering = self.read().lingering.clone();
        for (name, id) in lingering {
            let _changing = lock(&self.changes);
            if let Ok(()) | Err(PortError::UnknownPort) = self.datapath.remove_port(id) {
                tracing::info!(port = name, "the dataplane has let it go");
                self.write().lingering.retain(|(_, other)| *other != id);
            }
        }
    }

    fn retry(&self) {
        let waits = |entry: &&Entry| entry.id().is_none();
        let names: Vec<String> =
            self.read().ports.values().filter(waits).map(|entry| entry.name().to_owned()).collect();
        for name in names {
            // One at a time, so that a change never waits for all of them.
            let _changing = lock(&self.changes);
            let wanted = {
                let state = self.read();
                let entry = state.ports.get(&name).filter(waits);
                entry.map(|entry| {
                    (asked(&entry.port, state.networks[entry.network()].id), entry.applied.clone())
                })
            };
            let Some((spec, before)) = wanted else { continue };
            let applied = match self.datapath.add_port(spec) {
                Ok(id) => Applied::As(id),
                Err(e) => Applied::Waiting(e.to_string()),
            };
            if applied == before {
                continue;
            }
            match &applied {
                Applied::As(_) => tracing::info!(port = name, "applied at last"),
                Applied::Waiting(reason) => tracing::warn!(port = name, "cannot be applied now: {reason}"),
            }
            if let Some(entry) = self.write().ports.get_mut(&name) {
                entry.applied = applied;
            }
        }
    }
}
