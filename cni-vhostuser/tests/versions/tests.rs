use std::path::Path;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::plugin::{Answer, IFNAME, call};

const ALL: [&str; 11] = [
    "allow_source",
    "features_off",
    "ips",
    "mac",
    "mem_limit",
    "mode",
    "mtu",
    "queues",
    "routes",
    "stub",
    "trusted",
];

fn plain(verb: &str, daemon: &Daemon, more: &Value) -> Answer {
    call(verb, &daemon.socket(), more, Path::new("/dev/null"))
}

/// Names of the files beside a daemon's socket that are tombstones.
fn tombstones(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.socket().with_file_name("tombstones")).map_or(0, Iterator::count)
}

#[test]
fn an_older_daemon_serves_what_it_knows() {
    let daemon = Daemon::with_features(&["mac", "ips"]);
    let more = json!({"mac": "02:00:00:00:00:05", "ips": ["10.0.0.5/24"]});
    let answer = plain("ADD", &daemon, &more);
    assert!(answer.success, "{answer:?}");
    assert_eq!(answer.output["interfaces"][0]["mac"], "02:00:00:00:00:05");
    let asked = daemon.state.lock().unwrap().asked.clone();
    assert_eq!(asked[0].needs, ["ips", "mac"]);
    assert_eq!(asked[0].owner.as_ref().unwrap().pod, "p");
    assert_ne!(asked[0].owner.as_ref().unwrap().netns_ino, 0);
}

#[test]
fn an_older_daemon_is_not_asked_in_silence_for_what_it_lacks() {
    let daemon = Daemon::with_features(&["mac"]);
    let answer = plain("ADD", &daemon, &json!({"queues": 4}));
    assert!(!answer.success);
    assert_eq!(answer.output["code"], 2, "{answer:?}");
    assert!(answer.output["msg"].as_str().unwrap().contains("queues"), "{answer:?}");
}

#[test]
fn a_daemon_without_attachments_is_too_old() {
    let daemon = Daemon::without_attachments();
    let add = plain("ADD", &daemon, &json!({}));
    assert_eq!((add.success, &add.output["code"]), (false, &json!(11)), "{add:?}");
    assert!(add.output["msg"].as_str().unwrap().contains("too old"), "{add:?}");
    assert_eq!(plain("STATUS", &daemon, &json!({})).output["code"], 50);
    let del = plain("DEL", &daemon, &json!({}));
    assert!(del.success && tombstones(&daemon) == 1, "{del:?}");
}

#[test]
fn a_newer_daemon_says_more_and_is_understood() {
    let features: Vec<&str> = ALL.into_iter().chain(["vlan", "zebra"]).collect();
    let daemon = Daemon::of_the_next_release(&features);
    let more = json!({"queues": 2, "mtu": 1400, "mode": "client", "routes": [{"dst": "10.1.0.0/16"}]});
    let answer = plain("ADD", &daemon, &more);
    assert!(answer.success, "{answer:?}");
    assert_eq!(answer.output["interfaces"][0]["name"], IFNAME);
    assert_eq!(answer.output["interfaces"][0]["mtu"], 1400);
    assert_eq!(answer.output["interfaces"][0]["socketPath"], "/run/podswitch/devices/x1/socket/vhost.sock");
    let checked = plain("CHECK", &daemon, &json!({"prevResult": answer.output}));
    assert!(checked.success, "{checked:?}");
    for (verb, more) in
        [("STATUS", json!({})), ("GC", json!({"cni.dev/valid-attachments": []})), ("DEL", json!({}))]
    {
        let answer = plain(verb, &daemon, &more);
        assert!(answer.success && answer.output == Value::Null, "{verb}: {answer:?}");
    }
    assert!(daemon.state.lock().unwrap().attachments.is_empty());
    // What it lacks here stays refused here, whatever the daemon can do.
    assert_eq!(plain("ADD", &daemon, &json!({"vlan": 5})).output["code"], 2);
}

#[test]
fn addresses_are_asked_for_once_and_go_back_after_the_port() {
    let daemon = Daemon::with_features(&ALL);
    let log = daemon.socket().with_file_name("ipam.log");
    let more = json!({"ipam": {"type": "fake-ipam"}});
    let first = call("ADD", &daemon.socket(), &more, &log);
    assert_eq!(
        first.output["ips"],
        json!([{"address": "10.0.0.9/24", "gateway": "10.0.0.1", "interface": 0}])
    );
    let second = call("ADD", &daemon.socket(), &more, &log);
    assert_eq!(second.output, first.output);
    assert!(call("DEL", &daemon.socket(), &more, &log).success);
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said, format!("ADD c {IFNAME}\nDEL c {IFNAME}\n"));
}

#[test]
fn a_refused_port_gives_its_addresses_back() {
    let daemon = Daemon::with_features(&["mac"]);
    let log = daemon.socket().with_file_name("ipam.log");
    let answer = call("ADD", &daemon.socket(), &json!({"ipam": {"type": "fake-ipam"}}), &log);
    assert_eq!(answer.output["code"], 2, "{answer:?}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said, format!("ADD c {IFNAME}\nDEL c {IFNAME}\n"));
}

#[test]
fn a_daemon_that_falls_silent_is_asked_to_undo() {
    let daemon = Daemon::with_features(&ALL);
    daemon.state.lock().unwrap().deaf = true;
    let log = daemon.socket().with_file_name("ipam.log");
    let more = json!({"ipam": {"type": "fake-ipam"}, "timeoutMs": 3000});
    let answer = call("ADD", &daemon.socket(), &more, &log);
    assert_eq!(answer.output["code"], 11, "{answer:?}");
    assert_eq!(daemon.state.lock().unwrap().asked.len(), 1);
    assert!(std::fs::read_to_string(&log).unwrap().contains("DEL"));
    // At once, or on a machine that is busy for too long by the tombstone.
    assert!(daemon.state.lock().unwrap().detached > 0 || tombstones(&daemon) == 1);
}

#[test]
fn a_device_information_that_cannot_be_written_undoes_all() {
    let daemon = Daemon::with_features(&ALL);
    let log = daemon.socket().with_file_name("ipam.log");
    let file = daemon.socket().join("in/the/way");
    let more = json!({"ipam": {"type": "fake-ipam"}, "runtimeConfig": {"CNIDeviceInfoFile": file}});
    let answer = call("ADD", &daemon.socket(), &more, &log);
    assert_eq!(answer.output["code"], 5, "{answer:?}");
    assert!(daemon.state.lock().unwrap().attachments.is_empty());
    assert!(std::fs::read_to_string(&log).unwrap().contains("DEL"));
}

#[test]
fn a_daemon_that_dies_over_an_attachment_is_told_to_delete_it() {
    let mut daemon = Daemon::with_features(&ALL);
    daemon.state.lock().unwrap().deaf = true;
    let (socket, log) = (daemon.socket(), daemon.socket().with_file_name("ipam.log"));
    let more = json!({"ipam": {"type": "fake-ipam"}, "timeoutMs": 60000});
    let plugin = std::thread::spawn(move || call("ADD", &socket, &more, &log));
    while daemon.state.lock().unwrap().asked.is_empty() && !plugin.is_finished() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    daemon.die();
    let answer = plugin.join().unwrap();
    assert_eq!(answer.output["code"], 11, "{answer:?}");
    assert_eq!(tombstones(&daemon), 1);
    let said = std::fs::read_to_string(daemon.socket().with_file_name("ipam.log")).unwrap();
    assert_eq!(said, format!("ADD c {IFNAME}\nDEL c {IFNAME}\n"));
}
