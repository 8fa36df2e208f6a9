//! The plugin, and others, held to the cases of `tests/cases`; and the suite held to a plugin that is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "conformance/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the example cni-conformance")]
mod conformance;
#[allow(dead_code, unreachable_pub, reason = "shared with the test foreign")]
mod node;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use conformance::case::{Cases, Profile};
use conformance::report::Verdict;
use conformance::run::Suite;
use node::{Impostors, Node, has};

const NETNS: (&str, &str) = ("ip", "iproute2");

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

fn cases(name: &str) -> Cases {
    Cases::read(&file(name)).unwrap()
}

fn profile(name: &str) -> Profile {
    Profile::read(&file(name)).unwrap()
}

/// Runs a suite over files; every case must hold.
#[track_caller]
fn holds(suite: &Suite, files: &[Cases], at_least: usize) {
    let report = suite.run(files);
    println!("{report}");
    assert!(report.broken().is_empty(), "{}: {:?}", report.plugin, report.broken());
    // Nothing was left out by a change of the files.
    assert!(report.asked() >= at_least, "only {} cases were asked", report.asked());
}

#[test]
fn cni_vhostuser_keeps_the_specification_and_its_own_word() {
    if !has(&[NETNS, ("/usr/lib/cni/host-local", "containernetworking-plugins")]) {
        return;
    }
    let node = Node::start();
    let impostors = Impostors::start();
    let mut suite = Suite::new(&node::plugin(), profile("plugins/cni-vhostuser.toml"));
    suite.set = node.variables(&impostors);
    let own = ["results", "values", "daemon", "policy", "devices", "links", "chaining", "check", "removal"];
    let mut files = vec![cases("any-plugin.toml")];
    files.extend(own.iter().map(|name| cases(&format!("ours/{name}.toml"))));
    holds(&suite, &files, 137);
    let left = node.attachments();
    assert!(!left.contains("containerId") && !left.contains("container_id"), "attachments stay:\n{left}");
}

#[test]
fn debians_host_local_keeps_the_specification() {
    if has(&[NETNS, ("/usr/lib/cni/host-local", "containernetworking-plugins")]) {
        let suite = Suite::new(Path::new("/usr/lib/cni/host-local"), profile("plugins/host-local.toml"));
        holds(&suite, &[cases("any-plugin.toml")], 50);
    }
}

#[test]
fn debians_bridge_keeps_the_specification() {
    if has(&[NETNS, ("/usr/lib/cni/bridge", "containernetworking-plugins")]) {
        let suite = Suite::new(Path::new("/usr/lib/cni/bridge"), profile("plugins/bridge.toml"));
        holds(&suite, &[cases("any-plugin.toml")], 50);
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistakes {
    wrong: BTreeMap<String, Vec<String>>,
}

/// The suite finds nothing wrong with a plugin that is right, and each mistake in the cases that are there for it.
#[test]
fn a_wrong_plugin_is_caught() {
    if !has(&[NETNS, ("jq", "jq"), ("nsenter", "util-linux")]) {
        return;
    }
    let plugin = file("self/plugin.sh");
    let right = Suite::new(&plugin, profile("self/plugin.toml"));
    let all = cases("any-plugin.toml");
    holds(&right, std::slice::from_ref(&all), 50);

    let text = std::fs::read_to_string(file("self/wrong.toml")).unwrap();
    let mistakes: Mistakes = toml::from_str(&text).unwrap();
    for (wrong, expected) in &mistakes.wrong {
        let mut suite = right.clone();
        suite.profile.env.insert("WRONG".into(), wrong.clone());
        let mut some = all.clone();
        some.cases.retain(|case| expected.contains(&case.name));
        assert_eq!(some.cases.len(), expected.len(), "{wrong}: a case of that name is missing");
        let report = suite.run(&[some]);
        println!("{wrong}:\n{report}");
        for name in expected {
            let caught = report.entries.iter().any(|entry| {
                entry.case.split(" (").next() == Some(name) && matches!(entry.verdict, Verdict::Broken(_))
            });
            assert!(caught, "a plugin with the mistake {wrong:?} passes {name:?}:\n{report}");
        }
    }
}
