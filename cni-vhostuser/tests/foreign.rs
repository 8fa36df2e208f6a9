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

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;

use conformance::case::{Cases, Profile};
use conformance::run::Suite;
use node::{Node, has};

/// IPAM plugins: what they give is used, and goes back on every way out.
#[test]
fn ipam_plugins_of_others() {
    let plugins = "containernetworking-plugins";
    if !has(&[("ip", "iproute2"), ("/usr/lib/cni/host-local", plugins), ("/usr/lib/cni/static", plugins)]) {
        return;
    }
    let node = Node::start();
    let deaf = node.directory().join("deaf.sock");
    let _deaf = UnixListener::bind(&deaf).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut suite =
        Suite::new(&node::plugin(), Profile::read(&cases.join("plugins/cni-vhostuser.toml")).unwrap());
    suite.set = BTreeMap::from([
        ("socket".into(), node.socket().display().to_string()),
        ("root".into(), node.root().display().to_string()),
        ("cli".into(), node.cli()),
        ("deaf".into(), deaf.display().to_string()),
    ]);
    let report = suite.run(&[Cases::read(&cases.join("ours/ipam.toml")).unwrap()]);
    println!("{report}");
    assert!(report.broken().is_empty(), "{:?}", report.broken());
    assert!(report.asked() >= 28, "only {} cases were asked", report.asked());
}
