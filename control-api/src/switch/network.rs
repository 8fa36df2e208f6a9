//! Networks: added, changed in place, deleted. The policy of a network is the administrator's word on who attaches
//! to it through a container runtime, and with what; the dataplane knows only the network's name.
//!
//! Called as the other changes are: from threads that may block, one change at a time.

use dataplane::ids::NetworkId;
use proto::v1;

use super::difference::difference;
use super::{Entry, Switch, lock};
use crate::error::Error;
use crate::store::{Change, Table};
use crate::validate;

/// A network that is there.
#[derive(Clone, Debug)]
pub(super) struct NetworkEntry {
    /// What the dataplane calls it.
    pub(super) id: NetworkId,
    /// Name and policy, in canonical form.
    pub(super) spec: v1::NetworkSpec,
}

impl Switch {
    /// Adds a network; the same again is success.
    ///
    /// # Errors
    /// The field at fault; a network of that name with other content; a store that cannot be written. Nothing has
    /// changed then.
    pub fn add_network(&self, spec: Option<v1::NetworkSpec>) -> Result<v1::Network, Error> {
        let spec = validate::network(spec)?;
        let name = spec.name.clone();
        let mut store = lock(&self.changes);
        let exists = {
            let state = self.read();
            let entry = state.networks.get(&name);
            if let Some((field, has, asked)) = entry.and_then(|entry| difference(&entry.spec, &spec)) {
                return Err(Error::Differs { kind: "network", name, field, has, asked });
            }
            entry.is_some()
        };
        if !exists {
            self.commit(&mut store, Change::put_network(&spec))?;
            let id = self.datapath.add_network(&name);
            self.write().networks.insert(name.clone(), NetworkEntry { id, spec });
            tracing::info!(network = name, "added");
        }
        drop(store);
        self.network(&name)
    }

    /// Changes the policy of a network in place. What is attached already stays as it is.
    ///
    /// # Errors
    /// The field at fault; no such network; a store that cannot be written. Nothing has changed then.
    pub fn set_network(&self, request: v1::NetworkSetRequest) -> Result<v1::Network, Error> {
        let name = request.name.clone();
        let mut store = lock(&self.changes);
        let (before, spec) = {
            let state = self.read();
            let entry = state.networks.get(&name).ok_or_else(|| Error::NoNetwork(name.clone()))?;
            (entry.spec.clone(), validate::network(Some(changed(entry.spec.clone(), request)))?)
        };
        if spec != before {
            self.commit(&mut store, Change::put_network(&spec))?;
            if let Some(entry) = self.write().networks.get_mut(&name) {
                entry.spec = spec;
            }
            tracing::info!(network = name, "changed");
        }
        drop(store);
        self.network(&name)
    }

    /// Deletes a network; one that does not exist is success.
    ///
    /// # Errors
    /// It still has ports, or the store cannot be written.
    pub fn delete_network(&self, name: &str) -> Result<(), Error> {
        let mut store = lock(&self.changes);
        let (id, ports) = {
            let state = self.read();
            let Some(entry) = state.networks.get(name) else { return Ok(()) };
            let ports: Vec<_> =
                state.ports.values().filter(|p| p.network() == name).map(Entry::name).collect();
            (entry.id, some_of(&ports))
        };
        if !ports.is_empty() {
            return Err(Error::NotEmpty { name: name.into(), ports });
        }
        self.commit(&mut store, Change::Delete(Table::Network, name.into()))?;
        self.write().networks.remove(name);
        if let Err(e) = self.datapath.remove_network(id) {
            tracing::error!(network = name, "the dataplane keeps it: {e}");
        }
        tracing::info!(network = name, "deleted");
        Ok(())
    }
}

/// The specification with the fields of the request that are set.
fn changed(mut spec: v1::NetworkSpec, request: v1::NetworkSetRequest) -> v1::NetworkSpec {
    if let Some(namespaces) = request.namespaces {
        spec.namespaces = namespaces.values;
    }
    if let Some(ranges) = request.ranges {
        spec.ranges = ranges.values;
    }
    spec.most_queues = request.most_queues.unwrap_or(spec.most_queues);
    spec.most_mtu = request.most_mtu.unwrap_or(spec.most_mtu);
    spec.most_memory = request.most_memory.unwrap_or(spec.most_memory);
    spec.allow_trusted = request.allow_trusted.unwrap_or(spec.allow_trusted);
    spec.allow_source = request.allow_source.unwrap_or(spec.allow_source);
    spec.without_device = request.without_device.unwrap_or(spec.without_device);
    spec
}

/// "the ports a, b, c and 4 more"; nothing for none.
fn some_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("the port {one}"),
        _ if names.len() <= 4 => format!("the ports {}", names.join(", ")),
        _ => format!("the ports {} and {} more", names[..3].join(", "), names.len() - 3),
    }
}

#[cfg(test)]
mod tests;
