//! A node: the daemon with exactly the capabilities that the manifest grants, the directories that a device plugin
//! makes, and the CNI plugin, called as a container runtime calls it.

use std::cell::RefCell;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto::paths::DeviceDirectories;
use serde_json::{Value, json};

use super::lab::Lab;
use super::sandbox::Sandbox;
use super::switch::{Setup, Switch};

/// Group of the sockets' directories.
pub const SOCKET_GROUP: u32 = 2107;
/// Plugins of others, and where Debian has them.
pub const PLUGINS: &str = "/usr/lib/cni";
/// What the daemon may do on a node.
const CAPABILITIES: &str = include_str!("../../../deploy/capabilities");
/// Bytes and inodes of a socket's directory: few, so that they can be used up.
const SOCKET_SPACE: &str = "nosuid,nodev,noexec,size=64k,nr_inodes=16";

/// The programs that are installed on a node beside the daemon.
#[derive(Clone, Debug)]
pub struct Programs {
    pub plugin: PathBuf,
    pub port: PathBuf,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    pub switch: Switch,
    directory: PathBuf,
    root: PathBuf,
    plugin: PathBuf,
    mounted: RefCell<Vec<PathBuf>>,
}

/// What the plugin answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: i32,
    /// What stood on standard output; null: nothing.
    pub value: Value,
    pub log: String,
}

/// Calls the plugin as a container runtime does.
#[derive(Clone, Debug)]
pub struct Caller {
    plugin: PathBuf,
}

impl Caller {
    /// One call to its end.
    pub fn call(&self, verb: &str, sandbox: &Sandbox, ifname: &str, config: &Value) -> Answer {
        let variables = [
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", sandbox.container_id.clone()),
            ("CNI_NETNS", sandbox.netns().display().to_string()),
            ("CNI_IFNAME", ifname.to_owned()),
            ("CNI_ARGS", sandbox.arguments()),
            ("CNI_PATH", PLUGINS.to_owned()),
        ];
        run(&self.plugin, &variables, config)
    }
}

impl Node {
    /// Starts the daemon on a node's directories in the laboratory.
    #[must_use]
    pub fn start(lab: &Lab, programs: &Programs, mut setup: Setup) -> Self {
        let directory = lab.directory().to_path_buf();
        // Other users' programs write to directories below it.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o711)).unwrap();
        let root = directory.join("run");
        std::fs::create_dir(&root).unwrap();
        let installed = directory.join("programs");
        std::fs::create_dir(&installed).unwrap();
        std::fs::copy(&programs.port, installed.join("podswitch-port")).unwrap();
        std::fs::write(boot_id(&directory), "first boot\n").unwrap();
        setup.config.push_str(&format!(
            "\n[attachments]\ndirectory = \"{}\"\nsocket_group = {SOCKET_GROUP}\nkubelet = \"\"\n",
            root.display()
        ));
        setup.capabilities = Some(capabilities());
        setup.environment.push(("PODSWITCH_BOOT_ID_FILE".into(), boot_id(&directory).display().to_string()));
        let switch = Switch::start(lab, setup);
        Self { switch, directory, root, plugin: programs.plugin.clone(), mounted: RefCell::default() }
    }

