//! Who holds an address: a pod that is recreated with the same one, with and without its predecessor's DEL.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::bed::{Bed, Told};
use crate::support::node::SOCKET_GROUP;
use crate::support::sandbox::{Container, Sandbox};

const MAC: &str = "02:00:00:00:77:01";

fn fixed(bed: &Bed, device: &str) -> Value {
    let mut config = bed.config("blue", device);
    config["mac"] = MAC.into();
    config["ips"] = json!(["10.77.0.9/24"]);
    config
}

#[test]
fn a_pod_with_a_fixed_address_recreated_without_a_deletion() {
    let Some(bed) = Bed::open() else { return };
    bed.network("blue", &[]);
    bed.node.add_device("n0-0000");
    bed.node.add_device("n0-0001");
    let old = Sandbox::new("shop", "db-0");
    let first = bed.node.add(&old, "net1", &fixed(&bed, "n0-0000"));
    assert_eq!(Told::of(&first, &old, "net1").mac, MAC);
    // The same call again is the same answer.
    assert_eq!(bed.node.add(&old, "net1", &fixed(&bed, "n0-0000")), first);

    // While the old one lives, the new one is told who holds what it asks for, and to come again.
    let new = Sandbox::new("shop", "db-0");
    let holder = ["shop/db-0", old.container_id.as_str(), "net1"];
    bed.node.refused(&new, "net1", &fixed(&bed, "n0-0001"), 11, &holder);
    let mut address = fixed(&bed, "n0-0001");
    address["mac"] = "02:00:00:00:77:02".into();
    bed.node.refused(&new, "net1", &address, 11, &holder);
    // A device alone, too.
    bed.node.refused(&new, "net1", &bed.config("blue", "n0-0000"), 11, &holder);
    assert_eq!(bed.node.ports().len(), 1);

    // Its namespace goes, but nobody says so: the new one takes over.
    let old_id = old.container_id.clone();
    let netns = old.netns();
    old.destroy();
    assert!(!netns.exists());
    let second = bed.node.add(&new, "net1", &fixed(&bed, "n0-0001"));
    assert_eq!(Told::of(&second, &new, "net1"), Told { mac: MAC.into(), ip: "10.77.0.9".parse().unwrap() });
    let ports = bed.node.ports();
    assert_eq!(ports.len(), 1, "{ports:?}");

    // The old one's deletion, when it comes at last, touches nothing of the new one.
    let mut late = Sandbox::new("shop", "db-0");
    late.container_id = old_id;
    bed.node.del(&late, "net1", &fixed(&bed, "n0-0000"));
    assert_eq!(bed.node.ports(), ports);
    let mut config = fixed(&bed, "n0-0001");
    config["prevResult"] = second;
    let check = bed.node.call("CHECK", &new, "net1", &config);
    assert_ne!(check.value["code"], 110, "{check:?}");
    bed.node.del(&new, "net1", &config);
    bed.nothing_left();
}

/// What is deleted while the daemon is away is gone before the next pod is added.
#[test]
fn a_deletion_while_the_daemon_is_down() {
    let Some(mut bed) = Bed::open() else { return };
    bed.network("blue", &[]);
    bed.node.add_device("n0-0000");
    let old = Sandbox::new("shop", "db-0");
    let config = fixed(&bed, "n0-0000");
    bed.node.add(&old, "net1", &config);
    bed.node.switch.kill();
    bed.node.del(&old, "net1", &config);
    let down = bed.node.call("ADD", &Sandbox::new("shop", "db-0"), "net1", &config);
    assert_eq!((down.status != 0, &down.value["code"]), (true, &json!(11)), "{down:?}");
    bed.node.switch.start_again();
    // The old namespace is alive: only the deletion makes the address free.
    let new = Sandbox::new("shop", "db-0");
    bed.node.add(&new, "net1", &config);
    assert_eq!(bed.node.ports().len(), 1);
    bed.node.del(&new, "net1", &config);
    bed.nothing_left();
    drop(old);
}

/// Where there is no kubelet the daemon makes the directories itself, and takes them away again.
#[test]
fn a_pod_without_a_device() {
    let Some(bed) = Bed::open() else { return };
    bed.network("crowd", &["--without-device"]);
    let pod = Sandbox::new("shop", "plain");
    let config = bed.node.config("crowd");
    bed.node.add(&pod, "net1", &config);
    let devices = std::fs::read_dir(bed.node.root().join("devices")).unwrap();
    let names: Vec<String> = devices.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let [name] = &names[..] else { panic!("{names:?}") };
    let meta = std::fs::metadata(bed.node.device(name).socket).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o2770, 0, SOCKET_GROUP));
    // What the pod makes there and shuts is its own, and goes all the same.
    let container = Container::new(&bed.node, &pod, &[name]);
    let script = "cd /run/podswitch/sockets/*; mkdir -p a/b; touch a/b/c; chmod 0 a";
    container.ok(&["sh", "-ec", script]);
    bed.node.del(&pod, "net1", &config);
    assert!(!bed.node.device(name).device.exists());
    bed.nothing_left();
}
