//! Pods are files that stand in for namespaces: a device and an inode is all that is looked at.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use proto::paths::DeviceDirectories;
use tempfile::TempDir;

use super::*;
use crate::kubelet::fake::{Kubelet, Says};
use crate::store::Store;
use crate::switch::fake::{self, Fake};

const EVERY: Duration = Duration::from_secs(60);

struct Node {
    directory: TempDir,
    switch: Switch,
    datapath: Arc<Fake>,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["netns", "state"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let datapath = Arc::new(Fake::default());
        let mut options = fake::options();
        options.attachments.directory = directory.path().into();
        options.attachments.tombstones = directory.path().join("tombstones");
        options.attachments.boot_id = "this boot".into();
        options.reconcile =
            ReconcileOptions { every: EVERY, kubelet: Some(directory.path().join("kubelet.sock")) };
        let store = Store::open(&directory.path().join("state"));
        let switch = Switch::new(Arc::clone(&datapath) as Arc<_>, options, store);
        let network = v1::NetworkSpec {
            name: "blue".into(),
            namespaces: vec!["*".into()],
            ..v1::NetworkSpec::default()
        };
        switch.add_network(Some(network)).unwrap();
        Self { directory, switch, datapath, now: Instant::now() }
    }

    fn netns(&self, pod: &str) -> PathBuf {
        self.directory.path().join("netns").join(pod)
    }

    fn device(number: usize) -> String {
        format!("n0-{number:04}")
    }

    /// A pod with a namespace and a device of its own.
    fn pod(&self, number: usize) {
        fs::write(self.netns(&format!("pod-{number}")), "").unwrap();
        self.attach(number);
    }

    fn attach(&self, number: usize) -> v1::Attachment {
        let pod = format!("pod-{number}");
        let netns = self.netns(&pod);
        let (dev, ino) = fs::metadata(&netns).map_or((0, 7), |meta| (meta.dev(), meta.ino()));
        let place = DeviceDirectories::new(self.directory.path(), &Self::device(number));
        fs::create_dir_all(&place.port).unwrap();
        fs::create_dir_all(&place.socket).unwrap();
        let request = v1::AttachRequest {
            key: Some(v1::AttachmentKey {
                network: "net".into(),
                container_id: format!("c{number}"),
                ifname: "net1".into(),
            }),
            network: "blue".into(),
            owner: Some(v1::Owner {
                namespace: "ns".into(),
                pod,
                netns: netns.display().to_string(),
                netns_dev: dev,
                netns_ino: ino,
                ..v1::Owner::default()
            }),
            device_id: Self::device(number),
            ..v1::AttachRequest::default()
        };
        self.switch.attach(request).unwrap()
    }

    fn end(&self, number: usize) {
        fs::remove_file(self.netns(&format!("pod-{number}"))).unwrap();
    }

    /// One look, and the time until the next has passed.
    fn look(&mut self) {
        self.switch.reconcile(self.now);
        self.now += EVERY;
    }

    /// Looks until the kubelet was heard: a machine under load may take longer than a look waits for it.
    fn look_until(&mut self, heard: impl Fn(&Self) -> bool) {
        for _ in 0..20 {
            self.look();
            if heard(self) {
                return;
            }
        }
        panic!("{:?}, {:?}", self.attached(), self.warnings());
    }

    /// Names of the pods that are attached, and have a port in the dataplane.
    fn attached(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .switch
            .attachments("")
            .into_iter()
            .map(|attachment| attachment.spec.unwrap().owner.unwrap().pod)
            .collect();
        names.sort();
        assert_eq!(self.datapath.ports().len(), names.len());
        names
    }

    fn warnings(&self) -> Vec<String> {
        let of_ours = |text: &String| text.contains("namespace");
        self.switch.status().warnings.into_iter().filter(of_ours).collect()
    }
}

#[test]
fn one_that_is_gone_goes_at_the_second_look() {
    let mut node = Node::new();
    (1..=3).for_each(|number| node.pod(number));
    node.look();
    node.end(2);
    node.look();
    assert_eq!(node.attached(), ["pod-1", "pod-2", "pod-3"], "missed once");
    // Too early for a look.
    node.switch.reconcile(node.now - Duration::from_secs(1));
    assert_eq!(node.attached().len(), 3);
    node.look();
    assert_eq!(node.attached(), ["pod-1", "pod-3"]);
    assert_eq!(node.warnings(), Vec::<String>::new());
    let place = DeviceDirectories::new(node.directory.path(), &Node::device(2));
    assert!(!place.port_file().exists());
    node.look();
    node.look();
    assert_eq!(node.attached(), ["pod-1", "pod-3"]);
}

#[test]
fn the_rounds_of_the_daemon_look() {
    let node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    node.end(2);
    node.switch.maintain();
    assert!(lock(&node.switch.looks).last.is_some());
    assert_eq!(lock(&node.switch.looks).suspects.len(), 1);
    // The next round comes a second later, and is not a look.
    let last = lock(&node.switch.looks).last;
    node.switch.maintain();
    assert_eq!(lock(&node.switch.looks).last, last);
    assert_eq!(node.attached().len(), 2);
}

#[test]
fn one_that_is_seen_again_is_not_suspected_any_more() {
    let mut node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    let (there, away) = (node.netns("pod-1"), node.directory.path().join("away"));
    for _ in 0..3 {
        fs::rename(&there, &away).unwrap();
        node.look();
        fs::rename(&away, &there).unwrap();
        node.look();
    }
    fs::rename(&there, &away).unwrap();
    node.look();
    assert_eq!(node.attached().len(), 2, "the looks that missed it were not in a row");
    node.look();
    assert_eq!(node.attached(), ["pod-2"]);
}

