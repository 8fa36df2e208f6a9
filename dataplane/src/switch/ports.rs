//! Adding, changing and removing ports, each in an order in which no worker ever sees half of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost::control::{AddPortError, Mode, PortChanges, PortKey, RemovePortError, VhostPortConfig};
use vhost::features::Features;

use super::error::PortError;
use super::state::{Device, Port, State};
use super::{Inner, PATIENCE};
use crate::dpdk::{DpdkError, DpdkPort, DpdkPortConfig};
use crate::fdb::Entered;
use crate::ids::{CoreId, MacAddr, NetworkId, PortId};
use crate::plan::{self, Candidate};
use crate::port::{Exit, PortShared};
use crate::rings::{Places, Rings};
use crate::snapshot::PortSlot;
use crate::spec::{DeviceSpec, PortSettings, PortSpec, SocketMode};
use crate::worker::{QueueKey, RxEnd, RxQueue};

/// Queue pairs that any port can have.
const MAX_PAIRS: u16 = vhost::control::MAX_PAIRS;

/// Adds a port: everything is in place before workers see it, and they see it before its rings run.
pub(super) fn add(inner: &Inner, spec: &PortSpec) -> Result<PortId, PortError> {
    if !(1..=MAX_PAIRS).contains(&spec.queues) {
        return Err(PortError::Queues { asked: spec.queues, most: MAX_PAIRS });
    }
    let mut state = inner.state();
    let fdb = state.network(spec.network).ok_or(PortError::UnknownNetwork)?.fdb.clone();
    check_mac(&state, spec.network, spec.settings.mac, None)?;
    let mut device = match &spec.device {
        DeviceSpec::Dpdk { devargs } => Some(open_device(inner, spec, devargs)?),
        DeviceSpec::VhostUser { .. } => None,
    };
    let node = device.as_ref().and_then(DpdkPort::numa_node);
    let plan = assign(inner, &state, spec.queues, &spec.settings.workers, node, None)?;

    let (id, slot, dest) = state.reserve(spec.network).ok_or(PortError::NetworkFull)?;
    let undo = |state: &mut State| {
        fdb.flush(dest);
        state.release(spec.network, slot, dest);
    };
    let shared_by_many = feeders(&state, spec.network, &plan, None).len() > 1;
    let shared = Arc::new(PortShared::new(spec.queues, inner.workers.len(), shared_by_many));
    if shared_by_many && let Err(error) = share(inner, &state, spec.network) {
        undo(&mut state);
        return Err(error);
    }
    if let Some(mac) = spec.settings.mac
        && fdb.declare(mac, dest) != Entered::Ok
    {
        undo(&mut state);
        return Err(PortError::NetworkFull);
    }
    let places = Arc::new(Places::new(&plan));
    let queues = device.as_mut().map(DpdkPort::take_queues).unwrap_or_default();
    let rings = Rings::new(
        shared.clone(),
        places.clone(),
        inner.ground.clone(),
        inner.mailboxes.clone(),
        slot,
        fdb.clone(),
    );
    let device = match (device, &spec.device) {
        (Some(port), _) => Device::Dpdk(port),
        (None, _) => Device::Vhost(vhost::control::PortView::default()),
    };
    state.insert_port(id, Port { spec: spec.clone(), slot, dest, shared, places, device });
    inner.publish(&state)?;

    if let DeviceSpec::VhostUser { path, mode, features_off } = &spec.device {
        let config = VhostPortConfig {
            name: spec.name.clone(),
            path: path.clone(),
            mode: match mode {
                SocketMode::Server => Mode::Server,
                SocketMode::Client => Mode::Client,
            },
            pairs: spec.queues,
            features: Features::OFFERED.difference(*features_off),
            mtu: spec.settings.mtu,
            mem_limit: spec.settings.mem_limit,
        };
        match inner.control.add_port(PortKey(id.0), config, Box::new(rings)) {
            Ok(view) => {
                if let Some(port) = state.port_mut(id) {
                    port.device = Device::Vhost(view);
                }
            }
            Err(error) => {
                state.take_port(id);
                inner.publish(&state)?;
                undo(&mut state);
                return Err(socket_error(&error, path));
            }
        }
    } else if let Some(port) = state.port(id) {
        for (pair, queue) in queues.into_iter().enumerate() {
            let key = QueueKey { slot, pair: pair as u16 };
            port.shared.open(key.pair, Exit::Device(queue.tx));
            let receive = RxQueue { key, end: RxEnd::Device(queue.rx) };
            port.places.start(&inner.mailboxes, Box::new(receive), 0);
        }
    }
    Ok(id)
}

