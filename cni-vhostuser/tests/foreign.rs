//! Runtimes and IPAM plugins that others wrote: containerd, libcni through a small Go program, Debian's host-local,
//! static, bridge and tuning.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "conformance/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the example cni-conformance")]
mod conformance;
#[path = "foreign/containerd.rs"]
mod containerd;
#[path = "foreign/cri.rs"]
mod cri;
#[path = "foreign/libcni.rs"]
mod libcni;
#[allow(dead_code, unreachable_pub, reason = "shared with the test conformance")]
mod node;

use std::path::Path;

use conformance::case::{Cases, Profile};
use conformance::run::Suite;
use node::{Impostors, Node, has};

/// IPAM plugins: what they give is used, and goes back on every way out.
#[test]
fn ipam_plugins_of_others() {
    let plugins = "containernetworking-plugins";
    if !has(&[("ip", "iproute2"), ("/usr/lib/cni/host-local", plugins), ("/usr/lib/cni/static", plugins)]) {
        return;
    }
    let node = Node::start();
    let impostors = Impostors::start();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut suite =
        Suite::new(&node::plugin(), Profile::read(&cases.join("plugins/cni-vhostuser.toml")).unwrap());
    suite.set = node.variables(&impostors);
    let files = ["ours/ipam.toml", "ours/ipam-broken.toml"];
    let report = suite.run(&files.map(|name| Cases::read(&cases.join(name)).unwrap()));
    println!("{report}");
    assert!(report.broken().is_empty(), "{:?}", report.broken());
    assert!(report.asked() >= 44, "only {} cases were asked", report.asked());
}
