//! A frontend that leaves at any point leaves nothing behind: no descriptor, mapping or thread.
//!
//! One test in a program of its own, since it counts what the whole process has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "session_protocol/support.rs"]
mod support;

use std::cell::Cell;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use support::*;
use vhost::control::{Mode, PortState};
use vhost::memory::{MemfdKind, leaks, memfd};

/// What a process has that could be left behind.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: Vec<String>,
    shared_mappings: usize,
    threads: Vec<String>,
}

fn held() -> Held {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut descriptors: Vec<_> = links
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .filter(|name| !name.ends_with("/fd"))
        // A socket's number says nothing.
        .map(|name| name.split(":[").next().unwrap().to_owned())
        .collect();
    descriptors.sort();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let shared_mappings =
        maps.lines().filter(|line| line.contains("memfd:") || line.contains("rw-s")).count();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut threads: Vec<_> = tasks
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("comm")).ok())
        // These end by themselves after seconds without work, and keep nothing.
        .filter(|name| !["vhost-map", "vhost-close", "vhost-unmap"].contains(&name.trim()))
        .collect();
    threads.sort();
    Held { descriptors, shared_mappings, threads }
}

/// What it has when nothing is under way: no file is being closed, and nothing has changed for a while.
fn settled() -> Held {
    let start = Instant::now();
    loop {
        let seen = held();
        std::thread::sleep(Duration::from_millis(50));
        if leaks().closing == 0 && held() == seen {
            return seen;
        }
        assert!(start.elapsed() < SOON, "the process never settles: {seen:#?}");
    }
}

fn wait_for(before: &Held, what: &str) {
    let start = Instant::now();
    loop {
        let now = held();
        if now == *before && leaks().closing == 0 {
            assert_eq!(leaks().given_up, 0);
            return;
        }
        assert!(start.elapsed() < SOON, "{what}: {before:#?} has become {now:#?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn leave_at_every_message(bench: &Bench, mode: Mode) {
    let port = bench.port_with(Manner::Prompt, |config| config.mode = mode);
    let made = Cell::new(0);
    let connect = || {
        made.set(made.get() + 1);
        match mode {
            Mode::Server => port.accept(),
            Mode::Client => Frontend::connect(&port.path),
        }
    };
    // Even one that had left before it was accepted is one that has ended.
    let gone = || {
        let ended = |s: &PortState| s.transitions.waiting + s.transitions.faulted == made.get();
        port.wait("the end of the connection", ended);
    };
    // Once whole, so that everything that is made only once is made.
    let mut frontend = connect();
    let memory = frontend.start_on(&port);
    drop((frontend, memory));
    gone();
    assert_eq!(port.owner.running(), 0);
    // In mode `server` the next connection is made at once: it is part of what there is.
    let follow = || if mode == Mode::Server { Some(connect()) } else { None };
    let mut next = follow();
    let before = settled();

    let steps = script(&memfd(MemfdKind::Plain, MEMORY).unwrap()).len();
    for prefix in 0..=steps {
        for heard in [true, false] {
            let memory = memfd(MemfdKind::Plain, MEMORY).unwrap();
            let mut frontend = next.take().unwrap_or_else(connect);
            for step in &script(&memory)[..prefix] {
                // Whether the device's answers are waited for makes another moment of leaving.
                if heard { step.run(&mut frontend) } else { step.send(&frontend) }
            }
            drop((frontend, memory));
            gone();
            next = follow();
            wait_for(&before, &format!("leaving after {prefix} messages, answers heard: {heard}"));
        }
        // In the middle of a message, its descriptors already here.
        let memory = memfd(MemfdKind::Plain, MEMORY).unwrap();
        let frontend = next.take().unwrap_or_else(connect);
        if let Some(step) = script(&memory).get(prefix) {
            let bytes = step.message.encode(step.ack);
            let fds: Vec<_> = step.fds.iter().map(AsFd::as_fd).collect();
            frontend.send_bytes(&bytes[..bytes.len() / 2], &fds).unwrap();
        }
        drop((frontend, memory));
        gone();
        next = follow();
        wait_for(&before, &format!("leaving in the middle of message {prefix}"));
    }
    drop(next);
    bench.control.remove_port(port.key).unwrap();
}

#[test]
fn nothing_is_left_behind() {
    let first = {
        // What the process itself makes once, however many control threads there are.
        drop(Bench::new());
        settled()
    };
    let bench = Bench::new();
    leave_at_every_message(&bench, Mode::Server);
    leave_at_every_message(&bench, Mode::Client);
    drop(bench);
    wait_for(&first, "the end of the control thread");
}