/// Changes a port in place.
pub(super) fn set(inner: &Inner, id: PortId, settings: &PortSettings) -> Result<(), PortError> {
    let mut state = inner.state();
    let port = state.port(id).ok_or(PortError::UnknownPort)?;
    let (network, dest, old) = (port.spec.network, port.dest, port.spec.settings.clone());
    let fdb = state.network(network).ok_or(PortError::UnknownNetwork)?.fdb.clone();
    check_mac(&state, network, settings.mac, Some(id))?;
    let node = match &port.device {
        Device::Dpdk(device) => device.numa_node(),
        Device::Vhost(_) => port.shared.node(),
    };
    let (places, shared) = (port.places.clone(), port.shared.clone());
    let plan = if settings.workers == old.workers {
        places.plan()
    } else {
        assign(inner, &state, port.spec.queues, &settings.workers, node, Some(id))?
    };
    if let Some(mac) = settings.mac.filter(|mac| old.mac != Some(*mac))
        && fdb.declare(mac, dest) != Entered::Ok
    {
        return Err(PortError::NetworkFull);
    }
    if plan != places.plan() {
        let port = state.port(id).ok_or(PortError::UnknownPort)?;
        move_queues(inner, &state, id, port, &plan)?;
    }
    let changes = PortChanges { mtu: Some(settings.mtu), mem_limit: Some(settings.mem_limit) };
    if let Some(port) = state.port_mut(id) {
        port.spec.settings = settings.clone();
    }
    inner.publish(&state)?;
    // Only now does no worker admit frames by the old rules: what they entered can go.
    if old.mac != settings.mac
        && let Some(mac) = old.mac
    {
        fdb.forget(mac.to_word());
    }
    if (settings.mac.is_some() || settings.trusted)
        && let Some(adopted) = shared.disown()
        && settings.mac != Some(adopted)
    {
        fdb.forget(adopted.to_word());
    }
    if matches!(state.port(id).map(|p| &p.device), Some(Device::Vhost(_)))
        && let Err(error) = inner.control.set_port(PortKey(id.0), changes)
    {
        tracing::error!(%error, "the vhost-user session did not take the change");
    }
    Ok(())
}

/// Moves the queues of guests to workers on the NUMA node of their memory, which is known only when their rings run.
/// Ports with an operator's list of CPUs stay where they are, and so does one that no worker is near to.
pub(super) fn draw_near(inner: &Inner) -> Result<(), PortError> {
    let nodes: BTreeSet<Option<u32>> = inner.workers.iter().map(|w| w.numa_node).collect();
    if nodes.len() < 2 {
        return Ok(());
    }
    let state = inner.state();
    for (id, port) in state.ports() {
        let Some(node) = port.shared.node().filter(|_| port.spec.settings.workers.is_empty()) else {
            continue;
        };
        let far = |w: &usize| inner.workers[*w].numa_node != Some(node);
        if !nodes.contains(&Some(node)) || !port.places.plan().iter().any(far) {
            continue;
        }
        let plan = assign(inner, &state, port.spec.queues, &[], Some(node), Some(id))?;
        move_queues(inner, &state, id, port, &plan)?;
        tracing::info!(port = port.spec.name, node, "queues moved to workers near the guest's memory");
    }
    Ok(())
}

/// Moves a port's queues to other workers, under traffic. Both the old and the new workers may come near the
/// network's outlets until the move is done.
fn move_queues(
    inner: &Inner,
    state: &State,
    id: PortId,
    port: &Port,
    plan: &[usize],
) -> Result<(), PortError> {
    let both: Vec<usize> = plan.iter().copied().chain(port.places.plan()).collect();
    if feeders(state, port.spec.network, &both, Some(id)).len() > 1 {
        share(inner, state, port.spec.network)?;
    }
    port.places.replan(&inner.mailboxes, port.slot, plan);
    Ok(())
}

/// Removes a port: its rings come back first, then workers forget it, then its numbers are free.
pub(super) fn remove(inner: &Inner, id: PortId) -> Result<(), PortError> {
    let mut state = inner.state();
    let port = state.port(id).ok_or(PortError::UnknownPort)?;
    let (network, slot, dest) = (port.spec.network, port.slot, port.dest);
    let (shared, places, pairs) = (port.shared.clone(), port.places.clone(), port.spec.queues);
    let mac = port.spec.settings.mac;
    match &port.device {
        Device::Vhost(_) => {
            // One that is unknown there has come back since an earlier attempt.
            if let Err(error) = inner.control.remove_port(PortKey(id.0))
                && !matches!(error, RemovePortError::NoSuchPort(_))
            {
                tracing::error!(port = port.spec.name, %error, "a port is removed although not all of it is back");
                return Err(PortError::WorkerStuck(stuck_core(inner, &places)));
            }
        }
        Device::Dpdk(_) => take_back(inner, &shared, &places, slot, pairs)?,
    }
    let port = state.take_port(id).ok_or(PortError::UnknownPort)?;
    inner.publish(&state)?;
    if let Some(network) = state.network(network) {
        if let Some(mac) = mac {
            network.fdb.forget(mac.to_word());
        }
        network.fdb.flush(dest);
    }
    // A worker may have found the destination in the table just before it was flushed.
    inner.settle()?;
    state.release(network, slot, dest);
    unshare(&state, network);
    if let Device::Dpdk(device) = port.device
        && let Err(error) = device.close()
    {
        tracing::error!(port = port.spec.name, %error, "a device could not be closed");
    }
    Ok(())
}

