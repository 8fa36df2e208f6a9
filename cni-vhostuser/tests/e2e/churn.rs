//! Many pods at once, and a daemon that is killed in the middle: what is asked for is what there is in the end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::bed::Bed;
use crate::support::node::{Answer, Caller};
use crate::support::sandbox::Sandbox;
use crate::support::{wait, watch};

const PODS: usize = 200;
/// Calls in flight: a kubelet starts pods in parallel.
const AT_ONCE: usize = 16;
/// Calls that are answered before the daemon is killed.
const BEFORE: usize = 60;

#[test]
fn two_hundred_pods_added_and_deleted_twice_over_kills_of_the_daemon() {
    let Some(mut bed) = Bed::open() else { return };
    bed.network("crowd", &["--without-device"]);
    let pods: Vec<Sandbox> = (0..PODS).map(|number| Sandbox::new("shop", &format!("pod-{number}"))).collect();
    let config = bed.node.config("crowd");
    let mut descriptors = None;
    for round in 0..2 {
        let everybody: Vec<&Sandbox> = pods.iter().collect();
        let answers = in_parallel(&mut bed, &everybody, &config, added);
        let macs: BTreeSet<&str> =
            answers.iter().map(|answer| answer["interfaces"][0]["mac"].as_str().unwrap()).collect();
        assert_eq!(macs.len(), PODS, "two pods have one address");
        holds(&bed, &everybody);
        // What was acknowledged is on disk, whenever the daemon died: the same call is the same answer.
        for (pod, answer) in pods.iter().zip(&answers).step_by(20) {
            assert_eq!(&bed.node.add(pod, "net1", &config), answer);
        }

        let (leave, stay): (Vec<&Sandbox>, Vec<&Sandbox>) =
            pods.iter().partition(|pod| !pod.pod.ends_with('7'));
        in_parallel(&mut bed, &leave, &config, deleted);
        holds(&bed, &stay);
        in_parallel(&mut bed, &stay, &config, deleted);
        holds(&bed, &[]);
        bed.nothing_left();
        assert!(!bed.lab.path("tombstones").read_dir().is_ok_and(|mut all| all.next().is_some()));
        let pid = bed.node.switch.pid();
        let now = wait::settled(Duration::from_secs(1), || watch::descriptors(pid));
        // Each round ends with a daemon that was started in it and has served the same.
        let before = *descriptors.get_or_insert(now);
        assert!(now <= before + 2, "{before} descriptors after the first round, {now} after round {round}");
    }
}

/// ADD as a kubelet does it: again until it succeeds.
fn added(caller: &Caller, pod: &Sandbox, config: &Value) -> Value {
    wait::until("ADD to succeed", || {
        let answer = caller.call("ADD", pod, "net1", config);
        if answer.status == 0 {
            return Some(answer.value);
        }
        assert_eq!(answer.value["code"], 11, "only a daemon that is away may refuse: {answer:?}");
        None
    })
}

/// DEL succeeds at once, whether there is a daemon or not.
fn deleted(caller: &Caller, pod: &Sandbox, config: &Value) -> Value {
    let Answer { status, value, log } = caller.call("DEL", pod, "net1", config);
    assert_eq!(status, 0, "{value} {log}");
    value
}

/// Does something for every pod, a few at a time, and kills the daemon in the middle; gives what each answered.
fn in_parallel(
    bed: &mut Bed,
    pods: &[&Sandbox],
    config: &Value,
    call: impl Fn(&Caller, &Sandbox, &Value) -> Value + Sync,
) -> Vec<Value> {
    let caller = bed.node.caller();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while let Some((number, pod)) = {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        pods.get(number).map(|pod| (number, *pod))
                    } {
                        answers.push((number, call(&caller, pod, config)));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        let middle = BEFORE.min(pods.len() / 2);
        wait::within(Duration::from_secs(300), "half of the calls", || {
            let ended = threads.iter().all(std::thread::ScopedJoinHandle::is_finished);
            (ended || done.load(Ordering::Relaxed) >= middle).then_some(())
        });
        bed.node.switch.kill();
        bed.node.switch.start_again();
        let mut answers: Vec<(usize, Value)> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    })
}

/// Exactly these pods are attached, each with one port. Deletions that a dead daemon did not hear of are made good by
/// the next one.
#[track_caller]
fn holds(bed: &Bed, pods: &[&Sandbox]) {
    let wanted: BTreeSet<&str> = pods.iter().map(|pod| pod.container_id.as_str()).collect();
    wait::until("exactly the pods that were asked for", || {
        let attachments = bed.node.attachments();
        let there: BTreeSet<&str> = attachments
            .iter()
            .filter_map(|attachment| attachment.pointer("/spec/key/container_id")?.as_str())
            .collect();
        (there == wanted && attachments.len() == pods.len()).then_some(())
    });
    assert_eq!(bed.node.ports().len(), pods.len());
}
