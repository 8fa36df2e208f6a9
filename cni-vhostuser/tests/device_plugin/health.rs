//! Devices are offered as long as the switch can serve them, and a restart of the switch is not seen.

use crate::kubelet::Kubelet;
use crate::node::{Node, is_root, until};
use crate::switch::Switch;

#[tokio::test]
async fn a_switch_that_stays_away_makes_devices_unhealthy_until_it_is_back() {
    if !is_root("a switch stays away") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "2", "--hold-down-ms", "300"]);
    let (_caller, mut list) = kubelet.meets().await;
    list.becomes("Healthy", &["n0-0000", "n0-0001"]).await;

    switch.stop();
    list.becomes("Unhealthy", &["n0-0000", "n0-0001"]).await;
    let switch = Switch::start(&node, &[0]);
    list.becomes("Healthy", &["n0-0000", "n0-0001"]).await;
    // It answers, but says that it cannot attach.
    switch.change(|state| state.ready.code = 50);
    list.becomes("Unhealthy", &["n0-0000", "n0-0001"]).await;
    switch.change(|state| state.ready.code = 0);
    list.becomes("Healthy", &["n0-0000", "n0-0001"]).await;
    assert!(kubelet.has_no_more(), "it stayed registered");
}

#[tokio::test]
async fn a_switch_that_is_soon_back_is_not_missed() {
    if !is_root("a switch is soon back") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "2", "--hold-down-ms", "3600000"]);
    let (_caller, mut list) = kubelet.meets().await;

    let (away, back) = ("podswitchd does not answer", "podswitchd answers again");
    let before = plugin.said(away);
    switch.stop();
    until("it sees that the switch is away", || plugin.said(away) > before).await;
    let before = plugin.said(back);
    let switch = Switch::start(&node, &[0]);
    until("it sees that the switch is back", || plugin.said(back) > before).await;
    assert!(list.is_unchanged().await);
    assert!(kubelet.has_no_more());
    drop(switch);
}

#[tokio::test]
async fn devices_follow_the_workers_and_never_vanish() {
    if !is_root("workers move") {
        return;
    }
    let node = Node::new().await;
    let switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "1", "--hold-down-ms", "100"]);
    let (mut caller, mut list) = kubelet.meets().await;
    assert_eq!(list.ids(), ["n0-0000"]);

    switch.change(|state| state.ready.numa_nodes = vec![0, 1]);
    list.becomes("Healthy", &["n0-0000", "n1-0000"]).await;
    assert_eq!(node.mounts("run").len(), 2, "made before it was told of");
    caller.allocate(&["n1-0000"]).await.unwrap();

    switch.change(|state| state.ready.numa_nodes = vec![1]);
    list.becomes("Healthy", &["n1-0000"]).await;
    assert_eq!(list.of("Unhealthy"), ["n0-0000"]);
}
