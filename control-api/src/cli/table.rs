//! Messages as text for people.

mod network;

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use proto::v1;
use proto::v1::port_spec::Device;

use crate::size;

pub(super) use network::{attachments, network, networks};

/// A table with these columns; those after the first `left` hold numbers.
pub(super) fn table(columns: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|c| c.to_uppercase()));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= left {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Lines without the blanks that fill the last column.
pub(super) fn text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(super) fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

pub(super) fn ports(list: &v1::PortListResponse) -> String {
    let mut rows = table(&["name", "network", "state", "mac", "device", "why no traffic"], 6);
    for port in &list.ports {
        let (spec, status) = parts(port);
        rows.add_row([
            spec.name.as_str(),
            spec.network.as_str(),
            status.state().word(),
            dash(&status.mac),
            &device(&spec),
            dash(&status.hint),
        ]);
    }
    text(&rows)
}

fn parts(port: &v1::Port) -> (v1::PortSpec, v1::PortStatus) {
    (port.spec.clone().unwrap_or_default(), port.status.clone().unwrap_or_default())
}

fn device(spec: &v1::PortSpec) -> String {
    match &spec.device {
        Some(Device::VhostUser(vhost)) => format!("{} {}", vhost.mode().word(), vhost.path),
        Some(Device::Dpdk(dpdk)) => format!("dpdk {}", dpdk.devargs),
        None => "-".into(),
    }
}

/// All of a port, and in the end one line that says why no traffic flows, if none does.
pub(super) fn port(port: &v1::Port) -> String {
    let (spec, status) = parts(port);
    let mut lines = vec![
        ("name", spec.name.clone()),
        ("network", spec.network.clone()),
        ("state", state(&spec, &status)),
        ("device", device(&spec)),
    ];
    if !status.driver.is_empty() {
        lines.push(("driver", status.driver.clone()));
    }
    lines.push(("MAC", format!("{} ({})", dash(&status.mac), status.mac_source)));
    lines.push(("addresses", dash(&spec.ips.join(", ")).to_owned()));
    lines.push(("allowed sources", dash(&spec.allow_source.join(", ")).to_owned()));
    lines.push(("MTU", if spec.mtu == 0 { "-".into() } else { spec.mtu.to_string() }));
    lines.push(("trusted", if spec.trusted { "yes" } else { "no" }.into()));
    lines.push(("workers", if spec.workers.is_empty() { "auto".into() } else { spec.workers.clone() }));
    if !spec.labels.is_empty() {
        let labels: Vec<_> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.push(("labels", labels.join(" ")));
    }
    if let Some(Device::VhostUser(vhost)) = &spec.device {
        let limit = match vhost.mem_limit {
            0 => "the configured default".into(),
            bytes => size::exact(bytes),
        };
        lines.push(("memory", format!("{} shared, limit {limit}", size::rounded(status.guest_memory))));
        lines.push(("features", dash(&status.features.join(" ")).to_owned()));
        if !vhost.features_off.is_empty() {
            lines.push(("features off", vhost.features_off.join(" ")));
        }
    }
    lines.push(("our memory", size::rounded(status.switch_memory)));
    let faults = format!("{} connections, {} faults", status.connections, status.faults);
    lines.push(("history", faults));
    let mut out = pairs(&lines);
    if !status.queues.is_empty() {
        out.push_str(&format!("\n\n{}", queues(&status.queues)));
    }
    if !status.testpmd_args.is_empty() {
        let _ = write!(out, "\n\ntestpmd: {}\nQEMU:    {}", status.testpmd_args, status.qemu_args);
    }
    if !status.hint.is_empty() {
        let _ = write!(out, "\n\nno traffic flows: {}", status.hint);
    }
    out
}

fn state(spec: &v1::PortSpec, status: &v1::PortStatus) -> String {
    let mut text = status.state().word().to_owned();
    if spec.admin_down {
        text.push_str(", administratively down");
    }
    if !status.reason.is_empty() {
        let _ = write!(text, " ({})", status.reason);
    }
    text
}

fn queues(queues: &[v1::QueueStatus]) -> String {
    let ring = |running: bool, size: u32| match (running, size) {
        (true, size) => format!("running, {size}"),
        (false, 0) => "-".into(),
        (false, size) => format!("stopped, {size}"),
    };
    let mut rows = table(&["queue", "worker", "from guest", "to guest"], 4);
    for queue in queues {
        rows.add_row([
            queue.index.to_string(),
            format!("CPU {}", queue.worker_cpu),
            ring(queue.rx_running, queue.rx_size),
            ring(queue.tx_running, queue.tx_size),
        ]);
    }
    text(&rows)
}

pub(super) fn port_stats(stats: &v1::PortStatsResponse) -> String {
    let columns =
        ["port", "network", "rx frames", "rx bytes", "tx frames", "tx bytes", "dropped", "by reason"];
    let mut rows = table(&columns, 2);
    rows.column_mut(7).expect("eight columns").set_cell_alignment(CellAlignment::Left);
    for port in &stats.ports {
        let reasons: Vec<_> =
            port.drops.iter().map(|drop| format!("{} {}", drop.reason, drop.frames)).collect();
        rows.add_row([
            port.port.clone(),
            port.network.clone(),
            port.rx_frames.to_string(),
            port.rx_bytes.to_string(),
            port.tx_frames.to_string(),
            port.tx_bytes.to_string(),
            port.dropped.to_string(),
            dash(&reasons.join(", ")).to_owned(),
        ]);
    }
    text(&rows)
}

pub(super) fn drops(drops: &v1::DropsResponse) -> String {
    if drops.drops.is_empty() {
        return "no frame was dropped".into();
    }
    let mut rows = table(&["port", "network", "reason", "frames", "what it means"], 5);
    rows.column_mut(3).expect("five columns").set_cell_alignment(CellAlignment::Right);
    for drop in &drops.drops {
        let frames = drop.frames.to_string();
        rows.add_row([&drop.port, &drop.network, &drop.reason, &frames, &drop.text]);
    }
    text(&rows)
}

pub(super) fn fdb(fdb: &v1::FdbResponse) -> String {
    let mut rows = table(&["mac", "port", "kind", "seen"], 4);
    for entry in &fdb.entries {
        let seen = if entry.kind == "declared" { "-".into() } else { format!("{} s ago", entry.age) };
        rows.add_row([&entry.mac, &entry.port, &entry.kind, &seen]);
    }
    text(&rows)
}

pub(super) fn workers(list: &v1::WorkerStatsResponse) -> String {
    let columns = [
        "cpu",
        "node",
        "busy %",
        "frames",
        "cycles/frame",
        "turns",
        "longest turn",
        "waited",
        "state",
        "queues",
    ];
    let mut rows = table(&columns, 0);
    for index in [8, 9] {
        rows.column_mut(index).expect("ten columns").set_cell_alignment(CellAlignment::Left);
    }
    for worker in &list.workers {
        let cycles = worker.busy_cycles + worker.idle_cycles;
        let busy = 100.0 * worker.busy_cycles as f64 / cycles.max(1) as f64;
        let per_frame = match worker.frames {
            0 => "-".into(),
            frames => format!("{:.0}", worker.busy_cycles as f64 / frames as f64),
        };
        rows.add_row([
            worker.cpu.to_string(),
            known(worker.numa_node),
            format!("{busy:.1}"),
            worker.frames.to_string(),
            per_frame,
            worker.turns.to_string(),
            format!("{:.1?}", Duration::from_nanos(worker.longest_turn_ns)),
            format!("{:.1?}", Duration::from_nanos(worker.waiting_ns)),
            if worker.stuck { "stuck" } else { "ok" }.to_owned(),
            dash(&worker.queues.join(" ")).to_owned(),
        ]);
    }
    text(&rows)
}

/// Cycles a frame by stage; a dash where no visit was timed yet.
pub(super) fn stages(list: &v1::WorkerStatsResponse) -> String {
    let names = list.workers.first().map(|w| w.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    let columns: Vec<&str> =
        ["cpu"].into_iter().chain(names.unwrap_or_default()).chain(["sum", "frames timed"]).collect();
    let mut rows = table(&columns, 0);
    for worker in &list.workers {
        let frames = worker.stages.first().map_or(0, |s| s.frames);
        let per_frame = |cycles: u64| match frames {
            0 => "-".to_owned(),
            _ => format!("{:.1}", cycles as f64 / frames as f64),
        };
        let each = worker.stages.iter().map(|s| per_frame(s.cycles));
        let sum = per_frame(worker.stages.iter().map(|s| s.cycles).sum());
        rows.add_row([worker.cpu.to_string()].into_iter().chain(each).chain([sum, frames.to_string()]));
    }
    text(&rows)
}

fn known(numa_node: i32) -> String {
    if numa_node < 0 { "-".into() } else { numa_node.to_string() }
}

pub(super) fn status(status: &v1::NodeStatus) -> String {
    let memory = status.memory.unwrap_or_default();
    let store = status.store.clone().unwrap_or_default();
    let pages = if status.hugepages { "hugepages" } else { "no hugepages" };
    let mut lines = vec![
        ("version", format!("{} (DPDK: {}, {pages})", status.version, dash(&status.dpdk_version))),
        (
            "process",
            format!(
                "{}, up {}, started in {:.3} s",
                status.pid,
                duration(status.uptime_seconds),
                status.start_seconds
            ),
        ),
        ("networks", status.networks.to_string()),
        ("ports", format!("{}, {} running", status.ports, status.ports_running)),
        ("attachments", status.attachments.to_string()),
        ("private memory", size::rounded(memory.private_bytes)),
        ("hugepages taken", size::rounded(memory.hugepage_bytes)),
        ("tenants' memory", format!("{} (mapped, not ours)", size::rounded(memory.tenant_bytes))),
        (
            "DPDK memory",
            format!(
                "{} of {} in use",
                size::rounded(memory.dpdk_used_bytes),
                size::rounded(memory.dpdk_bytes)
            ),
        ),
        ("copies with", dash(&status.copy_level).to_owned()),
        ("store", format!("{}, generation {}", store.path, store.generation)),
        (
            "throttled",
            format!("{} times, {:.1?}", status.throttled_periods, Duration::from_nanos(status.throttled_ns)),
        ),
    ];
    for worker in &status.workers {
        let waited = Duration::from_nanos(worker.waiting_ns);
        let stuck = if worker.stuck { ", STUCK" } else { "" };
        let busy = worker.busy_percent;
        lines.push(("worker", format!("CPU {}: {busy:.1} % busy, waited {waited:.1?}{stuck}", worker.cpu)));
    }
    for warning in &status.warnings {
        lines.push(("WARNING", warning.clone()));
    }
    pairs(&lines)
}

/// Two units are enough: `3 d 4 h`, `12.3 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// `name: value` lines, aligned.
fn pairs(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
    let line = |(name, value): &(&str, String)| format!("{:width$} {value}", format!("{name}:"));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_ends_in_why_no_traffic_flows() {
        let status = v1::PortStatus { hint: "nobody is connected".into(), ..v1::PortStatus::default() };
        let shown = port(&v1::Port { spec: Some(v1::PortSpec::default()), status: Some(status) });
        assert_eq!(shown.lines().last(), Some("no traffic flows: nobody is connected"));
        let shown = port(&v1::Port::default());
        assert!(!shown.contains("no traffic flows"));
    }
}
