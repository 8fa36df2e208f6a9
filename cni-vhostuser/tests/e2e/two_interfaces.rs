//! A pod with two interfaces in two containers: device ids come in whatever order, and no interface goes by its number.

use crate::bed::{Bed, Told};
use crate::support::frame::BROADCAST;
use crate::support::pod::{Behind, Pod};
use crate::support::sandbox::{Container, Sandbox};
use crate::support::wait;

/// The kubelet gives the first container the device that the second network's attachment gets.
#[test]
fn devices_in_reverse_order_land_each_in_its_own_network() {
    let Some(bed) = Bed::open() else { return };
    let devices = ["n0-0000", "n0-0001", "n0-0002", "n0-0003"];
    devices.iter().for_each(|id| bed.node.add_device(id));
    for (network, range) in [("blue", "10.1.0.0/24"), ("green", "10.2.0.0/24")] {
        bed.network(network, &["--range", range]);
    }
    let config = |network: &str, device: &str, ip: &str| {
        let mut config = bed.config(network, device);
        config["ips"] = serde_json::json!([ip]);
        config
    };

    let pod = Sandbox::new("shop", "both");
    let net1 =
        Told::of(&bed.node.add(&pod, "net1", &config("blue", devices[1], "10.1.0.1/24")), &pod, "net1");
    let net2 =
        Told::of(&bed.node.add(&pod, "net2", &config("green", devices[0], "10.2.0.1/24")), &pod, "net2");
    let peers = ["blue-peer", "green-peer"].map(|name| Sandbox::new("bank", name));
    let blue = bed.node.add(&peers[0], "net1", &config("blue", devices[2], "10.1.0.2/24"));
    let green = bed.node.add(&peers[1], "net1", &config("green", devices[3], "10.2.0.2/24"));
    let (blue, green) = (Told::of(&blue, &peers[0], "net1"), Told::of(&green, &peers[1], "net1"));

    let first = Container::new(&bed.node, &pod, &[devices[0]]);
    let second = Container::new(&bed.node, &pod, &[devices[1]]);
    let helper = "/run/podswitch/bin/podswitch-port";
    let other = first.run(&[helper, "net1", "--format", "path"]);
    assert!(!other.status.success(), "the first container knows of the other's interface: {other:?}");
    assert_eq!(
        first.ok(&[helper, "net2", "--format", "path"]).trim(),
        "/run/podswitch/sockets/n0-0000/vhost.sock"
    );
    // A container that has both finds each by its name.
    let both = Container::new(&bed.node, &pod, &devices[..2]);
    assert_eq!(
        both.ok(&[helper, "net1", "--format", "path"]).trim(),
        "/run/podswitch/sockets/n0-0001/vhost.sock"
    );

    let containers = peers
        .each_ref()
        .map(|peer| Container::new(&bed.node, peer, &[devices[if peer.pod == "blue-peer" { 2 } else { 3 }]]));
    let mut pods: Vec<Pod> = [
        (&second, "in-blue", "net1"),
        (&first, "in-green", "net2"),
        (&containers[0], "blue-peer", "net1"),
        (&containers[1], "green-peer", "net1"),
    ]
    .map(|(container, name, ifname)| Pod::launch(&bed.pod(container, name, ifname, Behind::Captures)))
    .into();
    pods.iter_mut().for_each(Pod::ready);
    for port in bed.node.ports() {
        bed.node.switch.wait_running(&port);
    }

    // Each peer speaks to everybody in its network, and to the pod's interface there.
    for (peer, from, to, tenant) in [(2, &blue, &net1, 1), (3, &green, &net2, 2)] {
        let mut stream = from.to(to, tenant);
        let mut sent = stream.frames(50, 200);
        stream.destination = BROADCAST;
        sent.extend(stream.frames(50, 200));
        pods[peer].send(&sent);
        let receiver = &pods[usize::from(tenant == 2)];
        wait::until("the frames to arrive", || (receiver.received().len() >= sent.len()).then_some(()));
    }
    bed.node.switch.settle();
    for (number, tenant) in [(0, 1), (1, 2)] {
        let received = pods[number].received();
        let tenants: Vec<u32> = received
            .iter()
            .filter_map(|frame| crate::support::frame::Marks::of(frame))
            .map(|marks| marks.tenant)
            .collect();
        assert_eq!(tenants, [tenant; 100], "frames of another network");
    }
    assert!(pods.into_iter().all(Pod::quit), "a pod did not end cleanly");
    for (sandbox, ifname) in [(&pod, "net1"), (&pod, "net2"), (&peers[0], "net1"), (&peers[1], "net1")] {
        // The configuration of a deletion need not be that of the addition: the name of the network counts.
        let network = if ifname == "net2" || sandbox.pod == "green-peer" { "green" } else { "blue" };
        bed.node.del(sandbox, ifname, &bed.node.config(network));
    }
    bed.nothing_left();
}