#[test]
fn without_the_directory_of_namespaces_nobody_goes() {
    let mut node = Node::new();
    (0..50).for_each(|number| node.pod(number));
    let (there, away) = (node.directory.path().join("netns"), node.directory.path().join("away"));
    node.look();
    fs::rename(&there, &away).unwrap();
    for _ in 0..4 {
        node.look();
        assert_eq!(node.attached().len(), 50);
    }
    let warnings = node.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(&there.display().to_string()), "{warnings:?}");
    // As an empty directory it looks the same.
    fs::create_dir(&there).unwrap();
    node.look();
    node.look();
    assert_eq!(node.attached().len(), 50);
    // With one of them there it is plain what the others are.
    fs::remove_dir(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    node.look();
    assert_eq!(node.warnings(), Vec::<String>::new());
    (1..50).for_each(|number| node.end(number));
    node.look();
    assert_eq!(node.attached().len(), 50);
    node.look();
    assert_eq!(node.attached(), ["pod-0"]);
}

#[test]
fn a_directory_of_its_own_that_is_not_there_proves_nothing() {
    let mut node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    let other = node.directory.path().join("netns/other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("x"), "").unwrap();
    fs::write(node.netns("pod-3"), "").unwrap();
    let mut spec = node.attach(3).spec.unwrap();
    spec.key.as_mut().unwrap().container_id = "c4".into();
    spec.device_id = Node::device(4);
    spec.mac = String::new();
    let owner = spec.owner.as_mut().unwrap();
    let meta = fs::metadata(other.join("x")).unwrap();
    (owner.netns, owner.netns_dev, owner.netns_ino) =
        (other.join("x").display().to_string(), meta.dev(), meta.ino());
    owner.pod = "pod-4".into();
    let place = DeviceDirectories::new(node.directory.path(), &Node::device(4));
    fs::create_dir_all(&place.port).unwrap();
    fs::create_dir_all(&place.socket).unwrap();
    spec.labels.clear();
    node.switch.attach(spec).unwrap();
    fs::remove_dir_all(&other).unwrap();
    node.end(3);
    node.look();
    node.look();
    assert_eq!(node.attached(), ["pod-1", "pod-2", "pod-4"], "the third went, the fourth is unclear");
    let warnings = node.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("pod-4"), "{warnings:?}");
}

#[test]
fn a_lone_pod_goes_only_beside_other_namespaces() {
    let mut node = Node::new();
    node.pod(1);
    node.end(1);
    node.look();
    node.look();
    assert_eq!(node.attached(), ["pod-1"]);
    fs::write(node.netns("not-ours"), "").unwrap();
    node.look();
    assert_eq!(node.attached(), Vec::<String>::new());
}

#[test]
fn another_namespace_at_the_same_path_is_not_the_pods() {
    let mut node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    let new = node.directory.path().join("new");
    fs::write(&new, "").unwrap();
    fs::rename(&new, node.netns("pod-1")).unwrap();
    node.look();
    node.look();
    assert_eq!(node.attached(), ["pod-2"]);
}

#[test]
fn one_whose_namespace_was_never_seen_stays() {
    let mut node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    let attachment = node.attach(3);
    assert!(!attachment.netns_seen);
    for _ in 0..3 {
        node.look();
    }
    assert_eq!(node.attached().len(), 3);
}

#[test]
fn what_the_kubelet_lists_stays() {
    let mut node = Node::new();
    let socket = node.directory.path().join("kubelet.sock");
    let kubelet = Kubelet::start(&socket, Says::Devices(vec![Node::device(1), Node::device(3)]));
    (1..=4).for_each(|number| node.pod(number));
    node.end(1);
    node.end(2);
    node.look_until(|node| node.attached() == ["pod-1", "pod-3", "pod-4"]);
    node.look();
    assert_eq!(node.attached().len(), 3);
    kubelet.say(Says::Devices(vec![Node::device(3)]));
    node.look_until(|node| node.attached() == ["pod-3", "pod-4"]);
}

#[test]
fn a_kubelet_that_does_not_say_keeps_everybody() {
    let mut node = Node::new();
    let socket = node.directory.path().join("kubelet.sock");
    drop(UnixListener::bind(&socket).unwrap());
    (1..=3).for_each(|number| node.pod(number));
    node.end(1);
    let warns =
        |word: &'static str| move |node: &Node| node.warnings().iter().any(|text| text.contains(word));
    node.look_until(warns("cannot be reached"));
    assert_eq!(node.attached().len(), 3, "nobody is behind the socket");
    let kubelet = Kubelet::start(&socket, Says::Error);
    node.look_until(warns("does not list"));
    assert_eq!(node.attached().len(), 3, "it refuses");
    kubelet.say(Says::Devices(vec![]));
    node.look_until(|node| node.attached() == ["pod-2", "pod-3"]);
    assert_eq!(node.warnings(), Vec::<String>::new());
}

#[test]
fn a_new_pod_of_the_same_key_is_not_taken_for_the_old_one() {
    let mut node = Node::new();
    (1..=2).for_each(|number| node.pod(number));
    // Not removed: its inode stays its own.
    fs::rename(node.netns("pod-1"), node.directory.path().join("away")).unwrap();
    node.look();
    // Its key comes back with a namespace of its own, and loses that too.
    let key = node.switch.attachments("")[0].spec.clone().unwrap().key;
    node.switch.detach(key.as_ref()).unwrap();
    node.pod(1);
    node.end(1);
    node.look();
    assert_eq!(node.attached().len(), 2, "missed once");
    node.look();
    assert_eq!(node.attached(), ["pod-2"]);
}
