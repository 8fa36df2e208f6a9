//! Loads on pods that the null device joins: what it loses is found, and nothing else.

use std::time::Duration;

use super::account::Accounts;
use super::*;
use crate::null::{NullConfig, NullDevice, NullReport, pair};
use crate::pod::PodConfig;
use crate::traffic::{Mac, Size};

const MAGIC_WORD: u64 = u64::from_le_bytes(*b"\0\0pswtch");
const RUN: u8 = 7;

fn sequence(stream: u64, number: u64) -> u64 {
    stream << 48 | u64::from(RUN) << 40 | number
}

#[test]
fn frames_are_accounted_for_one_by_one() {
    let mut accounts = Accounts::new([1, 0].into_iter(), RUN);
    assert_eq!(accounts.sequence(1), sequence(1, 0));
    accounts.sent(0, 5);
    accounts.received(1, sequence(0, 0), MAGIC_WORD, 64);
    accounts.begin_window();
    accounts.sent(0, 10);
    assert_eq!(accounts.under_way(0), 14);
    // Of before the window, and then of the window but for two: 9, and 14, which is never taken.
    for number in [1, 2, 3, 4, 5, 6, 8, 7, 10, 11, 12] {
        let counts = accounts.received(1, sequence(0, number), MAGIC_WORD, 100);
        assert_eq!(counts, number >= 5);
    }
    accounts.received(0, sequence(0, 13), MAGIC_WORD, 64);
    accounts.received(1, sequence(2, 0), MAGIC_WORD, 64);
    accounts.received(1, sequence(0, 0) ^ 1 << 40, MAGIC_WORD, 64);
    accounts.received(1, sequence(0, 0), 0, 64);
    accounts.received(1, sequence(0, 0), u64::from_le_bytes(*b"\0\0pswlrn"), 64);
    accounts.end_window();
    accounts.received(1, sequence(0, 13), MAGIC_WORD, 64);
    let [one, other] = accounts.outcomes(&[1, 0])[..] else { panic!("there are two streams") };
    assert_eq!(one, StreamOutcome { sent: 9, received: 11, bytes: 1100, lost: 1, reordered: 1 });
    assert_eq!(other, StreamOutcome::default());
    assert_eq!(accounts.foreign(), 4, "another pod's, no stream's, another run's, nobody's");
}

fn drive(size: Size, null: NullConfig, change: impl FnOnce(&mut Load<'_>)) -> (Outcome, NullReport) {
    let config = PodConfig { huge: false, ring: 256, frame_room: 9000, ..PodConfig::new("") };
    let mut pods = pair(&config).unwrap();
    let device = NullDevice::start(&mut pods, null, None);
    let macs = [Mac([2, 1, 0, 0, 0, 1]), Mac([2, 2, 0, 0, 0, 1])];
    let spec =
        |i: usize| TrafficSpec { size, flows: 100, stamps: true, ..TrafficSpec::new(macs[i], macs[1 - i]) };
    let specs = [spec(0), spec(1)];
    let heads = [0, 1].map(|i: usize| HeadTable::with_entries(&specs[i], 1 << 12).unwrap());
    let stream = |i: usize| Stream { from: i, to: 1 - i, heads: &heads[i], spec: &specs[i] };
    let mut load = Load::new(vec![stream(0), stream(1)]);
    (load.warm_up, load.window) = (Duration::from_millis(20), Duration::from_millis(100));
    change(&mut load);
    let outcome = run(&mut pods, &load);
    (outcome, device.stop().unwrap())
}

#[test]
fn nothing_is_lost_where_nothing_is_lost() {
    for size in [Size::Fixed(64), Size::Imix, Size::Fixed(9000)] {
        let (outcome, report) = drive(size, NullConfig { copy: true, lose_one_in: 0 }, |_| {});
        assert!(outcome.received > 0, "{outcome:?}");
        assert_eq!(
            (outcome.lost, outcome.reordered, outcome.foreign, outcome.malformed),
            (0, 0, 0, 0),
            "{size} {outcome:?}"
        );
        let mean = outcome.bytes as f64 / outcome.received as f64;
        assert!((mean / size.mean() - 1.0).abs() < 0.05, "{mean} bytes in the mean of {size}");
        assert!(outcome.sent <= report.frames);
        let latency = outcome.latency.unwrap();
        assert_eq!(latency.len(), outcome.sent, "every frame of the window is timed");
        assert_eq!(outcome.by_stream.iter().map(|s| s.received).sum::<u64>(), outcome.received);
    }
}

#[test]
fn what_is_lost_is_found() {
    let (outcome, report) = drive(Size::Fixed(64), NullConfig { copy: true, lose_one_in: 10 }, |load| {
        load.warm_up = Duration::ZERO;
        load.learn = false;
    });
    assert!(report.lost > 0);
    assert_eq!((outcome.lost, outcome.sent), (report.lost, report.lost + report.frames));
    assert_eq!((outcome.reordered, outcome.foreign), (0, 0));
}

#[test]
fn a_pace_is_kept_and_what_is_short_of_it_is_told() {
    let copy = NullConfig { copy: true, lose_one_in: 0 };
    let (kept, _) = drive(Size::Fixed(64), copy, |load| {
        load.pace = Pace::Rate(20_000.0);
        load.window = Duration::from_millis(500);
    });
    let due = 20_000.0 * kept.seconds;
    assert!(kept.sent as f64 <= due + 2.0 && kept.sent > 0, "{} of {due}", kept.sent);
    assert_eq!(kept.lost, 0);
    let (missed, _) = drive(Size::Fixed(64), copy, |load| load.pace = Pace::Rate(1e9));
    assert!(missed.short_of_pace > 0.5, "{}", missed.short_of_pace);
    let late = missed.latency.unwrap().max();
    assert!(late > 20_000_000, "latency counts from when a frame was due: {late} ns");
}

#[test]
fn no_more_is_under_way_than_allowed() {
    let (outcome, _) = drive(Size::Fixed(64), NullConfig { copy: true, lose_one_in: 0 }, |load| {
        load.in_flight = Some(16);
        load.burst = 16;
    });
    assert!(outcome.received > 0);
    assert_eq!(outcome.lost, 0);
    let (lossy, report) = drive(Size::Fixed(64), NullConfig { copy: true, lose_one_in: 50 }, |load| {
        load.in_flight = Some(32);
        load.window = Duration::from_millis(200);
    });
    assert!(lossy.lost > 0 && report.lost >= lossy.lost, "what is lost is given up, and the load goes on");
    assert!(lossy.received > 0);
}
