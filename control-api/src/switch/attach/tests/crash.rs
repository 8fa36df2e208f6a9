use super::*;
use crate::store::Change;

fn tombstone(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let path = bench.path("tombstones").join(name);
    fs::write(&path, text).unwrap();
    path
}

fn stone(container: &str) -> String {
    format!(r#"{{"network":"net-a","containerId":"{container}","ifname":"net1"}}"#)
}

#[test]
fn everything_comes_back_after_a_crash() {
    let bench = Bench::new();
    let with_device = bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let made = v1::AttachRequest { network: "open".into(), ..bench.pod("x", "") };
    let made = bench.attach(&made).unwrap();
    let ports = bench.ports();
    let socket = bench.socket_directory("n0-0001").join("vhost.sock");
    fs::write(&socket, "").unwrap();
    let bench = bench.restart("boot-1");
    assert_eq!(bench.switch.attachments(""), [with_device, made]);
    assert_eq!(bench.ports(), ports);
    assert!(socket.exists(), "the pod's own socket stays");
    assert!(bench.detach("a1"));
    assert_eq!(bench.ports().len(), 1);
}

/// Killed between the commit and all that follows it: the next start makes it so, and the same request finds it done.
#[test]
fn killed_after_the_commit() {
    let bench = Bench::new();
    let request = bench.pod("a1", "n0-0001");
    let made = v1::AttachRequest { network: "open".into(), ..bench.pod("x", "") };
    let attachments = [bench.attach(&request).unwrap(), bench.attach(&made).unwrap()];
    let rows: Vec<Change> = attachments
        .iter()
        .flat_map(|attachment| {
            let port = bench.switch.port(&attachment.port).unwrap().spec.unwrap();
            [Change::put_port(&port), Change::put_attachment(attachment)]
        })
        .collect();
    bench.detach("a1");
    bench.detach("x");
    let Bench { directory, switch, .. } = bench;
    drop(switch);
    Store::open(&directory.path().join("state")).commit(&rows).unwrap();
    let fake = Arc::new(Fake::default());
    let switch = start(directory.path(), "boot-1", &fake);
    let bench = Bench { directory, fake, switch };
    assert_eq!(bench.ports().len(), 2);
    for attachment in &attachments {
        assert!(bench.path("run/devices").join(&attachment.directory).join("port/port.json").exists());
    }
    bench.fake.calls();
    assert_eq!(bench.attach(&request).unwrap(), attachments[0]);
    assert_eq!(bench.attach(&made).unwrap(), attachments[1]);
    assert!(bench.fake.calls().is_empty());
}

/// Killed after a deletion was stored and before its directories were emptied.
#[test]
fn what_a_deletion_left_goes_at_the_next_start() {
    let bench = Bench::new();
    let made = "x0123456789abcde";
    bench.device(made);
    for id in ["n0-0001", made] {
        fs::write(bench.path("run/devices").join(id).join("port/port.json"), "{}").unwrap();
        fs::write(bench.socket_directory(id).join("vhost.sock"), "").unwrap();
    }
    let bench = bench.restart("boot-1");
    assert!(!bench.path("run/devices").join(made).exists());
    assert_eq!(entries(&bench.socket_directory("n0-0001")), 0);
    assert_eq!(entries(&bench.path("run/devices/n0-0001/port")), 0);
}

/// An older store lacks what lives: nothing of it is touched.
#[test]
fn a_recovered_store_is_no_reason_to_empty_directories() {
    let bench = Bench::new();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let socket = bench.socket_directory("n0-0001").join("vhost.sock");
    fs::write(&socket, "").unwrap();
    for entry in fs::read_dir(bench.path("state")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let bench = bench.restart("boot-1");
    assert!(bench.switch.attachments("").is_empty());
    assert!(socket.exists());
}

#[test]
fn another_boot_drops_what_was_attached_and_nothing_else() {
    let bench = Bench::new();
    bench
        .attach(&v1::AttachRequest { mac: "02:00:00:00:00:05".into(), ..bench.pod("a1", "n0-0001") })
        .unwrap();
    let vhost = v1::VhostUser { path: "/run/p.sock".into(), ..Default::default() };
    let plain = v1::PortSpec {
        name: "plain".into(),
        network: "blue".into(),
        device: Some(v1::port_spec::Device::VhostUser(vhost)),
        ..Default::default()
    };
    bench.switch.add_port(Some(plain)).unwrap();
    fs::remove_dir_all(bench.path("run/devices")).unwrap();
    let bench = bench.restart("");
    assert_eq!(bench.switch.attachments("").len(), 1, "an unknown boot id proves nothing");
    let bench = bench.restart("boot-2");
    assert!(bench.switch.attachments("").is_empty());
    assert_eq!(bench.ports(), ["plain"]);
    assert_eq!(bench.fake.calls().last().unwrap(), "add port plain", "it was never added first");
    bench.device("n0-0001");
    let again = v1::AttachRequest { mac: "02:00:00:00:00:05".into(), ..bench.pod("a2", "n0-0001") };
    assert_eq!(bench.attach(&again).unwrap().boot_id, "boot-2");
}

/// At start the store cannot be written: what is of another boot gives way all the same, and goes when it can be.
#[test]
fn another_boot_with_a_disk_that_refuses() {
    let bench = Bench::new();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let Bench { directory, switch, .. } = bench;
    drop(switch);
    let holder = rusqlite::Connection::open(directory.path().join("state/state.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let fake = Arc::new(Fake::default());
    let switch = start(directory.path(), "boot-2", &fake);
    let bench = Bench { directory, fake, switch };
    assert_eq!(bench.switch.attachments("").len(), 1);
    holder.execute_batch("ROLLBACK").unwrap();
    bench.switch.maintain();
    assert!(bench.switch.attachments("").is_empty() && bench.ports().is_empty());
}

#[test]
fn tombstones_are_replayed_at_start_in_rounds_and_before_an_attachment() {
    let bench = Bench::new();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    bench.attach(&bench.pod("a2", "n0-0002")).unwrap();
    let path = tombstone(&bench, "1.json", &stone("a1"));
    let bench = bench.restart("boot-1");
    assert_eq!(bench.ports().len(), 1);
    assert!(!path.exists());
    tombstone(&bench, "2.json", &stone("a2"));
    // The device is free before the first attachment asks for it.
    bench.attach(&bench.pod("a3", "n0-0002")).unwrap();
    assert_eq!(bench.ports().len(), 1);
    tombstone(&bench, "3.json", &stone("a3"));
    bench.switch.maintain();
    assert!(bench.ports().is_empty());
    // Of the same key: deleted first, then attached.
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    bench.fake.calls();
    tombstone(&bench, "4.json", &stone("a1"));
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    assert_eq!(bench.fake.calls().len(), 2);
    assert_eq!(entries(&bench.path("tombstones")), 0);
}

#[test]
fn a_tombstone_that_cannot_be_one_is_set_aside() {
    let bench = Bench::new();
    let precious = bench.path("precious.json");
    fs::write(&precious, stone("a1")).unwrap();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    tombstone(&bench, "text.json", "not json");
    tombstone(&bench, "key.json", r#"{"network":"a/b","containerId":"c","ifname":"d"}"#);
    tombstone(&bench, "half.json.tmp", "half");
    std::os::unix::fs::symlink(&precious, bench.path("tombstones/link.json")).unwrap();
    fs::create_dir(bench.path("tombstones/directory.json")).unwrap();
    bench.switch.maintain();
    let mut names: Vec<_> = fs::read_dir(bench.path("tombstones"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["directory.bad", "half.json.tmp", "key.bad", "link.bad", "text.bad"]);
    assert_eq!(bench.ports().len(), 1, "a link is not followed");
    bench.switch.maintain();
}

#[test]
fn a_tombstone_waits_for_the_disk() {
    let bench = Bench::new();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    fs::rename(bench.path("state"), bench.path("away")).unwrap();
    let path = tombstone(&bench, "1.json", &stone("a1"));
    bench.switch.replay_tombstones();
    assert!(path.exists() && bench.ports().len() == 1);
    fs::rename(bench.path("away"), bench.path("state")).unwrap();
    bench.switch.replay_tombstones();
    assert!(!path.exists() && bench.ports().is_empty());
}
