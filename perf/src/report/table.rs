//! The table that people read.

use super::{Bound, Report, Row};

const HEADS: [&str; 8] = ["", "podswitch", "peer", "ratio", "target", "met", "spread", "instruction sets"];

/// The table and what a reader must know beside it.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut lines = vec![HEADS.map(String::from)];
    lines.extend(report.rows.iter().map(cells));
    let mut width = [0; HEADS.len()];
    for line in &lines {
        for (width, cell) in width.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (place, (cell, width)) in line.iter().zip(width).enumerate() {
            // Numbers stand under each other by their ends.
            let padding = " ".repeat(width - cell.chars().count());
            let number = (1..=4).contains(&place) || place == 6;
            row += &if number { format!("{padding}{cell}  ") } else { format!("{cell}{padding}  ") };
        }
        text += row.trim_end();
        text.push('\n');
    }
    let remarks = report.rows.iter().filter(|row| !row.note.is_empty());
    for row in remarks {
        text += &format!("  {}: {}\n", row.key, row.note);
    }
    for (name, switch) in &report.switches {
        for failure in &switch.failures {
            text += &format!("  {name}: {failure}\n");
        }
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text
}

fn cells(row: &Row) -> [String; 8] {
    let value = row.value.map_or_else(
        || "–".into(),
        |value| {
            let times = if row.compared { "×" } else { "" };
            format!("{}{times}", significant(value))
        },
    );
    let target = match row.bound {
        Some(Bound::AtLeast(bound)) => format!("≥ {}", significant(bound)),
        Some(Bound::AtMost(bound)) => format!("≤ {}", significant(bound)),
        None => String::new(),
    };
    let met = match (row.met, row.bound) {
        (Some(true), _) => "yes",
        (Some(false), _) => "NO",
        (None, Some(_)) => "–",
        (None, None) => "",
    };
    let spread = row.spread.filter(|_| row.rounds.len() > 1).map_or_else(String::new, |spread| {
        format!("{:.1} %{}", spread.iqr_percent, if row.noisy { " NOISY" } else { "" })
    });
    let sets = match (row.sets.0.as_str(), row.sets.1.as_str()) {
        (ours, "") => ours.to_owned(),
        (ours, theirs) => format!("{ours} / {theirs}"),
    };
    let side = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "–".into(), |v| format!("{} {unit}", significant(v)))
    };
    let peer = if row.compared { side(row.peers, &row.unit) } else { String::new() };
    [row.what.clone(), side(row.ours, &row.unit), peer, value, target, met.into(), spread, sets]
}

/// Three significant digits or so, no exponent.
fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 100.0 || (v >= 10.0 && v.fract() == 0.0) => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn the_table_says_what_is_met_what_is_not_and_what_is_empty() {
        let mut report = Report::new(Machine::default(), "t".into());
        for (switch, value) in [("podswitch", 12.0), ("testpmd_io", 10.0)] {
            report.record(switch, "v2v_64", "Mframes/s").push(Some(value));
        }
        let (ours, theirs) = (report.find("podswitch", "v2v_64"), report.find("testpmd_io", "v2v_64"));
        let mut row = Row::new("v2v_64_vs_testpmd_io", "").ratio(ours, theirs);
        row.sets = ("AVX512".into(), "SSE4.2 (corei7)".into());
        let empty = Row::new("v2v_64_vs_ovs", "").ratio(ours, None);
        report.add(row);
        report.add(empty);
        report.say("one thing");
        report.say("one thing");
        let text = text(&report);
        let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap().to_owned();
        let testpmd = line("64 B against testpmd");
        assert!(
            testpmd.contains("1.20×") && testpmd.contains("NO") && testpmd.contains("≥ 1.40"),
            "{testpmd}"
        );
        assert!(testpmd.contains("AVX512 / SSE4.2 (corei7)"), "{testpmd}");
        let ovs = line("64 B against OVS");
        let words: Vec<&str> = ovs.split_whitespace().collect();
        assert!(words.contains(&"–") && !words.contains(&"NO") && !words.contains(&"0"), "{ovs}");
        assert!(line("v2v_64_vs_ovs:").contains("theirs was not measured"));
        assert_eq!(text.matches("one thing").count(), 1);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.234, 12.34, 128.0, 12.0, 0.004].map(significant);
        assert_eq!(texts, ["0", "1.23", "12.3", "128", "12", "0.0040"]);
    }
}
