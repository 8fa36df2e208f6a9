//! The status of the node: memory, workers, store, and what an operator should look at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dataplane::ids::CoreId;
use dataplane::report::{PortState, WorkerReport};
use proto::v1;

use super::view::node;
use super::{Applied, Switch, lock};
use crate::cpus;
use crate::system::{self, Throttling};

/// A worker that waits for its CPU longer than this share of the time is worth a warning.
const WAITING_SHARE: f64 = 0.02;
const CAPABILITIES: [&str; 6] = ["vhost_user", "dpdk", "port_set", "labels", "network_policy", "attachments"];

/// Counters of the last two rounds, for what is said "in the last second".
#[derive(Debug, Default)]
pub(super) struct Samples {
    last: Option<Sample>,
    rates: BTreeMap<CoreId, Rate>,
    throttled_ns: u64,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    workers: BTreeMap<CoreId, (u64, u64, u64)>,
    throttling: Throttling,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    busy_percent: f64,
    waiting_share: f64,
}

impl Switch {
    pub(super) fn sample(&self) {
        let workers = self.datapath.workers();
        let counters = |w: &WorkerReport| (w.core, (w.busy_cycles, w.idle_cycles, system::waiting_ns(w.tid)));
        let now = Sample {
            at: Instant::now(),
            workers: workers.iter().map(counters).collect(),
            throttling: Throttling::read(),
        };
        let mut samples = lock(&self.samples);
        if let Some(last) = &samples.last {
            let (rates, throttled_ns) = rates(last, &now);
            samples.rates = rates;
            samples.throttled_ns = throttled_ns;
        }
        samples.last = Some(now);
    }

    /// The node's status.
    #[must_use]
    pub fn status(&self) -> v1::NodeStatus {
        let reports = self.datapath.workers();
        let (dpdk_version, hugepages) = self.datapath.dpdk();
        let memory = self.datapath.memory();
        let throttling = Throttling::read();
        let (networks, ports, running, waiting) = self.count();
        let store = {
            let view = lock(&self.store_view);
            (view.status.clone(), view.warnings.clone())
        };
        let worker = |report: &WorkerReport| v1::WorkerStatus {
            cpu: report.core.0,
            numa_node: node(report.numa_node),
            stuck: report.stuck,
            busy_percent: lock(&self.samples).rates.get(&report.core).map_or(0.0, |rate| rate.busy_percent),
            waiting_ns: system::waiting_ns(report.tid),
        };
        v1::NodeStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id().into(),
            uptime_seconds: self.options.started.elapsed().as_secs_f64(),
            start_seconds: self.start_seconds.get().copied().unwrap_or_default(),
            hugepages,
            dpdk_version,
            copy_level: self.datapath.copy_level().into(),
            workers: reports.iter().map(worker).collect(),
            memory: Some(v1::Memory {
                private_bytes: system::private_bytes(),
                hugepage_bytes: memory.hugepages,
                tenant_bytes: memory.tenants,
                dpdk_bytes: memory.dpdk,
                dpdk_used_bytes: memory.dpdk_used,
            }),
            store: Some(store.0),
            networks,
            ports,
            ports_running: running,
            throttled_periods: throttling.periods,
            throttled_ns: throttling.nanoseconds,
            warnings: self.warnings(store.1, &reports, hugepages, &waiting),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            attachments: self.attachment_count(),
        }
    }

    /// Networks, ports, those of them that run, and those that cannot be applied.
    fn count(&self) -> (u32, u32, u32, Vec<String>) {
        let (networks, ids, waiting) = {
            let state = self.read();
            let ids: Vec<_> = state.ports.values().map(super::Entry::id).collect();
            let waiting = state.ports.values().filter_map(|entry| match &entry.applied {
                Applied::Waiting(reason) => {
                    Some(format!("port {} cannot be applied: {reason}", entry.name()))
                }
                Applied::As(_) => None,
            });
            (state.networks.len(), ids, waiting.collect())
        };
        let runs = |id: &_| self.datapath.port(*id).is_some_and(|report| report.state == PortState::Running);
        let running = ids.iter().flatten().filter(|id| runs(id)).count();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (number(networks), number(ids.len()), number(running), waiting)
    }

    fn warnings(
        &self,
        store: Vec<String>,
        workers: &[WorkerReport],
        hugepages: bool,
        waiting: &[String],
    ) -> Vec<String> {
        let mut warnings = store;
        for worker in workers.iter().filter(|worker| worker.stuck) {
            warnings.push(format!(
                "the worker on CPU {} has not finished its turn: restart podswitchd",
                worker.core
            ));
        }
        let samples = lock(&self.samples);
        for (core, rate) in samples.rates.iter().filter(|(_, rate)| rate.waiting_share > WAITING_SHARE) {
            warnings.push(format!(
                "the worker on CPU {core} waited {:.0} % of the last second for its CPU: other threads run there",
                rate.waiting_share * 100.0
            ));
        }
        if samples.throttled_ns > 0 {
            let spent = Duration::from_nanos(samples.throttled_ns);
            warnings.push(format!(
                "throttled for {spent:?} in the last second: raise the CPU limit of the control group"
            ));
        }
        drop(samples);
        if self.options.hugepages && !hugepages {
            warnings.push("no hugepages are used: reserve some (vm.nr_hugepages) for speed".into());
        }
        warnings.extend(self.options.notes.iter().cloned());
        warnings.extend(self.reconcile_warning());
        warnings.extend(waiting.iter().take(10).cloned());
        if waiting.len() > 10 {
            warnings.push(format!("{} more ports cannot be applied", waiting.len() - 10));
        }
        warnings
    }

    /// The workers' CPUs, as a list.
    #[must_use]
    pub fn worker_cpus(&self) -> String {
        cpus::list(&self.options.workers)
    }
}

fn rates(last: &Sample, now: &Sample) -> (BTreeMap<CoreId, Rate>, u64) {
    let elapsed = now.at.duration_since(last.at).as_nanos() as f64;
    let rate = |(core, &(busy, idle, waiting)): (&CoreId, &(u64, u64, u64))| {
        let (busy0, idle0, waiting0) = *last.workers.get(core)?;
        let (busy, idle) = (busy.saturating_sub(busy0), idle.saturating_sub(idle0));
        let busy_percent = 100.0 * busy as f64 / (busy + idle).max(1) as f64;
        let waiting_share = waiting.saturating_sub(waiting0) as f64 / elapsed.max(1.0);
        Some((*core, Rate { busy_percent, waiting_share }))
    };
    let throttled = now.throttling.nanoseconds.saturating_sub(last.throttling.nanoseconds);
    (now.workers.iter().filter_map(rate).collect(), throttled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, busy: u64, idle: u64, waiting: u64, throttled: u64) -> Sample {
        Sample {
            at,
            workers: [(CoreId(1), (busy, idle, waiting))].into(),
            throttling: Throttling { periods: 0, nanoseconds: throttled },
        }
    }

    #[test]
    fn rates_are_of_the_last_round() {
        let start = Instant::now();
        let first = sample(start, 100, 900, 0, 5);
        let second = sample(start + Duration::from_secs(1), 400, 1000, 50_000_000, 25);
        let (rates, throttled) = rates(&first, &second);
        let rate = rates[&CoreId(1)];
        assert!((rate.busy_percent - 75.0).abs() < 0.01, "{rate:?}");
        assert!((rate.waiting_share - 0.05).abs() < 0.001, "{rate:?}");
        assert_eq!(throttled, 20);
    }
}
