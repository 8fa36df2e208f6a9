//! The changes of ports: checked whole, then stored, then applied; what the dataplane refuses is taken back from the store.

use dataplane::ids::{NetworkId, PortId};
use dataplane::spec::DeviceSpec;
use proto::v1;
use proto::v1::port_spec::Device;

use super::attach::{Refusal, holder};
use super::difference::difference;
use super::{Applied, Entry, State, Switch, asked, lock};
use crate::cpus;
use crate::error::Error;
use crate::store::{Change, Store, Table};
use crate::validate::{self, Port};

impl Switch {
    /// Adds a port; the same again is success.
    ///
    /// # Errors
    /// The field at fault; a port of that name with other content; a store that cannot be written. Nothing has
    /// changed then.
    pub fn add_port(&self, spec: Option<v1::PortSpec>) -> Result<v1::Port, Error> {
        let port = validate::port(spec, self.options.port_memory)?;
        let name = port.spec.name.clone();
        let mut store = lock(&self.changes);
        let (exists, network) = {
            let state = self.read();
            let differs = state.ports.get(&name).and_then(|entry| difference(&entry.port.spec, &port.spec));
            if let Some((field, has, asked)) = differs {
                return Err(Error::Differs { kind: "port", name, field, has, asked });
            }
            let Some(network) = state.networks.get(&port.spec.network).map(|entry| entry.id) else {
                return Err(Error::UnknownNetwork(port.spec.network));
            };
            self.check(&state, &port)?;
            (state.ports.contains_key(&name), network)
        };
        if !exists {
            self.commit(&mut store, Change::put_port(&port.spec))?;
            match self.datapath.add_port(asked(&port, network)) {
                Ok(id) => self.put(port, Applied::As(id)),
                Err(refusal) => {
                    let undo = Change::Delete(Table::Port, name.clone());
                    return Err(self.take_back(&mut store, undo, refusal.into(), || {
                        self.put(port, Applied::Waiting("refused when it was added".into()));
                    }));
                }
            }
            tracing::info!(port = name, "added");
        }
        drop(store);
        self.port(&name)
    }

    /// Changes a port in place.
    ///
    /// # Errors
    /// The field at fault; no such port; a store that cannot be written. Nothing has changed then.
    pub fn set_port(&self, request: &v1::PortSetRequest) -> Result<v1::Port, Error> {
        let name = request.name.as_str();
        let mut store = lock(&self.changes);
        let (entry, port, network) = {
            let state = self.read();
            let entry = state.ports.get(name).cloned().ok_or_else(|| Error::NoPort(name.into()))?;
            let spec = changed(&entry.port.spec, request)?;
            let port = validate::port(Some(spec), self.options.port_memory)?;
            if let Some(owner) = state.attachments.values().find(|attachment| attachment.port == name) {
                check_attached(&entry.port.spec, &port.spec, owner)?;
            }
            self.check(&state, &port)?;
            let network = state.networks[entry.network()].id;
            (entry, port, network)
        };
        if port != entry.port {
            self.check_guest_memory(&entry, &port)?;
            self.commit(&mut store, Change::put_port(&port.spec))?;
            self.apply_set(&mut store, entry, port, network)?;
            tracing::info!(port = name, "changed");
        }
        drop(store);
        self.port(name)
    }

    fn apply_set(
        &self,
        store: &mut Store,
        entry: Entry,
        port: Port,
        network: NetworkId,
    ) -> Result<(), Error> {
        let Some(id) = entry.id() else {
            // It waits for something else than this change; what is stored is tried at once.
            let applied = match self.datapath.add_port(asked(&port, network)) {
                Ok(id) => Applied::As(id),
                Err(e) => Applied::Waiting(e.to_string()),
            };
            self.put(port, applied);
            return Ok(());
        };
        match self.datapath.set_port(id, port.settings.clone()) {
            Ok(()) => {
                self.put(port, entry.applied);
                Ok(())
            }
            Err(refusal) => {
                let undo = Change::put_port(&entry.port.spec);
                Err(self.take_back(store, undo, refusal.into(), || {
                    self.put(port, entry.applied.clone());
                }))
            }
        }
    }

    /// Deletes a port; one that does not exist is success. When it returns no worker can touch the port, unless one
    /// hangs: then the port is gone from the desired state, and its removal is tried again.
    ///
    /// # Errors
    /// A store that cannot be written; nothing has changed then.
    pub fn delete_port(&self, name: &str) -> Result<(), Error> {
        if let Some(key) = self.owner_of(name) {
            return self.detach_key(&key).map(drop);
        }
        let mut store = lock(&self.changes);
        if !self.read().ports.contains_key(name) {
            return Ok(());
        }
        self.commit(&mut store, Change::Delete(Table::Port, name.into()))?;
        let entry = self.write().ports.remove(name);
        if let Some(id) = entry.and_then(|entry| entry.id()) {
            self.remove_from_datapath(name, id);
        }
        tracing::info!(port = name, "deleted");
        Ok(())
    }

