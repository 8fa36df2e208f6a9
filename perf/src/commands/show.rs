//! Outcomes for people and for programs.

use clap::ValueEnum;
use perf::load::Outcome;
use perf::null::NullReport;
use serde_json::{Value, json};
use vhost::features::Features;

/// How to print.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Prints what came of a load.
pub(crate) fn outcome(outcome: &Outcome, features: Option<Features>, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let mut value = value(outcome);
            value["features"] = json!(features.map(Features::names));
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Format::Table => {
            table(outcome);
            if let Some(features) = features {
                println!("{:<24} {}", "features", features.names().join(" "));
            }
        }
    }
    Ok(())
}

/// Prints what the generator did against the null device, and which of the two was the limit.
pub(crate) fn limit(outcome: &Outcome, report: &NullReport, format: Format) -> anyhow::Result<()> {
    let limit = if report.idle > outcome.idle { "generator" } else { "device" };
    match format {
        Format::Json => {
            let mut value = value(outcome);
            value["device_idle"] = json!(report.idle);
            value["limit"] = json!(limit);
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Format::Table => {
            table(outcome);
            println!("{:<24} {:.1} % of its time", "device idle", 100.0 * report.idle);
            println!("{:<24} {limit}", "the limit is the");
        }
    }
    Ok(())
}

fn value(outcome: &Outcome) -> Value {
    let latency = outcome.latency.as_ref().map(|h| {
        let quantiles = QUANTILES.map(|(name, q)| (name.to_owned(), json!(h.value_at_quantile(q))));
        let mut map: serde_json::Map<_, _> = quantiles.into_iter().collect();
        map.insert("max".to_owned(), json!(h.max()));
        map.insert("frames".to_owned(), json!(h.len()));
        map
    });
    let by_stream: Vec<_> = outcome
        .by_stream
        .iter()
        .map(|s| {
            json!({ "sent": s.sent, "received": s.received, "bytes": s.bytes, "lost": s.lost,
                    "reordered": s.reordered })
        })
        .collect();
    json!({
        "seconds": outcome.seconds,
        "frames_per_second": outcome.received as f64 / outcome.seconds,
        "bits_per_second": outcome.bytes as f64 * 8.0 / outcome.seconds,
        "sent": outcome.sent, "received": outcome.received, "bytes": outcome.bytes, "lost": outcome.lost,
        "reordered": outcome.reordered, "foreign": outcome.foreign, "malformed": outcome.malformed,
        "short_of_pace": outcome.short_of_pace, "longest_turn_ns": outcome.longest_gap_ns,
        "generator_idle_turns": outcome.idle, "latency_ns": latency, "streams": by_stream,
    })
}

fn table(outcome: &Outcome) {
    let line = |what: &str, value: String| println!("{what:<24} {value}");
    let rate = |frames: u64, bytes: u64| {
        let (frames, bits) = (frames as f64 / outcome.seconds, bytes as f64 * 8.0 / outcome.seconds);
        format!("{:.3} M frames/s, {:.2} Gb/s", frames / 1e6, bits / 1e9)
    };
    line("received, all", rate(outcome.received, outcome.bytes));
    for (i, stream) in outcome.by_stream.iter().enumerate() {
        line(&format!("received, stream {i}"), rate(stream.received, stream.bytes));
    }
    let share = |n: u64| format!("{n} ({:.4} %)", 100.0 * n as f64 / outcome.sent.max(1) as f64);
    line("lost", share(outcome.lost));
    line("out of order", share(outcome.reordered));
    line("foreign, malformed", format!("{}, {}", outcome.foreign, outcome.malformed));
    if outcome.short_of_pace > 0.0 {
        line("short of pace", format!("{:.4} %", 100.0 * outcome.short_of_pace));
    }
    line("longest turn", format!("{:.1} us", outcome.longest_gap_ns as f64 / 1e3));
    line("turns without frames", format!("{:.1} %", 100.0 * outcome.idle));
    if let Some(latency) = &outcome.latency {
        for (name, quantile) in QUANTILES {
            let ns = latency.value_at_quantile(quantile);
            line(&format!("latency {name}"), format!("{:.2} us", ns as f64 / 1e3));
        }
        line("latency max", format!("{:.2} us", latency.max() as f64 / 1e3));
    }
}
