//! From ADD to frames to DEL: both modes, as root and as a user without any privilege, whatever its umask.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Told, has_plugins, passes};
use crate::support::pod::{Behind, Pod};
use crate::support::sandbox::{Container, Sandbox, User};
use crate::support::{wait, watch};

#[derive(Clone, Copy, Debug)]
struct Cell {
    mode: &'static str,
    user: User,
    umask: &'static str,
}

#[test]
fn pods_reach_each_other_in_server_mode() {
    grid("server");
}

#[test]
fn pods_reach_each_other_in_client_mode() {
    grid("client");
}

fn grid(mode: &'static str) {
    let Some(bed) = Bed::open().filter(|_| has_plugins()) else { return };
    bed.network("blue", &["--range", "10.77.0.0/24"]);
    bed.node.add_device("n0-0000");
    bed.node.add_device("n0-0001");
    // The first pods of a daemon may leave it with what it keeps for the next ones.
    let mut descriptors = None;
    for (user, umask) in [(User::Tenant, "077"), (User::Root, "022"), (User::Tenant, "022")] {
        let cell = Cell { mode, user, umask };
        eprintln!("{cell:?}");
        life(&bed, cell);
        bed.nothing_left();
        assert_eq!(bed.reserved("blue"), [""; 0]);
        let pid = bed.node.switch.pid();
        let Some(before) = descriptors else {
            descriptors = Some(wait::settled(Duration::from_secs(1), || watch::descriptors(pid)));
            continue;
        };
        wait::until("the daemon's descriptors to be as many as before", || {
            (watch::descriptors(pid) <= before).then_some(())
        });
    }
}

fn life(bed: &Bed, cell: Cell) {
    let names = ["a", "b"];
    let sandboxes = names.map(|name| Sandbox::new("shop", name));
    let configs: Vec<Value> = ["n0-0000", "n0-0001"]
        .map(|device| {
            let mut config = bed.config("blue", device);
            config["mode"] = cell.mode.into();
            config["ipam"] = bed.host_local("10.77.0.0/24");
            config
        })
        .into();
    let results: Vec<Value> = sandboxes
        .iter()
        .zip(&configs)
        .map(|(sandbox, config)| bed.node.add(sandbox, "net1", config))
        .collect();
    let told: Vec<Told> =
        results.iter().zip(&sandboxes).map(|(result, sandbox)| Told::of(result, sandbox, "net1")).collect();
    assert_ne!(told[0].mac, told[1].mac);
    assert_ne!(told[0].ip, told[1].ip);
    assert_eq!(bed.reserved("blue").len(), 2);

    let mut pods: Vec<Pod> = Vec::new();
    for (number, sandbox) in sandboxes.iter().enumerate() {
        let device = ["n0-0000", "n0-0001"][number];
        let mut container = Container::new(&bed.node, sandbox, &[device]);
        container.user = cell.user;
        container.umask = cell.umask;
        facts_are_those_of_the_result(&container, device, &results[number], cell);
        // Files of a user are its own: other users have others.
        let name = format!("{}-{:?}-{}", names[number], cell.user, cell.umask);
        pods.push(Pod::launch(&bed.pod(&container, &name, "net1", Behind::Captures)));
    }
    pods.iter_mut().for_each(Pod::ready);
    for port in bed.node.ports() {
        bed.node.switch.wait_running(&port);
    }
    let [a, b] = &mut pods[..] else { unreachable!() };
    passes(a, b, &told[0].to(&told[1], 1));
    passes(b, a, &told[1].to(&told[0], 2));
    for number in 0..sandboxes.len() {
        let mut config = configs[number].clone();
        config["prevResult"] = results[number].clone();
        let check = bed.node.call("CHECK", &sandboxes[number], "net1", &config);
        assert_eq!(check.status, 0, "{cell:?}: {check:?}");
    }
    assert!(pods.into_iter().all(Pod::quit), "{cell:?}: a pod did not end cleanly");

    for (sandbox, config) in sandboxes.iter().zip(&configs) {
        bed.node.del(sandbox, "net1", config);
        bed.node.del(sandbox, "net1", config);
    }
}

/// What the helper tells the application is what the runtime was told, at paths of the pod.
fn facts_are_those_of_the_result(container: &Container, device: &str, result: &Value, cell: Cell) {
    let text = container.ok(&["/run/podswitch/bin/podswitch-port", "net1", "--format", "json"]);
    let facts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(facts["mac"], result["interfaces"][0]["mac"], "{facts}");
    assert_eq!(facts["ips"][0]["address"], result["ips"][0]["address"], "{facts}");
    assert_eq!(facts["mode"], cell.mode, "{facts}");
    let path = format!("/run/podswitch/sockets/{device}/vhost.sock");
    assert_eq!(facts["path"], json!(path));
    // The pod's view of the directory that it cannot write to, and of the one that it can.
    let written = container.run(&["touch", &format!("/run/podswitch/ports/{device}/x")]);
    assert!(!written.status.success(), "the port file's directory can be written to");
    let host = container.run(&["ls", result["interfaces"][0]["socketPath"].as_str().unwrap()]);
    assert!(!host.status.success(), "the host's path leads somewhere in the pod");
    if cell.mode == "client" {
        let socket = wait::until("the switch's socket", || {
            let output = container.run(&["stat", "-c", "%A %u %g", &path]);
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        });
        assert_eq!(socket.trim(), "srw-rw---- 0 2107");
    }
}
