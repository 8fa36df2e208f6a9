//! From registration to the start of a container.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use proto::kubelet::device_plugin::{ContainerPreferredAllocationRequest, Empty, PreferredAllocationRequest};
use tonic::Code;

use crate::kubelet::{Kubelet, owned};
use crate::node::{Node, is_root};
use crate::switch::Switch;

#[tokio::test]
async fn a_container_gets_its_directories_and_is_told_of_them() {
    if !is_root("a container gets its directories") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0, 1]);
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "2"]);

    let registered = kubelet.registered().await;
    assert_eq!(registered.request.version, "v1beta1");
    assert_eq!(registered.request.resource_name, "podswitch.io/vhost-user");
    assert_eq!(registered.directories, 4, "all are there before it registers");
    let mut caller = kubelet.call(&registered).await;
    let options = caller.0.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
    assert!(options.pre_start_required && options.get_preferred_allocation_available);
    assert_eq!(registered.request.options, Some(options));

    let list = caller.list().await;
    let healthy = |id: &str, numa| (id.to_owned(), ("Healthy".to_owned(), numa));
    let expected =
        [healthy("n0-0000", 0), healthy("n0-0001", 0), healthy("n1-0000", 1), healthy("n1-0001", 1)];
    assert_eq!(list.now, BTreeMap::from(expected));

    let prefer = ContainerPreferredAllocationRequest {
        available_device_i_ds: owned(&["n1-0001", "n0-0001", "n1-0000"]),
        must_include_device_i_ds: vec![],
        allocation_size: 2,
    };
    let request = PreferredAllocationRequest { container_requests: vec![prefer] };
    let answer = caller.0.get_preferred_allocation(request).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].device_i_ds, ["n1-0000", "n1-0001"]);

    let container = caller.allocate(&["n1-0001", "n0-0000"]).await.unwrap();
    assert_eq!(
        container.envs,
        BTreeMap::from([("PODSWITCH_VHOST_DEVICES".to_owned(), "n0-0000,n1-0001".to_owned())])
    );
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|m| (m.container_path.as_str(), m.host_path.clone(), m.read_only))
        .collect();
    let host = |path: &str| node.path(path).to_str().unwrap().to_owned();
    let expected = [
        ("/run/podswitch/ports/n0-0000", host("run/devices/n0-0000/port"), true),
        ("/run/podswitch/sockets/n0-0000", host("run/devices/n0-0000/socket"), false),
        ("/run/podswitch/ports/n1-0001", host("run/devices/n1-0001/port"), true),
        ("/run/podswitch/sockets/n1-0001", host("run/devices/n1-0001/socket"), false),
        ("/run/podswitch/bin", host("programs"), true),
    ];
    assert_eq!(mounts, expected);

    let file = node.path("devinfo/dp/podswitch.io-vhost-user-n1-0001-device.json");
    let info: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let path = "/run/podswitch/sockets/n1-0001/vhost.sock";
    let expected = serde_json::json!({
        "type": "vhost-user", "version": "1.1.0", "vhost-user": {"mode": "server", "path": path}
    });
    assert_eq!(info, expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);

    for wrong in ["n0-0002", "n2-0000", "", "../n0-0000", &"x".repeat(500)] {
        let refused = caller.allocate(&["n0-0000", wrong]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
        assert_eq!(caller.pre_start(&[wrong]).await.unwrap_err().code(), Code::InvalidArgument, "{wrong}");
    }
    assert_eq!(fs::read_dir(node.path("devinfo/dp")).unwrap().count(), 2);
    caller.pre_start(&["n0-0000", "n1-0001"]).await.unwrap();
}

