//! What lies on the host: bounded file systems, in the host's mount namespace and nowhere else, made with few
//! capabilities.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::getxattr;

use crate::kubelet::Kubelet;
use crate::node::{Node, PROGRAM, bound, is_root, until};
use crate::switch::Switch;

#[tokio::test]
async fn a_pod_can_fill_its_own_directory_and_no_other() {
    if !is_root("a pod fills its directory") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let label = "system_u:object_r:container_file_t:s0";
    let _plugin = node.plugin(&["--devices", "2", "--socket-inodes", "32", "--selinux-label", label]);
    let (mut caller, _list) = kubelet.meets().await;

    let mounts = node.mounts("run");
    assert_eq!(mounts.len(), 2, "{mounts:?}");
    for mount in &mounts {
        for word in ["nosuid", "nodev", "noexec", "tmpfs", "size=64k", "nr_inodes=32", "mode=2770"] {
            assert!(mount.contains(word), "{word}: {mount}");
        }
    }
    let directory = node.seen("run/devices/n0-0000/socket");
    let mut files = 0;
    let refused = loop {
        match fs::write(directory.join(format!("file-{files}")), "") {
            Ok(()) => files += 1,
            Err(error) => break error,
        }
        assert!(files < 1000, "it is not bounded");
    };
    // The directory itself is one, its label another.
    assert_eq!((refused.kind(), files), (ErrorKind::StorageFull, 30));
    let large = fs::write(directory.join("file-0"), vec![0; 128 << 10]).unwrap_err();
    assert_eq!(large.kind(), ErrorKind::StorageFull);
    // A full directory can be prepared, and its neighbour is not full.
    caller.pre_start(&["n0-0000"]).await.unwrap();
    fs::write(node.seen("run/devices/n0-0001/socket/file"), vec![0; 32 << 10]).unwrap();

    for name in ["port", "socket"] {
        let mut value = [0_u8; 100];
        let path = node.seen(&format!("run/devices/n0-0001/{name}"));
        let length = getxattr(path, "security.selinux", &mut value).unwrap();
        assert_eq!(std::str::from_utf8(&value[..length]).unwrap(), label);
    }
}

#[tokio::test]
async fn a_confined_plugin_mounts_where_the_host_sees_it() {
    if !is_root("a confined plugin mounts") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    // What the manifest grants, in a mount namespace that passes nothing on.
    let granted = "-all,+sys_admin,+sys_chroot,+sys_ptrace,+chown,+fowner,+fsetid,+dac_override";
    let mut command = bound("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set", granted, "--"]);
    command.args(["unshare", "--mount", "--propagation", "private", PROGRAM, "--mount-namespace"]);
    command.arg(node.namespace());
    let plugin = node.start(command, &["--devices", "1", "--socket-group", "107"]);
    let (mut caller, _list) = kubelet.meets().await;

    let status = fs::read_to_string(format!("/proc/{}/status", plugin.id())).unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let bits = [0, 1, 3, 4, 18, 19, 21].map(|bit| 1_u64 << bit).iter().sum::<u64>();
    assert_eq!(u64::from_str_radix(effective, 16).unwrap() & !bits, 0, "no more than was granted");

    assert_eq!(node.mounts("run").len(), 1);
    assert!(node.mounts_of(&plugin.id().to_string(), "run").is_empty(), "not in its own");
    assert!(node.mounts_of("self", "run").is_empty(), "nor in ours");
    caller.allocate(&["n0-0000"]).await.unwrap();
    // A socket of another user, whom nobody let in.
    let socket = node.seen("run/devices/n0-0000/socket/vhost.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    std::os::unix::fs::chown(&socket, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert!(!socket.exists());
    assert_eq!(plugin.terminate().await.code(), Some(0));
    assert_eq!(node.mounts("run").len(), 1, "mounts stay for the pods");
}

#[tokio::test]
async fn by_itself_it_finds_the_namespace_of_process_one() {
    if !is_root("the namespace of process one is found") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    // A machine whose process 1 is a `sleep`; all of it ends with `unshare`.
    let mut machine = bound("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--propagation", "private"])
        .args(["sleep", "infinity"])
        .spawn()
        .unwrap();
    let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", machine.id()));
    let mut first = String::new();
    until("process 1 runs", || {
        first = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        fs::read_to_string(format!("/proc/{first}/comm")).is_ok_and(|name| name == "sleep\n")
    })
    .await;
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &first,
        "--pid",
        "--mount",
        "--",
        "unshare",
        "--mount",
        "--propagation",
        "private",
    ]);
    command.args([PROGRAM, "--mount-namespace", "auto"]);
    let plugin = node.start(command, &["--devices", "1"]);
    let (mut caller, _list) = kubelet.meets().await;
    assert_eq!(node.mounts_of(&first, "run").len(), 1);
    assert!(node.mounts("run").is_empty());
    caller.pre_start(&["n0-0000"]).await.unwrap();
    drop(plugin);
    machine.kill().unwrap();
    machine.wait().unwrap();
}

#[tokio::test]
async fn without_a_file_system_of_their_own_they_are_plain_directories() {
    if !is_root("plain directories have owners") {
        return;
    }
    let node = Node::new().await;
    let _switch = Switch::start(&node, &[0]);
    let mut kubelet = Kubelet::start(&node);
    let plugin = node.plugin(&["--devices", "1", "--socket-bytes", "0"]);
    let (mut caller, _list) = kubelet.meets().await;
    assert!(node.mounts("run").is_empty());
    drop(std::os::unix::net::UnixListener::bind(node.seen("run/devices/n0-0000/socket/vhost.sock")).unwrap());
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert_eq!(fs::read_dir(node.seen("run/devices/n0-0000/socket")).unwrap().count(), 0);

    // A mount would hide what somebody put there: it waits until the directory is empty.
    drop(plugin);
    kubelet = kubelet.restart(&node);
    fs::write(node.seen("run/devices/n0-0000/socket/in-use"), "").unwrap();
    let plugin = node.plugin(&["--devices", "1"]);
    let (mut caller, _list) = kubelet.meets().await;
    assert!(node.mounts("run").is_empty() && plugin.said("not empty") == 1);
    fs::remove_file(node.seen("run/devices/n0-0000/socket/in-use")).unwrap();
    caller.pre_start(&["n0-0000"]).await.unwrap();
    assert_eq!(node.mounts("run").len(), 1);
}
