//! Attachments on a recorder of a dataplane, with a store and directories on disk. Plain files stand in for network
//! namespaces: device and inode are all that is looked at.

mod crash;
mod holders;
mod lifecycle;
mod load;
mod places;
mod policy;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::v1;

use super::AttachOptions;
use crate::error::Error;
use crate::store::Store;
use crate::switch::fake::{Fake, options};
use crate::switch::{Datapath, Refusal, Switch};

struct Bench {
    directory: tempfile::TempDir,
    fake: Arc<Fake>,
    switch: Switch,
}

fn start(root: &Path, boot_id: &str, fake: &Arc<Fake>) -> Switch {
    let attachments = AttachOptions {
        directory: root.join("run"),
        socket_gid: 0,
        tombstones: root.join("tombstones"),
        boot_id: boot_id.into(),
    };
    let options = crate::switch::Options { attachments, ..options() };
    Switch::new(Arc::clone(fake) as Arc<dyn Datapath>, options, Store::open(&root.join("state")))
}

impl Bench {
    /// A network "blue" for the namespace "a", and one "open" for everybody without devices.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["run/devices", "netns", "state"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let fake = Arc::new(Fake::default());
        let switch = start(directory.path(), "boot-1", &fake);
        let blue =
            v1::NetworkSpec { name: "blue".into(), namespaces: vec!["a".into()], ..Default::default() };
        let open = v1::NetworkSpec {
            name: "open".into(),
            namespaces: vec!["*".into()],
            without_device: true,
            ..Default::default()
        };
        switch.add_network(Some(blue)).unwrap();
        switch.add_network(Some(open)).unwrap();
        fake.calls();
        let bench = Self { directory, fake, switch };
        for id in ["n0-0001", "n0-0002", "n0-0003"] {
            bench.device(id);
        }
        bench
    }

    /// The daemon dies without a word and another starts, under the same kernel or another.
    fn restart(self, boot_id: &str) -> Self {
        let Self { directory, switch, .. } = self;
        drop(switch);
        let fake = Arc::new(Fake::default());
        let switch = start(directory.path(), boot_id, &fake);
        Self { directory, fake, switch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the device plugin makes.
    fn device(&self, id: &str) {
        for part in ["port", "socket"] {
            fs::create_dir_all(self.path("run/devices").join(id).join(part)).unwrap();
        }
    }

    fn socket_directory(&self, id: &str) -> PathBuf {
        self.path("run/devices").join(id).join("socket")
    }

    /// A pod of the namespace "a" with a namespace of its own, asking for `device` in "blue".
    fn pod(&self, name: &str, device: &str) -> v1::AttachRequest {
        let netns = self.path("netns").join(name);
        if !netns.exists() {
            fs::write(&netns, "").unwrap();
        }
        let meta = fs::metadata(&netns).unwrap();
        v1::AttachRequest {
            key: Some(key(name)),
            network: "blue".into(),
            owner: Some(v1::Owner {
                namespace: "a".into(),
                pod: name.into(),
                pod_uid: format!("uid-{name}"),
                netns: netns.display().to_string(),
                netns_dev: meta.dev(),
                netns_ino: meta.ino(),
            }),
            device_id: device.into(),
            ..Default::default()
        }
    }

    /// The pod's namespace is gone.
    fn kill(&self, name: &str) {
        fs::remove_file(self.path("netns").join(name)).unwrap();
    }

    fn attach(&self, request: &v1::AttachRequest) -> Result<v1::Attachment, Error> {
        self.switch.attach(request.clone())
    }

    fn detach(&self, name: &str) -> bool {
        self.switch.detach(Some(&key(name))).unwrap()
    }

    /// Names of what is in the state, and that the dataplane has the same ports.
    fn ports(&self) -> Vec<String> {
        let ports: Vec<_> =
            self.switch.ports("").unwrap().into_iter().map(|p| p.spec.unwrap().name).collect();
        let mut applied: Vec<_> = self.fake.ports().into_iter().map(|port| port.name).collect();
        applied.sort_unstable();
        assert_eq!(ports, applied, "the state and the dataplane");
        ports
    }
}

fn key(name: &str) -> v1::AttachmentKey {
    v1::AttachmentKey { network: "net-a".into(), container_id: name.into(), ifname: "net1".into() }
}

fn address(text: &str) -> v1::AttachmentAddress {
    v1::AttachmentAddress { address: text.into(), gateway: String::new() }
}

fn refusal(result: Result<v1::Attachment, Error>) -> Refusal {
    match result {
        Err(Error::Attach(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Reason and field of a refusal.
fn reason(result: Result<v1::Attachment, Error>) -> (&'static str, String) {
    let (_, reason, field, remedy) = refusal(result).parts();
    assert!(!remedy.is_empty());
    (reason, field.into_owned())
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}