    /// A port that is no longer wanted; one that a worker does not let go of is tried again.
    pub(super) fn remove_from_datapath(&self, name: &str, id: PortId) {
        if let Err(e) = self.datapath.remove_port(id) {
            tracing::error!(port = name, "deleted, but the dataplane has not let it go: {e}");
            self.write().lingering.push((name.to_owned(), id));
        }
    }

    pub(super) fn commit(&self, store: &mut Store, change: Change) -> Result<(), Error> {
        let result = store.commit(&[change]);
        self.show_store(store);
        Ok(result?)
    }

    fn put(&self, port: Port, applied: Applied) {
        self.write().ports.insert(port.spec.name.clone(), Entry { port, applied });
    }

    /// The dataplane refused: the store is set back. Where even that fails the object stays wanted, as the store
    /// has it, and `keep` writes that down.
    fn take_back(&self, store: &mut Store, undo: Change, refusal: Error, keep: impl FnOnce()) -> Error {
        let undone = store.commit(&[undo]);
        self.show_store(store);
        match undone {
            Ok(()) => refusal,
            Err(store) => {
                keep();
                Error::NotUndone { refusal: Box::new(refusal), store }
            }
        }
    }

    /// What a port may not share with others, and what depends on how the daemon runs.
    fn check(&self, state: &State, port: &Port) -> Result<(), Error> {
        self.check_but(state, port, &[])
    }

    /// As [`Switch::check`], without looking at the ports named.
    pub(super) fn check_but(&self, state: &State, port: &Port, but: &[String]) -> Result<(), Error> {
        let others = state.ports.values().filter(|other| other.name() != port.spec.name);
        for other in others.filter(|other| !but.iter().any(|name| name == other.name())) {
            let mac = port.settings.mac.filter(|_| other.port.settings.mac == port.settings.mac);
            if let Some(mac) = mac.filter(|_| other.network() == port.spec.network) {
                return Err(Error::MacTaken { mac, port: other.name().into() });
            }
            match (&port.device, &other.port.device) {
                (DeviceSpec::VhostUser { path, .. }, DeviceSpec::VhostUser { path: taken, .. })
                    if path == taken =>
                {
                    let by = format!("the port \"{}\"", other.name());
                    return Err(Error::PathTaken { path: path.display().to_string(), by });
                }
                (DeviceSpec::Dpdk { devargs }, DeviceSpec::Dpdk { devargs: taken })
                    if device_name(devargs) == device_name(taken) =>
                {
                    let device = device_name(devargs).into();
                    return Err(Error::DeviceTaken { device, port: other.name().into() });
                }
                _ => {}
            }
        }
        if let DeviceSpec::VhostUser { path, .. } = &port.device
            && self.options.own_sockets.contains(path)
        {
            return Err(Error::PathTaken {
                path: path.display().to_string(),
                by: "podswitchd itself".into(),
            });
        }
        let asked = &port.settings.workers;
        if asked.iter().any(|cpu| !self.options.workers.contains(cpu)) {
            return Err(Error::NoSuchWorker {
                asked: cpus::list(asked),
                have: cpus::list(&self.options.workers),
            });
        }
        Ok(())
    }

    fn check_guest_memory(&self, entry: &Entry, port: &Port) -> Result<(), Error> {
        let limit = port.settings.mem_limit;
        let shared = entry.id().and_then(|id| self.datapath.port(id)).map_or(0, |report| report.guest_memory);
        if limit < entry.port.settings.mem_limit && shared > limit {
            return Err(Error::GuestMemory { shared, limit });
        }
        Ok(())
    }
}

/// An operator may hold up or loosen an attached port, but its addresses are what its pod was told.
fn check_attached(has: &v1::PortSpec, asked: &v1::PortSpec, owner: &v1::Attachment) -> Result<(), Refusal> {
    let field = match () {
        () if has.mac != asked.mac => "mac",
        () if has.ips != asked.ips => "ips",
        () => return Ok(()),
    };
    Err(Refusal::Attached { field, port: has.name.clone(), holder: holder::words(owner) })
}

/// The specification with the fields of the request that are set.
fn changed(spec: &v1::PortSpec, request: &v1::PortSetRequest) -> Result<v1::PortSpec, Error> {
    let mut spec = spec.clone();
    if let Some(mac) = &request.mac {
        spec.mac.clone_from(mac);
    }
    if let Some(ips) = &request.ips {
        spec.ips.clone_from(&ips.values);
    }
    if let Some(prefixes) = &request.allow_source {
        spec.allow_source.clone_from(&prefixes.values);
    }
    if let Some(workers) = &request.workers {
        spec.workers.clone_from(workers);
    }
    spec.mtu = request.mtu.unwrap_or(spec.mtu);
    spec.trusted = request.trusted.unwrap_or(spec.trusted);
    spec.admin_down = request.admin_down.unwrap_or(spec.admin_down);
    if let Some(limit) = request.mem_limit {
        match &mut spec.device {
            Some(Device::VhostUser(vhost)) => vhost.mem_limit = limit,
            _ => return Err(Error::NotVhostUser(spec.name)),
        }
    }
    Ok(spec)
}

/// What DPDK knows a device by: all before the arguments.
fn device_name(devargs: &str) -> &str {
    devargs.split(',').next().unwrap_or(devargs)
}
