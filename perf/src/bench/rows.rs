//! The rows of the table, out of the figures.

use super::{LOWERED, OURS, OVS, TESTPMD, TWO_COPIES};
use crate::report::{Bound, Figure, Report, Row};

/// Busy cycles a frame of a bare forwarder with one copy, 64 and 1,500 bytes, and how far above it a switch may be.
const PROBE: [(&str, f64); 2] = [("64", 76.0), ("1500", 357.0)];
const ABOVE_PROBE: f64 = 30.0;
/// How much faster than any switch the generator must be.
const GENERATOR: f64 = 1.5;

/// Adds every row; those without figures are empty.
pub(super) fn add(report: &mut Report) {
    rates(report);
    flat(report);
    quiet(report);
    small(report);
    more(report);
}

fn rates(report: &mut Report) {
    for size in ["64", "1500"] {
        let key = format!("v2v_{size}");
        for peer in [TESTPMD, OVS] {
            compare(report, &format!("v2v_{size}_vs_{peer}"), "", (OURS, &key), (peer, &key));
        }
    }
    for size in ["1500", "9000"] {
        let key = format!("v2v_{size}");
        compare(report, &format!("onecopy_{size}_vs_twocopy"), "", (OURS, &key), (TWO_COPIES, &key));
    }
}

fn flat(report: &mut Report) {
    compare(report, "flows_1m_vs_1", "", (OURS, "crowd_many"), (OURS, "crowd_one"));
    compare(report, "ports_64_vs_2", "", (OURS, "ports_2"), (OURS, "ports_64"));
    let row = Row::new("reconfig_lost_frames", "").worst(report.find(OURS, "reconfig_lost_frames"));
    report.add(row);
}

/// Latency counts only where the machine itself was quiet enough.
fn quiet(report: &mut Report) {
    for (key, figure) in [("p99_50_vs_ovs", "p99_50"), ("p999_50_vs_ovs", "p999_50")] {
        let row = ratio(report, key, "", (OURS, figure), (OVS, figure));
        let measured = |switch: &str| {
            let figure = report.find(switch, &format!("measured_{figure}"))?;
            figure.median
        };
        let rounds = row.rounds.len();
        let trusted = row.rounds.iter().flatten().count();
        let row = match (measured(OURS), measured(OVS)) {
            (Some(ours), Some(theirs)) if 2 * trusted <= rounds => row.void(&format!(
                "the hiccup meter's own figure exceeded a quarter of it in {} of {rounds} rounds; as measured: \
                 {ours:.1} us against {theirs:.1} us",
                rounds - trusted
            )),
            _ => row,
        };
        report.add(row);
    }
}

fn small(report: &mut Report) {
    for key in ["empty_switch_mb", "port_mb"] {
        let row = Row::new(key, "").figure(report.find(OURS, key));
        report.add(row);
    }
}

/// What has no key of its own in `ratios`, but belongs to an honest picture.
fn more(report: &mut Report) {
    for (size, probe) in PROBE {
        let key = format!("cycles_{size}");
        let mut row = Row::new(&key, &format!("busy cycles a frame, {size} B (a bare forwarder: {probe})"));
        row.bound = Some(Bound::AtMost(probe + ABOVE_PROBE));
        let row = row.figure(report.find(OURS, &key));
        report.add(row);
    }
    for size in ["64", "1500", "9000"] {
        let key = format!("v2v_{size}");
        let mut row = Row::new(
            &format!("twocopy_{size}_vs_{TESTPMD}"),
            &format!("{size} B, two copies against testpmd"),
        );
        if size != "64" {
            row.bound = Some(Bound::AtLeast(1.0));
        }
        let row = between(report, row, (TWO_COPIES, &key), (TESTPMD, &key));
        report.add(row);
    }
    for peer in [TESTPMD, OVS] {
        for size in ["64", "1500"] {
            let key = format!("v2v_{size}");
            let what = format!("{size} B at the peer's instruction set against {peer}");
            compare(report, &format!("sse2_{size}_vs_{peer}"), &what, (LOWERED, &key), (peer, &key));
            let key = format!("v2v_{size}_full");
            let what = format!("{size} B, every byte written and read, against {peer}");
            compare(report, &format!("full_{size}_vs_{peer}"), &what, (OURS, &key), (peer, &key));
        }
        compare(
            report,
            &format!("imix_vs_{peer}"),
            &format!("IMIX against {peer}"),
            (OURS, "v2v_imix"),
            (peer, "v2v_imix"),
        );
    }
    for peer in named(report) {
        for size in ["64", "1500"] {
            let key = format!("v2v_{size}");
            let what = format!("{size} B against {peer}");
            compare(report, &format!("v2v_{size}_vs_{peer}"), &what, (OURS, &key), (&peer, &key));
        }
    }
    generator(report);
    for (key, what) in [("ndr_64", "64 B without any loss (NDR)"), ("pdr_64", "64 B with 0.5 % loss (PDR)")] {
        compare(report, &format!("{key}_vs_ovs"), what, (OURS, key), (OVS, key));
    }
    for share in [10, 50, 90] {
        let key = format!("p50_{share}");
        let what = format!("median latency at {share} % of each one's NDR against OVS");
        compare(report, &format!("p50_{share}_vs_ovs"), &what, (OURS, &key), (OVS, &key));
    }
    compare(
        report,
        "memory_vs_ovs",
        "memory with two ports against OVS",
        (OURS, "two_ports_mb"),
        (OVS, "two_ports_mb"),
    );
    for (key, what) in [
        ("restart_killed", "longest silence when killed and started again"),
        ("restart_terminated", "longest silence when ended and started again"),
        ("reconfig_longest_gap", "longest silence while others come and go"),
        ("idle_cpu_empty", "CPU time of an empty switch"),
        ("idle_cpu_ports", "CPU time with 64 idle ports"),
    ] {
        let row = Row::new(key, what).figure(report.find(OURS, key));
        report.add(row);
    }
}

