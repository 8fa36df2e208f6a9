//! What the control plane is shown.

use std::sync::atomic::Ordering;

use vhost::control::State as Session;

use super::Inner;
use super::state::{Device, Port};
use crate::ids::{MacAddr, NetworkId, PortId};
use crate::report::{
    FdbEntry, MacKind, MacSource, MemoryReport, PortReport, PortState, QueueReport, WorkerReport,
};

pub(super) fn port(inner: &Inner, id: PortId) -> Option<PortReport> {
    let state = inner.state();
    let port = state.port(id)?;
    let queues = queues(inner, port);
    let settings = &port.spec.settings;
    let mac = match (settings.trusted, settings.mac, port.shared.adopted()) {
        (true, ..) => MacSource::Any,
        (false, Some(mac), _) => MacSource::Declared(mac),
        (false, None, 0) => MacSource::None,
        (false, None, word) => MacSource::Adopted(MacAddr::from_word(word)),
    };
    let mut report = PortReport {
        state: PortState::Running,
        reason: String::new(),
        mac,
        features: vhost::features::Features::empty(),
        guest_memory: 0,
        switch_memory: port.shared.memory(),
        queues,
        connections: 0,
        faults: 0,
        numa_node: None,
        driver: String::new(),
        hint: String::new(),
    };
    match &port.device {
        Device::Vhost(view) => {
            let session = view.snapshot();
            report.state = session_state(session.state);
            report.reason = session.reason;
            report.features = session.features;
            report.guest_memory = session.guest_memory;
            report.connections = session.connections;
            report.faults = session.faults;
            report.numa_node = port.shared.node();
        }
        Device::Dpdk(device) => {
            report.driver = device.driver().to_string();
            report.numa_node = device.numa_node();
            report.switch_memory += device.pool_bytes();
            if device.is_gone() {
                report.state = PortState::Waiting;
                report.reason = "the device has gone".to_string();
            }
        }
    }
    report.hint = hint(port, &report);
    Some(report)
}

fn queues(inner: &Inner, port: &Port) -> Vec<QueueReport> {
    let plan = port.places.plan();
    plan.iter()
        .enumerate()
        .map(|(pair, worker)| {
            let (rx_running, rx_size) = port.places.running(pair);
            QueueReport {
                worker: inner.workers[*worker].core,
                rx_running,
                tx_running: port.shared.outlets[pair].is_open(),
                rx_size,
                tx_size: port.shared.tx_size(pair),
            }
        })
        .collect()
}

/// One line on why no traffic flows; empty if nothing hinders it here.
fn hint(port: &Port, report: &PortReport) -> String {
    if !port.spec.settings.admin_up {
        return "the port is administratively down: podswitch port set NAME --admin up".to_string();
    }
    match report.state {
        PortState::Waiting => "nobody is connected to the socket: start the application".to_string(),
        PortState::Connected => "the application is connected and has not negotiated yet".to_string(),
        PortState::Negotiated | PortState::Paused => {
            "no ring runs: the application has not started its port (testpmd: start)".to_string()
        }
        PortState::Faulted => format!("taken out of service: {}", report.reason),
        PortState::Gone => "the port is being removed".to_string(),
        PortState::Running if report.queues.iter().all(|q| !q.rx_running) => {
            "the application receives but does not send: its transmit queue is not started".to_string()
        }
        PortState::Running if report.queues.iter().all(|q| !q.tx_running) => {
            "the application sends but does not receive: its receive queue is not started".to_string()
        }
        PortState::Running => String::new(),
    }
}

fn session_state(state: Session) -> PortState {
    match state {
        Session::Waiting => PortState::Waiting,
        Session::Connected => PortState::Connected,
        Session::Negotiated => PortState::Negotiated,
        Session::Running => PortState::Running,
        Session::Paused => PortState::Paused,
        Session::Faulted(_) => PortState::Faulted,
        Session::Gone => PortState::Gone,
    }
}

pub(super) fn workers(inner: &Inner) -> Vec<WorkerReport> {
    let state = inner.state();
    let mut reports: Vec<WorkerReport> = inner
        .workers
        .iter()
        .zip(&inner.ground.tallies)
        .map(|(worker, tally)| WorkerReport {
            core: worker.core,
            numa_node: worker.numa_node,
            busy_cycles: tally.busy.get(),
            idle_cycles: tally.idle.get(),
            turns: tally.turns.get(),
            frames: tally.frames.get(),
            longest_turn: tally.longest.get(),
            stages: tally.stages(),
            queues: Vec::new(),
            tid: worker.tid.load(Ordering::Relaxed),
            stuck: worker.stuck.load(Ordering::Relaxed),
        })
        .collect();
    for (id, port) in state.ports() {
        for (pair, worker) in port.places.plan().into_iter().enumerate() {
            reports[worker].queues.push((id, pair as u16));
        }
    }
    reports
}

pub(super) fn fdb(inner: &Inner, id: NetworkId) -> Option<Vec<FdbEntry>> {
    let state = inner.state();
    let table = state.network(id)?.fdb.entries();
    let now = inner.ground.now.load(Ordering::Relaxed);
    let entries = table.into_iter().filter_map(|(mac, dest, kind, seen)| {
        let (port, _) = state.in_network(id).find(|(_, p)| p.dest == dest)?;
        let age = if kind == MacKind::Learned { now.saturating_sub(seen) } else { 0 };
        Some(FdbEntry { mac, port, kind, age })
    });
    Some(entries.collect())
}

pub(super) fn memory(inner: &Inner) -> MemoryReport {
    let dpdk = inner.eal.memory();
    let tenants = inner
        .state()
        .ports()
        .map(|(_, port)| match &port.device {
            Device::Vhost(view) => view.snapshot().guest_memory,
            Device::Dpdk(_) => 0,
        })
        .sum();
    MemoryReport {
        hugepages: dpdk.hugepage_bytes,
        tenants,
        dpdk: dpdk.total_bytes,
        dpdk_used: dpdk.used_bytes,
    }
}