fn check_mac(
    state: &State,
    network: NetworkId,
    mac: Option<MacAddr>,
    but: Option<PortId>,
) -> Result<(), PortError> {
    match mac {
        Some(mac) if state.declares(network, mac, but) => Err(PortError::MacInUse(mac)),
        _ => Ok(()),
    }
}

fn assign(
    inner: &Inner,
    state: &State,
    pairs: u16,
    allowed: &[CoreId],
    node: Option<u32>,
    but: Option<PortId>,
) -> Result<Vec<usize>, PortError> {
    let loads = state.loads(inner.workers.len(), but);
    let candidates: Vec<Candidate> = inner
        .workers
        .iter()
        .zip(loads)
        .map(|(w, queues)| Candidate { core: w.core, numa_node: w.numa_node, queues })
        .collect();
    plan::assign(&candidates, pairs, allowed, node).map_err(PortError::NoWorkerOn)
}

/// The workers that write to ports of a network: those that have a receive queue in it. `plan` is that of a port
/// that is being added or changed, in place of the plan of `but`.
fn feeders(state: &State, network: NetworkId, plan: &[usize], but: Option<PortId>) -> BTreeSet<usize> {
    let others = state.in_network(network).filter(|(id, _)| Some(*id) != but);
    others.flat_map(|(_, p)| p.places.plan()).chain(plan.iter().copied()).collect()
}

/// Makes every outlet of a network one that several workers may feed, and returns when all workers know.
fn share(inner: &Inner, state: &State, network: NetworkId) -> Result<(), PortError> {
    for (_, port) in state.in_network(network) {
        port.shared.outlets.iter().for_each(|outlet| outlet.set_shared(true));
    }
    inner.settle()
}

/// Takes the locks off a network's outlets if a single worker is left; the others have passed a quiet point since.
fn unshare(state: &State, network: NetworkId) {
    if feeders(state, network, &[], None).len() <= 1 {
        for (_, port) in state.in_network(network) {
            port.shared.outlets.iter().for_each(|outlet| outlet.set_shared(false));
        }
    }
}

/// Takes a DPDK port's queues back from workers, and drops them.
fn take_back(
    inner: &Inner,
    shared: &PortShared,
    places: &Places,
    slot: PortSlot,
    pairs: u16,
) -> Result<(), PortError> {
    let deadline = Instant::now() + PATIENCE;
    for pair in 0..pairs {
        if places.running(pair.into()).0 {
            let from = places.stop(&inner.mailboxes, QueueKey { slot, pair });
            let left = deadline.saturating_duration_since(Instant::now());
            if from.recv_timeout(left.max(Duration::from_millis(1))).is_err() {
                return Err(PortError::WorkerStuck(stuck_core(inner, places)));
            }
        }
        shared.close(pair);
    }
    inner.settle()?;
    shared.outlets.iter().for_each(|outlet| drop(outlet.take()));
    Ok(())
}

fn stuck_core(inner: &Inner, places: &Places) -> CoreId {
    let stuck = places
        .plan()
        .into_iter()
        .find(|w| inner.workers[*w].stuck.load(std::sync::atomic::Ordering::Relaxed));
    inner.workers[stuck.or_else(|| places.plan().first().copied()).unwrap_or(0)].core
}

fn open_device(inner: &Inner, spec: &PortSpec, devargs: &str) -> Result<DpdkPort, PortError> {
    let config =
        DpdkPortConfig { queue_pairs: spec.queues, mtu: spec.settings.mtu, ..DpdkPortConfig::default() };
    DpdkPort::open(&inner.eal, &spec.name, devargs, &config).map_err(|error| match error {
        DpdkError::Memory { needed, free } => PortError::DpdkMemory { needed, free },
        DpdkError::TooManyPorts { limit } => PortError::DpdkPorts(limit),
        DpdkError::Queues { asked, most, .. } => PortError::Queues { asked, most },
        other => PortError::Device { devargs: devargs.to_string(), reason: other.to_string() },
    })
}

fn socket_error(error: &AddPortError, path: &std::path::Path) -> PortError {
    PortError::Socket { path: path.display().to_string(), source: std::io::Error::other(error.to_string()) }
}
