//! The end of a plugin, and the end of all that it made.

use std::fs;
use std::process::ExitStatus;

use crate::kubelet::Kubelet;
use crate::node::{Node, is_root};
use crate::switch::Switch;

async fn clean_up(node: &Node, arguments: &[&str]) -> ExitStatus {
    node.plugin(&[&["--cleanup"], arguments].concat()).ended().await
}

#[tokio::test]
async fn ended_it_takes_its_sockets_and_leaves_what_pods_have() {
    if !is_root("a plugin ends") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "2"]);
    let (mut caller, _list) = kubelet.meets().await;
    caller.allocate(&["n0-0001"]).await.unwrap();
    let file = node.seen("run/devices/n0-0001/socket/file");
    fs::write(&file, "").unwrap();
    assert_eq!(fs::read_dir(node.path("devinfo/dp")).unwrap().count(), 1);

    assert_eq!(plugin.terminate().await.code(), Some(0));
    assert_eq!(fs::read_dir(node.path("devinfo/dp")).unwrap().count(), 0);
    let left: Vec<_> = fs::read_dir(node.path("kubelet")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["kubelet.sock"]);
    assert!(file.exists());
    assert_eq!(node.mounts("run").len(), 2);
}

#[tokio::test]
async fn a_clean_up_takes_everything_but_what_is_attached() {
    if !is_root("a clean-up") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "3"]);
    let (mut caller, _list) = kubelet.meets().await;
    caller.allocate(&["n0-0001", "n0-0002"]).await.unwrap();
    plugin.kill();
    let devices = || {
        let mut names: Vec<_> = fs::read_dir(node.seen("run/devices"))
            .map(|all| all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort_unstable();
        names
    };
    // A directory that the switch made for a pod without a device.
    fs::create_dir(node.seen("run/devices/x00c0ffee00c0ffe")).unwrap();
    fs::write(node.seen("run/devices/n0-0000/socket/file"), "").unwrap();
    fs::write(node.seen("run/devices/n0-0002/port/port.json"), "{}").unwrap();

    switch.change(|state| state.attached = vec!["n0-0001".into()]);
    assert_eq!(clean_up(&node, &[]).await.code(), Some(1));
    assert_eq!(devices(), ["n0-0001", "x00c0ffee00c0ffe"]);
    assert_eq!(node.mounts("run").len(), 1);
    let info = |id: &str| node.path(&format!("devinfo/dp/podswitch.io-vhost-user-{id}-device.json")).exists();
    assert!(info("n0-0001") && !info("n0-0002"));
    assert!(fs::read_to_string(node.path("log")).unwrap().contains("still attached"));
    assert!(!node.path("kubelet/podswitch_podswitch.io_vhost-user.sock").exists());

    // Without the switch the port file tells who is attached.
    switch.stop();
    fs::write(node.seen("run/devices/n0-0001/port/port.json"), "{}").unwrap();
    assert_eq!(clean_up(&node, &[]).await.code(), Some(1));
    assert_eq!(devices(), ["n0-0001", "x00c0ffee00c0ffe"]);
    // Even one that somebody is in.
    let open = fs::File::open(node.seen("run/devices/n0-0001/socket")).unwrap();
    assert_eq!(clean_up(&node, &["--force"]).await.code(), Some(0));
    drop(open);
    assert_eq!(devices(), ["x00c0ffee00c0ffe"]);
    assert!(node.mounts("run").is_empty());
    assert!(!node.path("run/device-plugin.json").exists());
    assert_eq!(fs::read_dir(node.path("devinfo/dp")).unwrap().count(), 0);
    // Nothing to do is success.
    fs::remove_dir(node.seen("run/devices/x00c0ffee00c0ffe")).unwrap();
    assert_eq!(clean_up(&node, &[]).await.code(), Some(0));
    assert_eq!(clean_up(&node, &[]).await.code(), Some(0));
}
