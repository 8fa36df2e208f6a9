use super::*;

fn figure(values: &[Option<f64>]) -> Figure {
    let mut figure = Figure::new("podswitch", "v2v_64", "Mframes/s");
    values.iter().for_each(|value| figure.push(*value));
    figure
}

#[test]
fn a_median_is_the_middle_value_or_between_the_two() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

#[test]
fn a_spread_is_the_middle_half() {
    let spread = Spread::of(&[8.0, 9.0, 10.0, 11.0, 12.0]).unwrap();
    assert_eq!((spread.min, spread.max), (8.0, 12.0));
    assert!((spread.iqr_percent - 20.0).abs() < 1e-9, "{spread:?}");
    assert!(spread.noisy());
    assert!(!Spread::of(&[10.0]).unwrap().noisy());
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[0.0, 0.0]).unwrap().iqr_percent, 0.0);
}

#[test]
fn a_ratio_is_taken_within_each_round() {
    // The machine was three times as slow in the second round, for both.
    let ours = figure(&[Some(12.0), Some(4.0), Some(13.0)]);
    let theirs = figure(&[Some(6.0), Some(2.0), Some(6.5)]);
    let row = Row::new("v2v_64_vs_ovs", "").ratio(Some(&ours), Some(&theirs));
    assert_eq!(row.value, Some(2.0));
    assert_eq!(row.met, Some(true));
    assert!(!row.noisy, "{row:?}");
    assert_eq!((row.ours, row.peers), (Some(12.0), Some(6.0)));
}

#[test]
fn a_round_that_failed_on_one_side_is_in_no_ratio() {
    let ours = figure(&[Some(12.0), None, Some(13.0)]);
    let theirs = figure(&[Some(6.0), Some(1.0), None]);
    let row = Row::new("v2v_64_vs_ovs", "").ratio(Some(&ours), Some(&theirs));
    assert_eq!(row.rounds, [Some(2.0), None, None]);
    assert_eq!(row.value, Some(2.0));
}

#[test]
fn what_was_not_measured_stays_empty() {
    let ours = figure(&[Some(12.0)]);
    let row = Row::new("v2v_64_vs_ovs", "").ratio(Some(&ours), None);
    assert_eq!((row.value, row.met, row.peers), (None, None, None));
    assert!(row.note.contains("theirs was not measured"), "{}", row.note);
    let row = Row::new("port_mb", "").figure(Some(&figure(&[None, Some(f64::NAN)])));
    assert_eq!((row.value, row.met), (None, None));
    let row = Row::new("port_mb", "").figure(None);
    assert_eq!((row.value, row.met), (None, None));
    let nothing = figure(&[Some(0.0)]);
    assert_eq!(Row::new("v2v_64_vs_ovs", "").ratio(Some(&ours), Some(&nothing)).value, None);
}

#[test]
fn one_lost_frame_in_one_round_is_enough() {
    let lost = figure(&[Some(0.0), Some(0.0), Some(1.0)]);
    let row = Row::new("reconfig_lost_frames", "").worst(Some(&lost));
    assert_eq!((row.value, row.met), (Some(1.0), Some(false)));
    let none = figure(&[Some(0.0), Some(0.0)]);
    assert_eq!(Row::new("reconfig_lost_frames", "").worst(Some(&none)).met, Some(true));
}

#[test]
fn a_voided_row_keeps_its_rounds_and_says_why() {
    let ours = figure(&[Some(1.0)]);
    let row = Row::new("p99_50_vs_ovs", "").ratio(Some(&ours), Some(&ours)).void("the machine hiccups");
    assert_eq!((row.value, row.met), (None, None));
    assert_eq!(row.rounds, [Some(1.0)]);
    assert!(row.note.contains("hiccups"));
}

#[test]
fn every_key_is_in_the_ratios_from_the_start_and_empty() {
    let mut report = Report::new(Machine::default(), "2026-01-31T12-00-00Z".into());
    let keys: Vec<&str> = report.ratios.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "empty_switch_mb",
            "flows_1m_vs_1",
            "onecopy_1500_vs_twocopy",
            "onecopy_9000_vs_twocopy",
            "p999_50_vs_ovs",
            "p99_50_vs_ovs",
            "port_mb",
            "ports_64_vs_2",
            "reconfig_lost_frames",
            "v2v_1500_vs_ovs",
            "v2v_1500_vs_testpmd_io",
            "v2v_64_vs_ovs",
            "v2v_64_vs_testpmd_io",
        ]
    );
    assert!(report.ratios.values().all(Option::is_none));
    report.record("podswitch", "port_mb", "MB").push(Some(2.5));
    report.add(Row::new("port_mb", "").figure(report.find("podswitch", "port_mb")));
    report.add(Row::new("extra", "something else").figure(report.find("podswitch", "port_mb")));
    assert_eq!(report.ratios["port_mb"], Some(2.5));
    assert_eq!(report.ratios.len(), 13);
}