/// The generator against the fastest switch: below its target, the generator may be what is measured.
fn generator(report: &mut Report) {
    for size in ["64", "1500"] {
        let key = format!("v2v_{size}");
        let switches = report.figures.iter().filter(|figure| figure.key == key && figure.switch != "null");
        let fastest = switches
            .filter(|figure| figure.median.is_some())
            .max_by(|a, b| a.median.partial_cmp(&b.median).unwrap_or(std::cmp::Ordering::Equal));
        let mut row = Row::new(
            &format!("generator_{size}"),
            &format!("{size} B, generator's own limit against the fastest switch"),
        );
        row.bound = Some(Bound::AtLeast(GENERATOR));
        let fastest: Option<Figure> = fastest.cloned();
        let row = row.ratio(report.find("null", &key), fastest.as_ref());
        if row.met == Some(false) {
            report.say(format!("the generator is less than {GENERATOR} times as fast as the fastest switch at {size} B: it may hold that switch up"));
        }
        report.add(row);
    }
}

/// Switches that somebody else runs.
fn named(report: &Report) -> Vec<String> {
    let known = ["null", OURS, OVS, TESTPMD, TWO_COPIES, LOWERED];
    let mut names: Vec<String> = Vec::new();
    for figure in &report.figures {
        if !known.contains(&figure.switch.as_str()) && !names.contains(&figure.switch) {
            names.push(figure.switch.clone());
        }
    }
    names
}

fn compare(report: &mut Report, key: &str, what: &str, ours: (&str, &str), theirs: (&str, &str)) {
    let row = ratio(report, key, what, ours, theirs);
    report.add(row);
}

fn ratio(report: &Report, key: &str, what: &str, ours: (&str, &str), theirs: (&str, &str)) -> Row {
    between(report, Row::new(key, what), ours, theirs)
}

fn between(report: &Report, row: Row, ours: (&str, &str), theirs: (&str, &str)) -> Row {
    let mut row = row.ratio(report.find(ours.0, ours.1), report.find(theirs.0, theirs.1));
    row.sets =
        (report.set_of(ours.0), if ours.0 == theirs.0 { String::new() } else { report.set_of(theirs.0) });
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn report() -> Report {
        Report::new(Machine::default(), "t".into())
    }

    #[test]
    fn every_ratio_has_a_row_even_if_nothing_was_measured() {
        let mut report = report();
        add(&mut report);
        for key in report.ratios.keys() {
            let rows: Vec<&Row> = report.rows.iter().filter(|row| row.key == *key).collect();
            assert_eq!(rows.len(), 1, "{key}");
            assert_eq!((rows[0].value, rows[0].met), (None, None), "{key}");
        }
        assert!(report.ratios.values().all(Option::is_none));
    }

    #[test]
    fn ratios_come_from_the_figures_of_the_right_switches() {
        let mut report = report();
        for (switch, key, value) in [
            (OURS, "v2v_64", 14.0),
            (TESTPMD, "v2v_64", 10.0),
            (OVS, "v2v_64", 7.0),
            (OURS, "v2v_9000", 1.5),
            (TWO_COPIES, "v2v_9000", 1.0),
            (OURS, "ports_2", 80.0),
            (OURS, "ports_64", 100.0),
            ("null", "v2v_64", 28.0),
            ("vpp", "v2v_64", 7.0),
        ] {
            report.record(switch, key, "x").push(Some(value));
        }
        add(&mut report);
        assert_eq!(report.ratios["v2v_64_vs_testpmd_io"], Some(1.4));
        assert_eq!(report.ratios["v2v_64_vs_ovs"], Some(2.0));
        assert_eq!(report.ratios["onecopy_9000_vs_twocopy"], Some(1.5));
        assert_eq!(report.ratios["ports_64_vs_2"], Some(0.8));
        assert_eq!(report.ratios["v2v_1500_vs_ovs"], None);
        let row = |key: &str| report.rows.iter().find(|row| row.key == key).unwrap();
        assert_eq!(row("generator_64").value, Some(2.0));
        assert_eq!(row("v2v_64_vs_vpp").value, Some(2.0));
    }

    #[test]
    fn latency_is_empty_when_the_machine_made_it() {
        let mut report = report();
        for (switch, values) in [(OURS, [Some(2.0), None, None]), (OVS, [Some(8.0), Some(8.0), None])] {
            for value in values {
                report.record(switch, "p99_50", "us").push(value);
                report.record(switch, "measured_p99_50", "us").push(Some(5.0));
                report.record(switch, "p999_50", "us").push(Some(value.unwrap_or(3.0)));
                report.record(switch, "measured_p999_50", "us").push(Some(5.0));
            }
        }
        add(&mut report);
        assert_eq!(report.ratios["p99_50_vs_ovs"], None);
        let row = report.rows.iter().find(|row| row.key == "p99_50_vs_ovs").unwrap();
        assert!(row.note.contains("2 of 3 rounds"), "{}", row.note);
        assert!(report.ratios["p999_50_vs_ovs"].is_some());
    }
}