    /// The root of the directories that pods share with the switch.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `podswitch-port` is installed.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.directory.join("programs")
    }

    /// The directories of a device.
    #[must_use]
    pub fn device(&self, id: &str) -> DeviceDirectories {
        DeviceDirectories::new(&self.root, id)
    }

    /// Makes the directories of a device as the device plugin does, with a small file system on the socket's.
    pub fn add_device(&self, id: &str) {
        let device = self.device(id);
        std::fs::create_dir_all(&device.port).unwrap();
        std::fs::create_dir(&device.socket).unwrap();
        let options = format!("{SOCKET_SPACE},mode=2770,gid={SOCKET_GROUP}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "podswitch"]).arg(&device.socket);
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.mounted.borrow_mut().push(device.socket);
    }

    /// The kernel starts anew with an empty `/run`; the state stays. The daemon is not running meanwhile.
    pub fn reboot(&mut self) {
        self.switch.kill();
        self.unmount();
        let _ = std::fs::remove_dir_all(&self.root);
        let _ = std::fs::remove_dir_all(self.directory.join(proto::paths::TOMBSTONES));
        let _ = std::fs::remove_file(self.switch.api());
        std::fs::create_dir(&self.root).unwrap();
        std::fs::write(boot_id(&self.directory), "another boot\n").unwrap();
    }

    fn unmount(&self) {
        for path in self.mounted.borrow_mut().drain(..) {
            let _ = Command::new("umount").arg("-l").arg(path).output();
        }
    }

    /// A directory in the laboratory that a container's user may write to, whoever that is.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        path
    }

    /// A configuration of the plugin for this node: network `network` of the switch, in CNI under the same name.
    #[must_use]
    pub fn config(&self, network: &str) -> Value {
        json!({
            "cniVersion": "1.1.0",
            "name": network,
            "type": "cni-vhostuser",
            "socket": self.switch.api(),
            // Two CPUs are shared with pods that poll.
            "timeoutMs": 60_000,
        })
    }

    /// Calls the plugin.
    pub fn call(&self, verb: &str, sandbox: &Sandbox, ifname: &str, config: &Value) -> Answer {
        self.caller().call(verb, sandbox, ifname, config)
    }

    /// What calls the plugin from other threads.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { plugin: self.plugin.clone() }
    }

    /// ADD that must succeed.
    #[track_caller]
    pub fn add(&self, sandbox: &Sandbox, ifname: &str, config: &Value) -> Value {
        let answer = self.call("ADD", sandbox, ifname, config);
        assert_eq!(answer.status, 0, "ADD: {answer:?}");
        answer.value
    }

    /// ADD that must be refused with this code, in words that hold each of these.
    #[track_caller]
    pub fn refused(&self, sandbox: &Sandbox, ifname: &str, config: &Value, code: u32, words: &[&str]) {
        let answer = self.call("ADD", sandbox, ifname, config);
        assert_ne!(answer.status, 0, "ADD was expected to be refused: {answer:?}");
        assert_eq!(answer.value["code"], code, "{answer:?}");
        let text = format!("{} {}", answer.value["msg"], answer.value["details"]);
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

    /// DEL, which always succeeds.
    #[track_caller]
    pub fn del(&self, sandbox: &Sandbox, ifname: &str, config: &Value) {
        let answer = self.call("DEL", sandbox, ifname, config);
        assert_eq!(answer.status, 0, "DEL: {answer:?}");
    }

    /// All attachments.
    #[must_use]
    pub fn attachments(&self) -> Vec<Value> {
        let list: Value = self.switch.cli().json(&["attachment", "list"]);
        list["attachments"].as_array().cloned().unwrap_or_default()
    }

    /// The names of all ports of the switch.
    #[must_use]
    pub fn ports(&self) -> Vec<String> {
        let list: Value = self.switch.cli().json(&["port", "list"]);
        let ports = list["ports"].as_array().cloned().unwrap_or_default();
        ports.iter().map(|port| port["spec"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Files that lie in the directories of devices: a port file or a socket of somebody.
    #[must_use]
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let devices = entries(&self.root.join("devices"));
        devices
            .iter()
            .flat_map(|device| {
                entries(&device.join("port")).into_iter().chain(entries(&device.join("socket")))
            })
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Calls a plugin with these variables, and nothing else of our environment but `PATH`.
pub fn run(plugin: &Path, variables: &[(&str, String)], config: &Value) -> Answer {
    let mut command = Command::new(plugin);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A plugin may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(config.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    let value = match output.stdout.trim_ascii() {
        b"" => Value::Null,
        text => serde_json::from_slice(text).unwrap_or_else(|e| panic!("{e}: {output:?}")),
    };
    Answer {
        status: output.status.code().unwrap_or(-1),
        value,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The names in `deploy/capabilities`.
fn capabilities() -> Vec<String> {
    let names = CAPABILITIES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.map(str::to_lowercase).collect()
}

fn boot_id(directory: &Path) -> PathBuf {
    directory.join("boot_id")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory)
        .map(|all| all.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
