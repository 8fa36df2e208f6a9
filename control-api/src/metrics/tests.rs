use std::collections::BTreeSet;

use proto::v1::port_spec::Device;

use super::*;
use crate::store::Store;
use crate::switch::fake::{Fake, options};

fn scraped(owner: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let switch = Switch::new(Arc::new(Fake::default()), options(), Store::open(directory.path()));
    switch.add_network(Some(v1::NetworkSpec { name: "blue".into(), ..Default::default() })).unwrap();
    let vhost = v1::VhostUser { path: "/run/a.sock".into(), ..v1::VhostUser::default() };
    let spec = v1::PortSpec {
        name: "a".into(),
        network: "blue".into(),
        device: Some(Device::VhostUser(vhost)),
        labels: [("owner", owner), ("namespace", "team"), ("pod", "web-0"), ("secret", "s")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..v1::PortSpec::default()
    };
    switch.add_port(Some(spec)).unwrap();
    text(Arc::new(switch)).unwrap()
}

#[test]
fn counters_carry_port_network_and_holder() {
    let text = scraped("team-a");
    let labels = r#"port="a",network="blue",owner="team-a",namespace="team",pod="web-0",interface="""#;
    for line in [
        format!("podswitch_port_rx_frames_total{{{labels}}} 20"),
        format!("podswitch_port_tx_bytes_total{{{labels}}} 896"),
        format!("podswitch_port_dropped_frames_total{{{labels},reason=\"mac_spoofed\"}} 3"),
        format!("podswitch_port_state{{{labels},state=\"running\"}} 1.0"),
        r#"podswitch_worker_busy_cycles_total{cpu="1"} 100"#.into(),
        "podswitch_networks 1.0".into(),
        "podswitch_attachments 0.0".into(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// The rules of the text format that a scraper stumbles over.
#[test]
fn the_text_is_openmetrics() {
    let text = scraped("a \"quoted\\ owner");
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains(r#"owner="a \"quoted\\ owner""#), "{text}");
    let mut families = BTreeSet::new();
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} stands under {family}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(families.len(), METRICS.len());
}

#[test]
fn every_metric_is_documented() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    for (name, help, kind) in METRICS {
        let total = if matches!(kind, MetricType::Counter) { "_total" } else { "" };
        let row = format!("| `{name}{total}` | {} | {help} |", kind.as_str());
        assert!(page.contains(&row), "docs/metrics.md lacks the row {row}");
    }
}
