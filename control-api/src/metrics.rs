//! Metrics in the OpenMetrics text format, read from the workers' counters when they are scraped.

mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use proto::v1;

use crate::switch::Switch;

pub use http::{Listener, serve};

/// Media type of the answer.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes every metric of a switch; may block.
///
/// # Errors
/// None in practice: text is written to memory.
pub fn text(switch: Arc<Switch>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(switch)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Name, meaning and type of every metric, in the order in which they are written; docs/metrics.md has them all.
/// Counters get `_total` at the end.
const METRICS: [(&str, &str, MetricType); 25] = [
    ("podswitch_build_info", "Versions, as labels; always 1", MetricType::Gauge),
    ("podswitch_uptime_seconds", "Time since the daemon started", MetricType::Gauge),
    ("podswitch_networks", "Networks", MetricType::Gauge),
    ("podswitch_attachments", "Ports that a container runtime asked for", MetricType::Gauge),
    ("podswitch_port_state", "1 for the state that the port is in", MetricType::Gauge),
    ("podswitch_port_rx_frames", "Frames received from the guest or device", MetricType::Counter),
    ("podswitch_port_rx_bytes", "Bytes received from the guest or device", MetricType::Counter),
    ("podswitch_port_tx_frames", "Frames delivered to the guest or device", MetricType::Counter),
    ("podswitch_port_tx_bytes", "Bytes delivered to the guest or device", MetricType::Counter),
    ("podswitch_port_dropped_frames", "Frames dropped, by reason", MetricType::Counter),
    ("podswitch_port_connections", "Connections since the port was added", MetricType::Counter),
    ("podswitch_port_faults", "Faults since the port was added", MetricType::Counter),
    ("podswitch_port_guest_memory_bytes", "Memory that the guest shares", MetricType::Gauge),
    ("podswitch_worker_busy_cycles", "Cycles in turns that moved frames", MetricType::Counter),
    ("podswitch_worker_idle_cycles", "Cycles in turns that moved none", MetricType::Counter),
    ("podswitch_worker_turns", "Turns", MetricType::Counter),
    ("podswitch_worker_frames", "Frames received", MetricType::Counter),
    ("podswitch_worker_longest_turn_seconds", "Longest turn since start", MetricType::Gauge),
    ("podswitch_worker_waiting_seconds", "Time it waited for its CPU", MetricType::Counter),
    ("podswitch_worker_stuck", "1 if it does not finish its turn", MetricType::Gauge),
    ("podswitch_memory_bytes", "Memory by kind; that of tenants is not ours", MetricType::Gauge),
    ("podswitch_store_generation", "Changes that the store has seen", MetricType::Gauge),
    ("podswitch_store_recovered", "1 if the store was damaged at start", MetricType::Gauge),
    (
        "podswitch_cpu_throttled_seconds",
        "Time lost to the CPU limit of the control group",
        MetricType::Counter,
    ),
    ("podswitch_warnings", "Lines that `podswitch status` warns with", MetricType::Gauge),
];

#[derive(Debug)]
struct Scrape(Arc<Switch>);

/// What one scrape reads, so that all metrics are of one moment.
struct Reading {
    status: v1::NodeStatus,
    workers: v1::WorkerStatsResponse,
    /// With the labels of each port.
    stats: Vec<(BTreeMap<String, String>, v1::PortStats)>,
    ports: Vec<v1::Port>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = Reading {
            status: self.0.status(),
            workers: self.0.worker_stats(),
            stats: self.0.labelled_stats(),
            ports: self.0.ports("").unwrap_or_default(),
        };
        for (name, help, kind) in METRICS {
            // The encoder repeats the type in a counter's suffix; units are part of our names.
            let family = encoder.encode_descriptor(name, help, None, kind)?;
            reading.encode(name, family)?;
        }
        Ok(())
    }
}

fn counter(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(&labels)?)
}

fn seconds(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], nanoseconds: u64) -> fmt::Result {
    ConstCounter::new(nanoseconds as f64 / 1e9).encode(family.encode_family(&labels)?)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}

