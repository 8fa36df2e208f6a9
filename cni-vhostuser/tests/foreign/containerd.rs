//! containerd, Debian's, with a configuration list of ours: pod sandboxes are run, stopped and removed as a kubelet would.
//!
//! It has directories, a socket and CNI directories of its own. The pause image is made here: one static program.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::cri::{Config, Cri, Linux, Metadata};
use super::node::{self, Node, has};

const PATIENCE: Duration = Duration::from_secs(60);
const IMAGE: &str = "podswitch.test/pause:1";
const PLUGINS: &str = "containernetworking-plugins";

const PAUSE: &str = "
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
";

struct Containerd {
    directory: TempDir,
    daemon: Child,
    cri: Cri,
}

impl Containerd {
    fn start(node: &Node) -> Self {
        let directory = tempfile::Builder::new().prefix("ctrd-").tempdir().unwrap();
        let at = directory.path();
        for name in ["bin", "net.d"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        symlink(node::plugin(), at.join("bin/cni-vhostuser")).unwrap();
        for name in ["loopback", "host-local"] {
            symlink(Path::new("/usr/lib/cni").join(name), at.join("bin").join(name)).unwrap();
        }
        let list = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "cni-vhostuser",
                "socket": node.socket(),
                "network": "tenant",
                "ipam": {
                    "type": "host-local",
                    "dataDir": at.join("store"),
                    "ranges": [[{ "subnet": "10.1.9.0/24", "rangeStart": "10.1.9.20" }]],
                },
            }],
        });
        fs::write(at.join("net.d/10-pods.conflist"), list.to_string()).unwrap();
        fs::write(at.join("config.toml"), configuration(at)).unwrap();
        let log = File::create(at.join("containerd.log")).unwrap();
        let daemon = Command::new("containerd")
            .arg("--config")
            .arg(at.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let cri = Cri::new(&at.join("containerd.sock"));
        let started = Self { directory, daemon, cri };
        started.until("containerd to answer", || started.ctr(&["version"]).status.success());
        started.import();
        started
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ctr(&self, words: &[&str]) -> Output {
        Command::new("ctr")
            .arg("--address")
            .arg(self.path("containerd.sock"))
            .args(["--namespace", "k8s.io"])
            .args(words)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            let log = || fs::read_to_string(self.path("containerd.log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "waited for {what}:\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes the image, in the form of `docker save`, and takes it in.
    fn import(&self) {
        let at = self.path("image");
        fs::create_dir(&at).unwrap();
        fs::write(at.join("pause.c"), PAUSE).unwrap();
        sh(&at, "cc -static -O1 -o pause pause.c && tar -cf layer.tar pause");
        let digest = sh(&at, "sha256sum layer.tar | cut -d ' ' -f 1");
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Entrypoint": ["/pause"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest.trim())] },
        });
        fs::write(at.join("config.json"), config.to_string()).unwrap();
        let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
        fs::write(at.join("manifest.json"), manifest.to_string()).unwrap();
        sh(&at, "tar -cf image.tar manifest.json config.json layer.tar");
        let image = at.join("image.tar").display().to_string();
        let output = self.ctr(&["images", "import", "--snapshotter", "native", &image]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Why no container can be run here at all, whatever its network.
    fn cannot_run(&self) -> Option<String> {
        let output = self.ctr(&["run", "--detach", "--snapshotter", "native", IMAGE, "probe"]);
        if !output.status.success() {
            return Some(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        self.ctr(&["tasks", "kill", "--signal", "SIGKILL", "probe"]);
        self.until("the first container to end", || self.ctr(&["tasks", "delete", "probe"]).status.success());
        self.ctr(&["containers", "delete", "probe"]);
        None
    }

    /// Runs the first sandbox, once containerd has taken notice of the image and the configuration list.
    #[track_caller]
    fn first(&self, config: &Config) -> String {
        let started = Instant::now();
        loop {
            match self.cri.run(config.clone()) {
                Ok(id) => return id,
                Err(status) => {
                    let text = status.message();
                    let early = text.contains("not initialized") || text.contains("sandbox image");
                    assert!(early && started.elapsed() < PATIENCE, "{status}");
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Addresses that host-local has given out.
    fn addresses(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("store/pods")).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("10.")).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Only after a failure is there anything left to kill.
        let tasks = self.ctr(&["tasks", "list", "--quiet"]);
        for id in String::from_utf8_lossy(&tasks.stdout).split_whitespace() {
            self.ctr(&["tasks", "delete", "--force", id]);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let at = self.directory.path().display();
        sh(
            Path::new("/"),
            &format!("grep -o ' {at}/[^ ]*' /proc/mounts | sort -r | xargs -r -n 1 umount -l || true"),
        );
    }
}

fn sh(directory: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn configuration(at: &Path) -> String {
    let at = at.display();
    format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{at}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
netns_mounts_under_state_dir = true
disable_cgroup = true
disable_apparmor = true
restrict_oom_score_adj = true
disable_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{at}/bin"
conf_dir = "{at}/net.d"
"#
    )
}

fn pod(namespace: &str, name: &str) -> Config {
    let metadata = Metadata {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        namespace: namespace.into(),
        attempt: 0,
    };
    Config { metadata: Some(metadata), hostname: name.into(), linux: Some(Linux::default()) }
}

#[test]
fn containerd_runs_pod_sandboxes() {
    let needs = [
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("cc", "build-essential"),
        ("/usr/lib/cni/loopback", PLUGINS),
        ("/usr/lib/cni/host-local", PLUGINS),
    ];
    if !has(&needs) {
        return;
    }
    let mut node = Node::start();
    let containerd = Containerd::start(&node);
    if let Some(why) = containerd.cannot_run() {
        node::not_tested(&format!("containerd and runc run no container here, whatever its network: {why}"));
        return;
    }
    let cri = &containerd.cri;

    let first = containerd.first(&pod("a", "first"));
    let second = cri.run(pod("a", "second")).unwrap();
    let list = node.attachments();
    for text in [&first, &second, "\"a\"", "\"second\"", "uid-of-first", "\"eth0\""] {
        assert!(list.contains(text), "{text} in {list}");
    }
    let addresses = [cri.address(&first).unwrap(), cri.address(&second).unwrap()];
    assert!(
        addresses.iter().all(|address| address.starts_with("10.1.9.") && list.contains(address)),
        "{addresses:?}"
    );
    assert_ne!(addresses[0], addresses[1]);
    let mut given = containerd.addresses();
    given.sort();
    let mut expected = addresses.to_vec();
    expected.sort();
    assert_eq!(given, expected);

    // Refused by the network's policy: the pod's events say why, and nothing stays.
    let refused = cri.run(pod("b", "intruder")).unwrap_err();
    assert!(refused.message().contains("tenant"), "{refused}");
    assert!(!node.attachments().contains("intruder"));
    assert_eq!(containerd.addresses().len(), 2);

    // Stopped, and stopped again as kubelets do, and removed.
    cri.stop(&first).unwrap();
    let list = node.attachments();
    assert!(!list.contains(&first) && list.contains(&second), "{list}");
    assert_eq!(containerd.addresses(), [addresses[1].clone()]);
    cri.stop(&first).unwrap();
    cri.remove(&first).unwrap();

    // While the switch is down no pod starts and every pod stops; the switch hears of it when it is back.
    node.kill();
    let refused = cri.run(pod("a", "third")).unwrap_err();
    assert!(refused.message().contains("podswitchd"), "{refused}");
    cri.stop(&second).unwrap();
    cri.remove(&second).unwrap();
    assert!(containerd.addresses().is_empty());
    node.start_again();
    assert!(!node.attachments().contains("containerId"));
    assert!(containerd.addresses().is_empty());
}
