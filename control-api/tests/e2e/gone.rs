//! A pod whose namespace ends and whose runtime never says so; and what an operator packs up of a switch that runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use proto::v1::attachment_service_client::AttachmentServiceClient;
use proto::v1::{
    AttachRequest, Attachment, AttachmentKey, AttachmentListResponse, NodeStatus, Owner, PortListResponse,
};
use serde_json::Value;

use crate::support::lab::Lab;
use crate::support::rpc::Rpc;
use crate::support::switch::{Setup, Switch};
use crate::support::wait;

/// A network namespace with nothing in it.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let name = format!("psw-gone-{}-{name}", std::process::id());
        assert!(ip(&["netns", "add", &name]), "ip netns add {name}");
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).status().unwrap().success()
}

fn attach(rpc: &Rpc, directory: &Path, namespace: &Namespace, pod: &str) -> Attachment {
    let path = directory.join(&namespace.0);
    let meta = std::fs::metadata(&path).unwrap();
    let request = AttachRequest {
        key: Some(AttachmentKey {
            network: "conf".into(),
            container_id: format!("container-{pod}"),
            ifname: "net1".into(),
        }),
        network: "blue".into(),
        owner: Some(Owner {
            namespace: "default".into(),
            pod: pod.into(),
            netns: path.display().to_string(),
            netns_dev: meta.dev(),
            netns_ino: meta.ino(),
            ..Owner::default()
        }),
        ..AttachRequest::default()
    };
    rpc.wait(AttachmentServiceClient::new(rpc.channel()).attach(request)).unwrap().into_inner()
}

fn attached(switch: &Switch) -> Vec<String> {
    let list: AttachmentListResponse = switch.cli().get(&["attachment", "list"]);
    let pod = |attachment: Attachment| attachment.spec.unwrap().owner.unwrap().pod;
    let mut pods: Vec<String> = list.attachments.into_iter().map(pod).collect();
    pods.sort();
    pods
}

#[test]
fn a_pod_that_is_gone_without_a_word_is_let_go_and_the_others_stay() {
    let Some(lab) = Lab::open() else { return };
    let mut setup = Setup::new(&lab, 1);
    setup.no_huge = true;
    setup.config = format!(
        "[attachments]\ndirectory = \"{}\"\nreconcile_seconds = 1\nkubelet = \"\"\n",
        lab.directory().display()
    );
    let switch = Switch::start(&lab, setup);
    switch.cli().ok(&["network", "add", "blue", "--namespace", "*", "--without-device"]);
    let namespaces = ["a", "b", "c"].map(Namespace::new);
    // A way to the directory of namespaces that can be taken away in one step.
    let directory = lab.path("netns");
    std::os::unix::fs::symlink("/run/netns", &directory).unwrap();
    let rpc = Rpc::connect(&switch.api());
    for (namespace, pod) in namespaces.iter().zip(["a", "b", "c"]) {
        let attachment = attach(&rpc, &directory, namespace, pod);
        assert!(attachment.netns_seen, "{attachment:?}");
    }
    packed(&lab, &switch);

    let [a, b, c] = namespaces;
    drop(b);
    wait::until("the pod without a namespace to be let go", || (attached(&switch).len() < 3).then_some(()));
    assert_eq!(attached(&switch), ["a", "c"]);
    let ports: PortListResponse = switch.cli().get(&["port", "list"]);
    assert_eq!(ports.ports.len(), 2);
    assert!(switch.log().contains("gone without a word"), "{}", switch.log());

    // Both that are left are missing from one moment to the next: that is no proof, and said.
    std::fs::remove_file(&directory).unwrap();
    let warning = wait::until("a warning in the status", || {
        let status: NodeStatus = switch.cli().get(&["status"]);
        status.warnings.into_iter().find(|text| text.contains("no namespace of any attached pod"))
    });
    assert!(warning.contains(&directory.display().to_string()), "{warning}");
    assert_eq!(attached(&switch), ["a", "c"]);
    drop((a, c));
}

/// The examination and the archive while the daemon runs.
fn packed(lab: &Lab, switch: &Switch) {
    let config = lab.path("podswitchd.toml").display().to_string();
    let outcome = switch.cli().run(&["-o", "json", "doctor", "--config", &config]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let daemon = checks.iter().find(|check| check["check"] == "podswitchd").unwrap();
    let process = format!("process {}", switch.pid());
    assert!(daemon["found"].as_str().unwrap().contains(&process), "{daemon}");

    let file = lab.path("support.tar.gz").display().to_string();
    switch.cli().ok(&["support", "--file", &file, "--config", &config]);
    let inside = lab.path("support");
    std::fs::create_dir(&inside).unwrap();
    let unpack = ["-xzf", &file, "--strip-components=1", "-C", inside.to_str().unwrap()];
    assert!(Command::new("tar").args(unpack).status().unwrap().success());
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(Path::new(&inside).join(name));
        serde_json::from_str(&text.unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap()
    };
    assert_eq!(read("status.json")["pid"], switch.pid());
    assert_eq!(read("networks.json")["networks"].as_array().unwrap().len(), 1);
    assert_eq!(read("ports.json")["ports"].as_array().unwrap().len(), 3);
    assert_eq!(read("attachments.json")["attachments"].as_array().unwrap().len(), 3);
    assert_eq!(read("stats.json")["ports"].as_array().unwrap().len(), 3);
    assert_eq!(read("workers.json")["workers"].as_array().unwrap().len(), 1);
    assert!(read("drops.json")["drops"].is_array());
    assert!(std::fs::read_to_string(inside.join("config.toml")).unwrap().contains("[attachments]"));
}