impl Reading {
    fn encode(&self, name: &str, mut family: MetricEncoder<'_>) -> fmt::Result {
        let name = name.strip_prefix("podswitch_").unwrap_or(name);
        if let Some(of_port) = name.strip_prefix("port_") {
            return self.port(of_port, &mut family);
        }
        if let Some(of_worker) = name.strip_prefix("worker_") {
            return self.worker(of_worker, &mut family);
        }
        let status = &self.status;
        let store = status.store.clone().unwrap_or_default();
        let one = |family, value: f64| ConstGauge::new(value).encode(family);
        match name {
            "build_info" => {
                let labels = [("version", status.version.as_str()), ("dpdk", status.dpdk_version.as_str())];
                gauge(&mut family, &labels, 1.0)
            }
            "memory_bytes" => {
                let memory = status.memory.unwrap_or_default();
                let kinds = [
                    ("private", memory.private_bytes),
                    ("hugepages", memory.hugepage_bytes),
                    ("tenants", memory.tenant_bytes),
                    ("dpdk", memory.dpdk_bytes),
                    ("dpdk_used", memory.dpdk_used_bytes),
                ];
                let mut write = |(kind, bytes)| gauge(&mut family, &[("kind", kind)], bytes as f64);
                kinds.into_iter().try_for_each(&mut write)
            }
            "uptime_seconds" => one(family, status.uptime_seconds),
            "networks" => one(family, status.networks.into()),
            "attachments" => one(family, status.attachments.into()),
            "store_generation" => one(family, store.generation as f64),
            "store_recovered" => one(family, f64::from(u8::from(store.recovered))),
            "cpu_throttled_seconds" => ConstCounter::new(status.throttled_ns as f64 / 1e9).encode(family),
            "warnings" => one(family, status.warnings.len() as f64),
            _ => Ok(()),
        }
    }

    fn port(&self, name: &str, family: &mut MetricEncoder<'_>) -> fmt::Result {
        for (labels, stats) in &self.stats {
            let label = |key| labels.get(key).map_or("", String::as_str);
            let of = [
                ("port", stats.port.as_str()),
                ("network", stats.network.as_str()),
                ("owner", label("owner")),
                ("namespace", label("namespace")),
                ("pod", label("pod")),
                ("interface", label("interface")),
            ];
            let status = || {
                let named = |port: &&v1::Port| port.spec.as_ref().is_some_and(|spec| spec.name == stats.port);
                self.ports.iter().find(named).and_then(|port| port.status.clone()).unwrap_or_default()
            };
            let with = |key, value| [of[0], of[1], of[2], of[3], of[4], of[5], (key, value)];
            match name {
                "rx_frames" => counter(family, &of, stats.rx_frames)?,
                "rx_bytes" => counter(family, &of, stats.rx_bytes)?,
                "tx_frames" => counter(family, &of, stats.tx_frames)?,
                "tx_bytes" => counter(family, &of, stats.tx_bytes)?,
                "state" => gauge(family, &with("state", status().state().word()), 1.0)?,
                "connections" => counter(family, &of, status().connections)?,
                "faults" => counter(family, &of, status().faults)?,
                "guest_memory_bytes" => gauge(family, &of, status().guest_memory as f64)?,
                "dropped_frames" => {
                    for drop in &stats.drops {
                        counter(family, &with("reason", &drop.reason), drop.frames)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn worker(&self, name: &str, family: &mut MetricEncoder<'_>) -> fmt::Result {
        for worker in &self.workers.workers {
            let cpu = worker.cpu.to_string();
            let of = [("cpu", cpu.as_str())];
            match name {
                "busy_cycles" => counter(family, &of, worker.busy_cycles)?,
                "idle_cycles" => counter(family, &of, worker.idle_cycles)?,
                "turns" => counter(family, &of, worker.turns)?,
                "frames" => counter(family, &of, worker.frames)?,
                "longest_turn_seconds" => gauge(family, &of, worker.longest_turn_ns as f64 / 1e9)?,
                "waiting_seconds" => seconds(family, &of, worker.waiting_ns)?,
                "stuck" => gauge(family, &of, f64::from(u8::from(worker.stuck)))?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
