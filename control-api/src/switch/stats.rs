//! Counters as messages: of ports, workers, drops and MAC tables.

use std::collections::BTreeMap;

use dataplane::report::{MacKind, PortCounters, WorkerReport};
use proto::v1;

use super::view::node;
use super::{Entry, Switch};
use crate::error::Error;
use crate::system;

impl Switch {
    /// Counters of every port by name, or of one if `port` is not empty.
    ///
    /// # Errors
    /// There is no such port.
    pub fn port_stats(&self, port: &str) -> Result<Vec<v1::PortStats>, Error> {
        let counted = self.counted(port)?;
        Ok(counted.iter().map(|(entry, counters)| stats_view(entry, counters)).collect())
    }

    /// Drops that have occurred, by port and reason.
    ///
    /// # Errors
    /// There is no such port.
    pub fn drops(&self, port: &str) -> Result<Vec<v1::Drop>, Error> {
        let mut drops = Vec::new();
        for (entry, counters) in self.counted(port)? {
            for (reason, frames) in counters.drops {
                drops.push(v1::Drop {
                    port: entry.name().into(),
                    network: entry.network().into(),
                    reason: reason.name().into(),
                    text: reason.text().into(),
                    frames,
                });
            }
        }
        Ok(drops)
    }

    /// Counters with the labels of each port: for metrics.
    pub(crate) fn labelled_stats(&self) -> Vec<(BTreeMap<String, String>, v1::PortStats)> {
        let counted = self.counted("").unwrap_or_default();
        let labels = |entry: &Entry| entry.port.spec.labels.clone();
        counted.iter().map(|(entry, counters)| (labels(entry), stats_view(entry, counters))).collect()
    }

    fn counted(&self, port: &str) -> Result<Vec<(Entry, PortCounters)>, Error> {
        let entries: Vec<Entry> = {
            let state = self.read();
            if !port.is_empty() && !state.ports.contains_key(port) {
                return Err(Error::NoPort(port.into()));
            }
            let wanted = |entry: &&Entry| port.is_empty() || entry.name() == port;
            state.ports.values().filter(wanted).cloned().collect()
        };
        let counters = |entry: Entry| {
            let counters = entry.id().and_then(|id| self.datapath.counters(id)).unwrap_or_default();
            (entry, counters)
        };
        Ok(entries.into_iter().map(counters).collect())
    }

    /// Counters of every worker.
    #[must_use]
    pub fn worker_stats(&self) -> v1::WorkerStatsResponse {
        let tsc_hz = self.datapath.tsc_hz();
        let reports = self.datapath.workers();
        let state = self.read();
        let queue = |&(port, index): &_| {
            let name = state.port_name(port).map_or_else(|| "(being removed)".into(), str::to_owned);
            format!("{name}/{index}")
        };
        let stage = |s: &dataplane::report::StageCycles| v1::StageCycles {
            name: s.stage.name().into(),
            cycles: s.cycles,
            frames: s.frames,
        };
        let view = |report: &WorkerReport| v1::WorkerStats {
            cpu: report.core.0,
            numa_node: node(report.numa_node),
            busy_cycles: report.busy_cycles,
            idle_cycles: report.idle_cycles,
            turns: report.turns,
            frames: report.frames,
            longest_turn_cycles: report.longest_turn,
            longest_turn_ns: nanoseconds(report.longest_turn, tsc_hz),
            queues: report.queues.iter().map(queue).collect(),
            waiting_ns: system::waiting_ns(report.tid),
            stuck: report.stuck,
            stages: report.stages.iter().map(stage).collect(),
        };
        v1::WorkerStatsResponse { workers: reports.iter().map(view).collect(), tsc_hz }
    }

    /// The MAC table of a network, by address.
    ///
    /// # Errors
    /// There is no such network.
    pub fn fdb(&self, network: &str) -> Result<Vec<v1::FdbEntry>, Error> {
        let id = self.read().networks.get(network).map(|entry| entry.id);
        let id = id.ok_or_else(|| Error::NoNetwork(network.into()))?;
        let entries = self.datapath.fdb(id).unwrap_or_default();
        let state = self.read();
        let view = |entry: &dataplane::report::FdbEntry| {
            let kind = match entry.kind {
                MacKind::Declared => "declared",
                MacKind::Adopted => "adopted",
                MacKind::Learned => "learned",
            };
            Some(v1::FdbEntry {
                mac: entry.mac.to_string(),
                port: state.port_name(entry.port)?.to_owned(),
                kind: kind.into(),
                age: entry.age,
            })
        };
        Ok(entries.iter().filter_map(view).collect())
    }
}

fn stats_view(entry: &Entry, counters: &PortCounters) -> v1::PortStats {
    let (rx, tx) = (counters.rx(), counters.tx());
    v1::PortStats {
        port: entry.name().into(),
        network: entry.network().into(),
        rx_frames: rx.frames,
        rx_bytes: rx.bytes,
        tx_frames: tx.frames,
        tx_bytes: tx.bytes,
        dropped: counters.drops.iter().map(|(_, frames)| frames).sum(),
        drops: counters
            .drops
            .iter()
            .map(|&(reason, frames)| v1::DropCount { reason: reason.name().into(), frames })
            .collect(),
        queues: counters
            .queues
            .iter()
            .zip(0..)
            .map(|(queue, index)| v1::QueueStats {
                index,
                rx_frames: queue.rx.frames,
                rx_bytes: queue.rx.bytes,
                tx_frames: queue.tx.frames,
                tx_bytes: queue.tx.bytes,
            })
            .collect(),
    }
}

fn nanoseconds(cycles: u64, hz: u64) -> u64 {
    let nanoseconds = u128::from(cycles) * 1_000_000_000 / u128::from(hz.max(1));
    if hz == 0 { 0 } else { u64::try_from(nanoseconds).unwrap_or(u64::MAX) }
}