#[tokio::test]
async fn before_a_container_starts_its_directories_are_repaired() {
    if !is_root("directories are repaired") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let _plugin = node.plugin(&["--devices", "2", "--socket-group", "107"]);
    let (mut caller, _list) = kubelet.meets().await;
    let device = "run/devices/n0-0000";
    let seen = |path: &str| node.seen(&format!("{device}/{path}"));
    let mode = |path: &str| {
        let seen = fs::metadata(seen(path)).unwrap();
        (seen.mode() & 0o7777, seen.uid(), seen.gid())
    };
    assert_eq!(mode("port"), (0o755, 0, 0));
    assert_eq!(mode("socket"), (0o2770, 0, 107));

    // What the last container, or somebody's hand, left.
    drop(UnixListener::bind(seen("socket/vhost.sock")).unwrap());
    let alive = UnixListener::bind(seen("socket/alive.sock")).unwrap();
    fs::write(seen("socket/notes"), "of the pod").unwrap();
    std::os::unix::fs::chown(seen("socket"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(seen("socket"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(seen("port"), fs::Permissions::from_mode(0o700)).unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert_eq!(mode("port"), (0o755, 0, 0));
    assert_eq!(mode("socket"), (0o2770, 0, 107));
    assert!(!seen("socket/vhost.sock").exists(), "a socket that nobody has");
    assert!(seen("socket/alive.sock").exists() && seen("socket/notes").exists());
    drop(alive);

    // The switch makes the socket: a dead one is the switch's to replace, whose restart this may be.
    fs::write(seen("port/port.json"), r#"{"version": 1, "mode": "client"}"#).unwrap();
    drop(UnixListener::bind(seen("socket/vhost.sock")).unwrap());
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert!(seen("socket/vhost.sock").exists());
    fs::write(seen("port/port.json"), r#"{"version": 1, "mode": "server"}"#).unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert!(!seen("socket/vhost.sock").exists());

    // All of it gone: it is made again, and mounted once.
    let socket = node.path("run/devices/n0-0000/socket");
    node.run(&["umount", socket.to_str().unwrap()]);
    fs::remove_dir_all(seen("")).unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert_eq!(mode("port"), (0o755, 0, 0));
    assert_eq!(mode("socket"), (0o2770, 0, 107));
    assert_eq!(node.mounts("run/devices/n0-0000").len(), 1);

    // Something that is no directory is not followed.
    node.run(&["umount", socket.to_str().unwrap()]);
    fs::remove_dir(seen("socket")).unwrap();
    std::os::unix::fs::symlink("/etc", seen("socket")).unwrap();
    let refused = caller.pre_start(&["n0-0000"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("n0-0000/socket"), "{}", refused.message());
    caller.pre_start(&["n0-0001"]).await.unwrap();
}

#[tokio::test]
async fn two_pools_are_two_resources_with_devices_of_their_own() {
    if !is_root("two pools") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let file = node.path("pools.toml");
    let pool = |name: &str| format!("[[pool]]\nresource = \"podswitch.io/{name}\"\ndevices = 1\n");
    fs::write(&file, pool("vhost-user") + &pool("fast")).unwrap();
    let _plugin = node.plugin(&["--config", file.to_str().unwrap()]);
    let registrations = [kubelet.registered().await, kubelet.registered().await];
    let mut lists = BTreeMap::new();
    for registered in &registrations {
        let mut caller = kubelet.call(registered).await;
        let list = caller.list().await;
        let name = registered.request.resource_name.clone();
        let id = list.ids()[0].to_owned();
        let container = caller.allocate(&[&id]).await.unwrap();
        let variable = container.envs.into_keys().next().unwrap();
        assert!(caller.allocate(&[if id == "n0-0000" { "n0-1000" } else { "n0-0000" }]).await.is_err());
        lists.insert(name, (id, variable));
    }
    let entry =
        |name: &str, id: &str, variable: &str| (name.to_owned(), (id.to_owned(), variable.to_owned()));
    let expected = [
        entry("podswitch.io/vhost-user", "n0-0000", "PODSWITCH_VHOST_DEVICES"),
        entry("podswitch.io/fast", "n0-1000", "PODSWITCH_VHOST_DEVICES_PODSWITCH_IO_FAST"),
    ];
    assert_eq!(lists, BTreeMap::from(expected));
    assert_ne!(registrations[0].request.endpoint, registrations[1].request.endpoint);

    fs::write(&file, pool("vhost-user") + "uplinks = [\"p0\"]\n").unwrap();
    let refused = node.plugin(&["--config", file.to_str().unwrap()]);
    assert_eq!(refused.ended().await.code(), Some(1));
    assert!(fs::read_to_string(node.path("log")).unwrap().contains("not offered"));
}
