//! libcni: `tests/libcni/main.go` over Debian's package of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::conformance::namespace::Namespace;
use super::node::{self, Node, has};

const SOURCE: &str = "/usr/share/gocode/src/github.com/containernetworking/cni/libcni";

/// One configuration list, driven by libcni for one container.
struct Runtime<'a> {
    program: &'a Path,
    directory: TempDir,
    netns: Namespace,
    container: String,
    capabilities: Value,
    args: String,
}

impl<'a> Runtime<'a> {
    fn new(program: &'a Path, list: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("list.conflist"), list.to_string()).unwrap();
        let netns = Namespace::new().unwrap();
        let container = format!("libcni-{}", netns.name());
        Self { program, directory, netns, container, capabilities: json!({}), args: String::new() }
    }

    fn call(&self, verb: &str) -> Result<String, String> {
        let own = node::plugin().parent().unwrap().display().to_string();
        let mut command = Command::new(self.program);
        command
            .arg(verb)
            .arg(self.directory.path().join("list.conflist"))
            .args([&self.netns.path(), &self.container, "net1", &self.capabilities.to_string()])
            .env("CNI_PATH", format!("{own}:/usr/lib/cni"))
            .env("CNI_CACHE", self.directory.path().join("cache"));
        if !self.args.is_empty() {
            command.arg(&self.args);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    #[track_caller]
    fn ok(&self, verb: &str) -> Value {
        match self.call(verb) {
            Ok(text) if text.trim().is_empty() => Value::Null,
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(text) => panic!("{verb}: {text}"),
        }
    }

    fn links(&self) -> String {
        let output = Command::new("ip").args(["-n", self.netns.name(), "-o", "link"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Builds the Go program, from Debian's sources alone.
fn build() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = directory.join("libcni");
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libcni/main.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", directory.join("gocache"))
        .env("GOFLAGS", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn ready() -> bool {
    has(&[
        ("ip", "iproute2"),
        ("go", "golang-go"),
        (SOURCE, "golang-github-appc-cni-dev"),
        ("/usr/lib/cni/bridge", "containernetworking-plugins"),
        ("/usr/lib/cni/tuning", "containernetworking-plugins"),
    ])
}

fn list(version: &str, plugins: &Value) -> Value {
    json!({ "cniVersion": version, "name": "foreign", "plugins": plugins })
}

fn ours(node: &Node, more: &Value) -> Value {
    let mut config = json!({ "type": "cni-vhostuser", "socket": node.socket(), "network": "open" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn libcni_drives_it() {
    if !ready() {
        return;
    }
    let program = build();
    let node = Node::start();
    adds_checks_and_deletes(&program, &node);
    hands_over_capabilities(&program, &node);
    chains_with_tuning(&program, &node);
    takes_a_chain_back_when_it_is_refused(&program, &node);
    says_why(&program, &node);
    let left = node.attachments();
    assert!(!left.contains("containerId"), "{left}");
}

fn adds_checks_and_deletes(program: &Path, node: &Node) {
    for (number, version) in ["0.3.1", "0.4.0", "1.0.0"].into_iter().enumerate() {
        let config = ours(node, &json!({ "ips": [format!("10.60.0.{}/24", number + 1)], "mtu": 1400 }));
        let runtime = Runtime::new(program, &list(version, &json!([config])));
        runtime.ok("validate");
        let result = runtime.ok("add");
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["interfaces"][0]["name"], "net1");
        assert_eq!(result["interfaces"][0]["sandbox"], runtime.netns.path());
        assert_eq!(result["ips"][0]["interface"], 0);
        assert!(node.attachments().contains(&runtime.container));
        if version != "0.3.1" {
            runtime.ok("check");
        }
        runtime.ok("del");
        assert!(!node.attachments().contains(&runtime.container));
        if version != "0.3.1" {
            let text = runtime.call("check").unwrap_err();
            assert!(!text.is_empty());
        }
        // Now without a cached result.
        runtime.ok("del");
    }
}

/// What a runtime passes as capabilities arrives where it counts.
fn hands_over_capabilities(program: &Path, node: &Node) {
    let capabilities = json!({ "capabilities": { "ips": true, "mac": true, "CNIDeviceInfoFile": true } });
    let mut runtime = Runtime::new(program, &list("1.0.0", &json!([ours(node, &capabilities)])));
    let said = runtime.ok("validate");
    assert!(said.as_array().unwrap().iter().any(|word| word == "mac"), "{said}");
    let file = runtime.directory.path().join("info/device.json");
    runtime.capabilities =
        json!({ "ips": ["10.60.1.7/24"], "mac": "02:60:00:00:00:07", "CNIDeviceInfoFile": file });
    runtime.args =
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=1=2".into();
    let result = runtime.ok("add");
    assert_eq!(result["interfaces"][0]["mac"], "02:60:00:00:00:07");
    assert_eq!(result["ips"][0]["address"], "10.60.1.7/24");
    let info: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(info["type"], "vhost-user");
    assert!(node.attachments().contains("prod"));
    runtime.ok("check");
    runtime.ok("del");
    assert!(!file.exists());
}

/// Debian's tuning after ours: it works on the stub link, and passes our result on.
fn chains_with_tuning(program: &Path, node: &Node) {
    let first = ours(node, &json!({ "stub": "tap", "ips": ["10.60.2.1/24"] }));
    let second = json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.net1.arp_filter": "1" } });
    let runtime = Runtime::new(program, &list("1.0.0", &json!([first, second])));
    let result = runtime.ok("add");
    assert_eq!(result["ips"][0]["address"], "10.60.2.1/24");
    assert!(runtime.links().contains("net1"));
    let output = Command::new("ip")
        .args(["netns", "exec", runtime.netns.name(), "cat", "/proc/sys/net/ipv4/conf/net1/arp_filter"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1");
    runtime.ok("check");
    runtime.ok("del");
    assert!(!runtime.links().contains("net1"));
}

/// After bridge the name is taken: the whole list is refused, and the runtime's DEL takes back what bridge made.
fn takes_a_chain_back_when_it_is_refused(program: &Path, node: &Node) {
    let bridge = format!("cnf{}", std::process::id() % 1_000_000);
    let first = json!({ "type": "bridge", "bridge": bridge });
    let runtime = Runtime::new(program, &list("1.0.0", &json!([first, ours(node, &json!({}))])));
    let text = runtime.call("add").unwrap_err();
    assert!(text.contains("net1"), "{text}");
    assert!(!node.attachments().contains(&runtime.container));
    runtime.ok("del");
    assert!(!runtime.links().contains("net1"), "{}", runtime.links());
    Command::new("ip").args(["link", "delete", &bridge]).output().unwrap();
}

/// A refusal reaches the runtime's user in our words, not as output that could not be decoded.
fn says_why(program: &Path, node: &Node) {
    for (more, words) in [
        (json!({ "network": "nowhere" }), "nowhere"),
        (json!({ "network": "nobody" }), "nobody"),
        (json!({ "mut": 1500 }), "mut"),
        (json!({ "network": "devices" }), "podswitch.io/vhost-user"),
        (json!({ "socket": "/run/no-such-daemon/api.sock" }), "/run/no-such-daemon/api.sock"),
    ] {
        let runtime = Runtime::new(program, &list("1.0.0", &json!([ours(node, &more)])));
        let text = runtime.call("add").unwrap_err();
        assert!(text.contains(words), "{more}: {text}");
        assert!(!text.contains("unexpected") && !text.contains("unmarshal"), "{text}");
        runtime.ok("del");
    }
    let newer = Runtime::new(program, &list("1.1.0", &json!([ours(node, &json!({}))])));
    // This libcni speaks 1.0.0 at most; what it says is its own affair, that it says it is not.
    assert!(!newer.call("add").unwrap_err().is_empty());
    assert!(!node.attachments().contains(&newer.container) || newer.call("del").is_ok());
}
