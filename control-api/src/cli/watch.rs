//! `port stats --watch`: counters every second, with the rates since the second before.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use proto::v1;
use tokio::time::Instant;

use super::client::Client;
use super::output::{self, Output};
use super::{Error, table};

const PERIOD: Duration = Duration::from_secs(1);

/// Counters of one look by port.
struct Look {
    at: Instant,
    ports: BTreeMap<String, v1::PortStats>,
}

/// Until interrupted, or until nobody reads any more.
pub(super) async fn stats(port: String, client: &Client, out: &Output) -> Result<(), Error> {
    let mut service = client.stats();
    let mut clock = tokio::time::interval(PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<Look> = None;
    let screen = std::io::stdout().is_terminal();
    loop {
        clock.tick().await;
        let response = service.ports(v1::PortStatsRequest { port: port.clone() }).await?.into_inner();
        if out.is_json() {
            // One message a line.
            let json = serde_json::to_string(&response).expect("the messages have string keys only");
            output::line(&json)?;
            continue;
        }
        let ports = response.ports.into_iter().map(|stats| (stats.port.clone(), stats)).collect();
        let look = Look { at: Instant::now(), ports };
        let text = rates(last.as_ref(), &look);
        if screen {
            // Clear, and begin at the top.
            output::line(&format!("\x1b[H\x1b[2J{text}"))?;
        } else {
            output::line(&format!("{text}\n"))?;
        }
        last = Some(look);
    }
}

fn rates(last: Option<&Look>, now: &Look) -> String {
    let columns = [
        "port",
        "network",
        "rx frame/s",
        "rx Mbit/s",
        "tx frame/s",
        "tx Mbit/s",
        "drop/s",
        "rx frames",
        "tx frames",
        "dropped",
    ];
    let mut rows = table::table(&columns, 2);
    for (name, stats) in &now.ports {
        let before = last.and_then(|look| Some((look.ports.get(name)?, now.at.duration_since(look.at))));
        let rate = |count: fn(&v1::PortStats) -> u64| match before {
            // A port that was added anew counts from zero again.
            Some((before, time)) => count(stats).saturating_sub(count(before)) as f64 / time.as_secs_f64(),
            None => 0.0,
        };
        rows.add_row([
            name.clone(),
            stats.network.clone(),
            format!("{:.0}", rate(|s| s.rx_frames)),
            format!("{:.1}", rate(|s| s.rx_bytes) * 8.0 / 1e6),
            format!("{:.0}", rate(|s| s.tx_frames)),
            format!("{:.1}", rate(|s| s.tx_bytes) * 8.0 / 1e6),
            format!("{:.0}", rate(|s| s.dropped)),
            stats.rx_frames.to_string(),
            stats.tx_frames.to_string(),
            stats.dropped.to_string(),
        ]);
    }
    table::text(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rates_are_of_the_time_between_looks() {
        let look = |at, frames| {
            let stats = v1::PortStats { port: "a".into(), rx_frames: frames, ..v1::PortStats::default() };
            Look { at, ports: [("a".to_owned(), stats)].into() }
        };
        let start = Instant::now();
        let shown = rates(Some(&look(start, 100)), &look(start + Duration::from_secs(2), 300));
        let row: Vec<_> = shown.lines().last().unwrap().split_ascii_whitespace().collect();
        assert_eq!(row[1], "100", "{shown}");
        assert_eq!(row[6], "300", "{shown}");
    }
}
