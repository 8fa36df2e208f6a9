use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

const PODS: usize = 200;
const CLIENTS: usize = 32;

fn name(n: usize) -> String {
    format!("pod-{n:03}")
}

/// Has every pod done by 32 clients at once; milliseconds of each, sorted.
fn all(bench: &Bench, work: impl Fn(&Bench, usize) + Sync) -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let client = || {
        let mut times = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= PODS {
                return times;
            }
            let start = Instant::now();
            work(bench, n);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    };
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort_by(f64::total_cmp);
    times
}

fn print(what: &str, times: &[f64], commits: u64) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: {PODS} by {CLIENTS}: p50 {:.1} ms, p99 {:.1} ms, {commits} commits", at(0.5), at(0.99));
}

/// As on a node: the store on a disk, directories in memory (where there is such a file system).
fn run_in_memory(bench: &Bench) -> Option<tempfile::TempDir> {
    let memory = tempfile::tempdir_in("/dev/shm").ok()?;
    fs::remove_dir_all(bench.path("run")).unwrap();
    std::os::unix::fs::symlink(memory.path(), bench.path("run")).unwrap();
    Some(memory)
}

#[test]
fn two_hundred_at_once_twice() {
    let bench = Bench::new();
    let _memory = run_in_memory(&bench);
    let untouched = entries(&bench.path("run/devices"));
    let pods: Vec<_> = (0..PODS)
        .map(|n| v1::AttachRequest {
            network: "open".into(),
            ips: vec![address(&format!("10.0.{}.1/16", n))],
            ..bench.pod(&name(n), "")
        })
        .collect();
    let generation = || bench.switch.status().store.unwrap().generation;
    for round in 0..2 {
        let before = generation();
        let times = all(&bench, |bench, n| drop(bench.attach(&pods[n]).unwrap()));
        let commits = generation() - before;
        print("attach", &times, commits);
        assert!(commits < PODS as u64, "{commits} commits for {PODS} attachments");
        assert_eq!(bench.ports().len(), PODS);
        let macs: std::collections::BTreeSet<_> =
            bench.fake.ports().into_iter().map(|port| port.settings.mac.unwrap().0).collect();
        assert_eq!(macs.len(), PODS, "round {round}");
        let before = generation();
        let times = all(&bench, |bench, n| assert!(bench.detach(&name(n))));
        print("detach", &times, generation() - before);
        assert!(bench.ports().is_empty() && bench.switch.attachments("").is_empty());
        assert_eq!(entries(&bench.path("run/devices")), untouched);
    }
}

/// Everybody wants the same: one has it, the others are told who.
#[test]
fn one_of_many_gets_it() {
    let bench = Bench::new();
    let won = AtomicUsize::new(0);
    let pods: Vec<_> = (0..PODS)
        .map(|n| v1::AttachRequest {
            mac: "02:00:00:00:00:99".into(),
            network: "open".into(),
            ..bench.pod(&name(n), "")
        })
        .collect();
    all(&bench, |bench, n| match bench.attach(&pods[n]) {
        Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
        Err(Error::Attach(Refusal::Held { .. })) => {}
        Err(e) => panic!("{e}"),
    });
    assert_eq!(won.load(Ordering::Relaxed), 1);
    assert_eq!(bench.ports().len(), 1);
}

/// The same request from many at once, beside deletions of it: whatever the order, the end is as asked last.
#[test]
fn the_same_key_from_many() {
    let bench = Bench::new();
    let request = bench.pod("a1", "n0-0001");
    all(&bench, |bench, n| match n % 3 {
        0 => drop(bench.detach("a1")),
        _ => drop(bench.attach(&request).unwrap()),
    });
    let attachment = bench.attach(&request).unwrap();
    assert_eq!(bench.ports(), [attachment.port]);
    bench.detach("a1");
    assert!(bench.ports().is_empty());
    assert_eq!(entries(&bench.path("run/devices/n0-0001/port")), 0);
}
