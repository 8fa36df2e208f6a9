//! The link that stands in a pod's namespace for its port, so that what asks the kernel is told the truth.

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::sandbox::Sandbox;

#[test]
fn ip_addr_in_the_pod_tells_the_truth() {
    let Some(bed) = Bed::open() else { return };
    bed.network("blue", &["--max-mtu", "1400"]);
    bed.node.add_device("n0-0000");
    let pod = Sandbox::new("shop", "web");
    let mut config = bed.config("blue", "n0-0000");
    config["stub"] = "tap".into();
    config["ips"] = json!(["10.77.0.9/24", "fd00:77::9/64"]);
    config["routes"] = json!([
        { "dst": "10.99.0.0/16", "gw": "10.77.0.1" },
        { "dst": "0.0.0.0/0", "gw": "10.77.0.1" },
    ]);
    let result = bed.node.add(&pod, "net1", &config);
    let links = pod.links();
    let link = links.iter().find(|link| link["ifname"] == "net1").expect("the link is there");
    assert_eq!(link["address"], result["interfaces"][0]["mac"], "{link}");
    assert_eq!(link["mtu"], 1400, "{link}");
    let flags = link["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("UP")), "{link}");
    let addresses = global(link);
    assert_eq!(addresses, ["10.77.0.9/24", "fd00:77::9/64"]);
    let output = pod.run(&["ip", "-json", "-4", "route"]);
    let routes: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        routes.iter().any(|route| route["dst"] == "10.99.0.0/16" && route["gateway"] == "10.77.0.1"),
        "{routes:?}"
    );
    assert!(!routes.iter().any(|route| route["dst"] == "default"), "a default route: {routes:?}");

    // The same again changes nothing; what comes back is the same.
    assert_eq!(bed.node.add(&pod, "net1", &config), result);
    let again = pod.links();
    let again = again.iter().find(|link| link["ifname"] == "net1").expect("the link is still there");
    for key in ["ifindex", "address", "mtu"] {
        assert_eq!(again[key], link[key], "{key}: {again}");
    }
    assert_eq!(global(again), addresses);
    bed.node.del(&pod, "net1", &config);
    assert!(!pod.links().iter().any(|link| link["ifname"] == "net1"), "the link stays");
    bed.nothing_left();

    // A link of somebody else is neither used nor removed.
    let made = pod.run(&["ip", "link", "add", "net1", "type", "bridge"]);
    assert!(made.status.success(), "{made:?}");
    let answer = bed.node.call("ADD", &pod, "net1", &config);
    assert_ne!(answer.status, 0, "{answer:?}");
    bed.node.del(&pod, "net1", &config);
    assert!(pod.links().iter().any(|link| link["ifname"] == "net1"), "somebody else's link is gone");
    bed.nothing_left();
}

/// The addresses of a link beside the one that the kernel gives it.
fn global(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().unwrap().iter().filter(|address| address["scope"] == "global");
    all.map(|address| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"])).collect()
}
