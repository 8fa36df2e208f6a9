//! Whoever starts again finds the other, and finds everything as it was.

use std::fs;

use crate::kubelet::Kubelet;
use crate::node::{Node, is_root, until};
use crate::switch::Switch;

#[tokio::test]
async fn a_kubelet_that_starts_again_hears_of_it_again() {
    if !is_root("a kubelet starts again") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "2"]);
    let (_caller, list) = kubelet.meets().await;
    let before = list.now;

    // All sockets go, as with a real one.
    let mut kubelet = kubelet.restart(&node);
    let (mut caller, list) = kubelet.meets().await;
    assert_eq!(list.now, before);
    caller.allocate(&["n0-0001"]).await.unwrap();

    // The kubelet's alone.
    drop(kubelet);
    let mut kubelet = Kubelet::start(&node);
    let (mut caller, list) = kubelet.meets().await;
    assert_eq!(list.now, before);
    caller.pre_start(&["n0-0001"]).await.unwrap();

    // Ours alone.
    let ours = node.path("kubelet/podswitch_podswitch.io_vhost-user.sock");
    fs::remove_file(&ours).unwrap();
    let (_caller, list) = kubelet.meets().await;
    assert_eq!(list.now, before);
    assert!(ours.exists());
    assert!(kubelet.has_no_more(), "once is enough");
}

#[tokio::test]
async fn a_plugin_that_was_killed_comes_back_with_the_same_devices_and_what_is_in_them() {
    if !is_root("a plugin is killed") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0, 2]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "2"]);
    let (_caller, list) = kubelet.meets().await;
    let before = list.now;
    let mounts = node.mounts("run");
    assert_eq!(mounts.len(), 4);
    let file = node.seen("run/devices/n2-0001/socket/vhost.sock");
    let alive = std::os::unix::net::UnixListener::bind(&file).unwrap();
    fs::write(node.seen("run/devices/n2-0001/port/port.json"), "{}").unwrap();

    plugin.kill();
    // Without the switch: it knows the nodes.
    switch.stop();
    let plugin = node.plugin(&["--devices", "2"]);
    let (mut caller, list) = kubelet.meets().await;
    assert_eq!(list.now, before);
    assert_eq!(node.mounts("run"), mounts, "the same mounts, none on top");
    caller.pre_start(&["n2-0001"]).await.unwrap();
    assert!(file.exists() && node.seen("run/devices/n2-0001/port/port.json").exists());
    assert_eq!(plugin.said("goes on with NUMA nodes [0, 2]"), 1);
    drop(alive);
}

#[tokio::test]
async fn after_a_reboot_the_devices_of_running_pods_are_back_before_it_registers() {
    if !is_root("a reboot") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0, 1]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "3"]);
    let (mut caller, list) = kubelet.meets().await;
    // The kubelet's checkpoint: two devices are a pod's.
    let checkpoint = ["n0-0002", "n1-0001"];
    caller.allocate(&checkpoint).await.unwrap();
    let before = list.now;

    plugin.kill();
    switch.stop();
    for id in before.keys() {
        node.run(&["umount", node.path(&format!("run/devices/{id}/socket")).to_str().unwrap()]);
    }
    fs::remove_dir_all(node.path("run")).unwrap();
    fs::create_dir(node.path("run")).unwrap();
    let mut kubelet = kubelet.restart(&node);

    // Nobody knows the NUMA nodes: it waits for the switch.
    let plugin = node.plugin(&["--devices", "3"]);
    until("it says that it waits", || plugin.said("; waits, because") == 1).await;
    assert!(kubelet.has_no_more());
    assert!(!node.path("run/devices").exists());
    let _switch = Switch::start(&node, &[0, 1]);
    let registered = kubelet.registered().await;
    assert_eq!(registered.directories, 6);
    let mut caller = kubelet.call(&registered).await;
    assert_eq!(caller.list().await.now, before);
    // The kubelet does not allocate again for a pod that it knows.
    caller.pre_start(&checkpoint).await.unwrap();
    assert_eq!(node.mounts("run").len(), 6);
}

#[tokio::test]
async fn listed_nodes_need_no_switch() {
    if !is_root("listed nodes") {
        return;
    }
    let node = Node::new().await;
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "1", "--nodes", "1,3"]);
    let (_caller, list) = kubelet.meets().await;
    assert_eq!(list.ids(), ["n1-0000", "n3-0000"]);
}
