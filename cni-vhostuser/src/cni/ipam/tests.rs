//! With the plugins of Debian's `containernetworking-plugins`, and with scripts that fail in each way there is.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

/// Where Debian puts them.
const REAL: &str = "/usr/lib/cni";
const PATIENT: Duration = Duration::from_secs(60);
const ENVIRONMENT: [(&str, &str); 4] = environment("a");

const fn environment(container: &str) -> [(&str, &str); 4] {
    [("CNI_CONTAINERID", container), ("CNI_IFNAME", "net1"), ("CNI_NETNS", "/x"), ("CNI_PATH", REAL)]
}

/// A directory of plugins that are shell scripts.
struct Fakes(tempfile::TempDir);

impl Fakes {
    /// Each verb's stdin is kept in the file VERB, its environment in VERB.env.
    const KEEP: &'static str =
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nenv >$CNI_COMMAND.env\ncat >$CNI_COMMAND\n";

    fn new(script: &str) -> Self {
        let fakes = Self(tempfile::tempdir().unwrap());
        // Written by another process: a descriptor of ours, open for writing, could be in a child that is just being
        // started by another test, and the script could not be run then.
        let mut writer = Command::new("sh")
            .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh", &fakes.file("fake")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        fakes
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().into()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn value(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    fn called(&self, verb: &str) -> bool {
        self.0.path().join(verb).exists()
    }

    fn path(&self) -> String {
        format!("/nowhere::{}", self.0.path().display())
    }
}

fn ipam<'a>(kind: &'a str, path: &'a str, config: &'a Value) -> Ipam<'a> {
    let version = config["cniVersion"].as_str().unwrap();
    Ipam { kind, path, config, version, environment: &ENVIRONMENT, timeout: PATIENT }
}

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "red", "type": "cni-vhostuser", "ipam": {"type": "fake"}, "odd": [1]})
}

fn local(version: &str, directory: &Path) -> Value {
    json!({"cniVersion": version, "name": "red", "type": "cni-vhostuser", "ipam": {
        "type": "host-local",
        "dataDir": directory,
        "ranges": [[{"subnet": "10.9.0.0/29", "gateway": "10.9.0.1"}]],
        "routes": [{"dst": "10.8.0.0/16"}],
    }})
}

fn has_real() -> bool {
    let there = Path::new(REAL).join("host-local").exists();
    if !there {
        eprintln!("NOT RUN: containernetworking-plugins is not installed");
    }
    there
}

#[test]
fn host_local_gives_and_takes_back_in_every_version() {
    if !has_real() {
        return;
    }
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let directory = tempfile::tempdir().unwrap();
        let lease = directory.path().join("red/10.9.0.2");
        let mut config = local(version, directory.path());
        let got = ipam("host-local", REAL, &config).add().unwrap();
        assert_eq!(got.ips[0].address, "10.9.0.2/29", "{version}");
        assert_eq!(got.ips[0].gateway.as_deref(), Some("10.9.0.1"));
        assert_eq!(got.routes[0].dst, "10.8.0.0/16");
        assert!(lease.exists());
        config["prevResult"] = json!({"cniVersion": version, "ips": [{"address": "10.9.0.2/29"}]});
        if version != "1.1.0" && version != "1.0.0" {
            config["prevResult"]["ips"][0]["version"] = json!("4");
        }
        let ipam = ipam("host-local", REAL, &config);
        ipam.check().unwrap();
        ipam.gc().unwrap();
        ipam.status().unwrap();
        ipam.del().unwrap();
        assert!(!lease.exists(), "{version}");
        ipam.del().unwrap();
        if version != "0.3.0" && version != "0.3.1" {
            assert!(ipam.check().is_err(), "{version}: the address is gone");
        }
    }
}

#[test]
fn host_local_says_that_its_range_is_full() {
    if !has_real() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = local("1.0.0", directory.path());
    let add = |container| {
        let environment = environment(container);
        Ipam { environment: &environment, ..ipam("host-local", REAL, &config) }.add()
    };
    for container in ["a", "b", "c", "d", "e"] {
        add(container).unwrap();
    }
    let failure = add("f").unwrap_err();
    assert!(failure.to_string().contains("no IP addresses available"), "{failure}");
    // It took nothing away from the others.
    assert!(directory.path().join("red/10.9.0.2").exists());
}

#[test]
fn static_addresses_of_both_families() {
    if !has_real() {
        return;
    }
    let config = json!({"cniVersion": "1.1.0", "name": "red", "type": "cni-vhostuser", "ipam": {
        "type": "static",
        "addresses": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}, {"address": "fd00::2/64"}],
        "routes": [{"dst": "fd01::/64", "gw": "fd00::1"}],
        "dns": {"nameservers": ["10.9.0.1"]},
    }});
    let plugin = ipam("static", REAL, &config);
    let got = plugin.add().unwrap();
    assert_eq!(
        got.ips.iter().map(|ip| ip.address.as_str()).collect::<Vec<_>>(),
        ["10.9.0.2/24", "fd00::2/64"]
    );
    assert_eq!((got.routes[0].gw.as_deref(), got.dns.nameservers.len()), (Some("fd00::1"), 1));
    plugin.del().unwrap();
}

#[test]
fn the_plugin_gets_all_that_we_got() {
    let answer = r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}'"#;
    let fakes = Fakes::new(&format!("{}{answer}", Fakes::KEEP));
    let config = config("1.1.0");
    let got = ipam("fake", &fakes.path(), &config).add().unwrap();
    assert_eq!((got.ips.len(), got.routes.len()), (1, 0));
    assert_eq!(fakes.value("ADD"), config);
    let environment = fakes.text("ADD.env");
    for (name, value) in ENVIRONMENT.into_iter().chain([("CNI_COMMAND", "ADD")]) {
        assert!(environment.lines().any(|line| line == format!("{name}={value}")), "{name} in {environment}");
    }
    assert!(!fakes.called("DEL") && !fakes.called("VERSION"));
}

/// As whereabouts prints it: no interfaces, empty lists, and no version of an address.
#[test]
fn a_result_without_interfaces() {
    let answer =
        r#"echo '{"ips":[{"address":"192.168.2.225/28","gateway":"192.168.2.1"}],"dns":{},"routes":[]}'"#;
    let fakes = Fakes::new(&format!("{}{answer}", Fakes::KEEP));
    let got = ipam("fake", &fakes.path(), &config("0.3.1")).add().unwrap();
    assert_eq!(got.ips[0].address, "192.168.2.225/28");
    assert_eq!(got.ips[0].gateway.as_deref(), Some("192.168.2.1"));
}

#[test]
fn an_older_plugin_is_spoken_to_in_its_version() {
    let script = format!(
        r#"{}
        case $CNI_COMMAND in VERSION) echo '{{"cniVersion":"0.4.0","supportedVersions":["0.1.0","0.3.1","0.4.0"]}}'; exit;; esac
        grep -q '"cniVersion":"0.4.0"' $CNI_COMMAND && {{ echo '{{"ips":[{{"version":"4","address":"10.0.0.2/24"}}]}}'; exit; }}
        echo '{{"code":1,"msg":"incompatible CNI versions"}}'; exit 1"#,
        Fakes::KEEP
    );
    let fakes = Fakes::new(&script);
    let path = fakes.path();
    let mut config = config("1.1.0");
    let plugin = ipam("fake", &path, &config);
    assert_eq!(plugin.add().unwrap().ips[0].address, "10.0.0.2/24");
    assert_eq!(fakes.value("ADD")["odd"], json!([1]));
    assert!(!fakes.called("DEL"));
    plugin.del().unwrap();
    assert_eq!(fakes.value("DEL")["cniVersion"], "0.4.0");
    config["prevResult"] =
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24", "interface": 0}]});
    ipam("fake", &path, &config).check().unwrap();
    let ip = json!({"address": "10.0.0.2/24", "interface": 0, "version": "4"});
    assert_eq!(fakes.value("CHECK")["prevResult"], json!({"cniVersion": "0.4.0", "ips": [ip]}));
}

#[test]
fn no_version_in_common_is_the_plugins_refusal() {
    let script = format!(
        r#"{}
        case $CNI_COMMAND in VERSION) echo '{{"supportedVersions":["7.0.0"]}}'; exit;; esac
        echo '{{"code":1,"msg":"incompatible CNI versions"}}'; exit 1"#,
        Fakes::KEEP
    );
    let fakes = Fakes::new(&script);
    let (path, config) = (fakes.path(), config("1.1.0"));
    let plugin = ipam("fake", &path, &config);
    assert_eq!(plugin.add().unwrap_err().code, 1);
    assert!(fakes.called("DEL"));
    // What it cannot know it cannot object to.
    plugin.check().unwrap();
    plugin.gc().unwrap();
    plugin.status().unwrap();
}

#[test]
fn an_error_object_is_passed_on_and_the_plugins_del_called() {
    let answer = r#"[ $CNI_COMMAND = DEL ] || { echo '{"code":11,"msg":"busy","details":"soon"}'; exit 1; }"#;
    let fakes = Fakes::new(&format!("{}{answer}", Fakes::KEEP));
    let (path, config) = (fakes.path(), config("1.0.0"));
    let plugin = ipam("fake", &path, &config);
    let failure = plugin.add().unwrap_err();
    assert_eq!((failure.code, failure.to_string().as_str()), (11, "busy: soon"));
    assert_eq!(fakes.value("DEL"), config);
    assert_eq!(plugin.check().unwrap_err().code, 11);
    assert_eq!(plugin.gc().unwrap_err().code, 11);
    assert_eq!(plugin.status().unwrap_err().code, 11);
}

#[test]
fn plugins_that_fail_without_a_word() {
    for (script, why) in [
        ("kill -SEGV $$", "signal: 11"),
        ("exit 3", "exit status: 3"),
        ("echo 'panic: nil map'; exit 2", "exit status: 2"),
        ("echo junk", "expected value"),
        ("true", "EOF"),
        ("yes", "more than 1048576 bytes"),
        ("echo '{\"ips\":[]}'", "no address"),
    ] {
        let fakes = Fakes::new(&format!("{}{script}", Fakes::KEEP));
        let failure = ipam("fake", &fakes.path(), &config("1.0.0")).add().unwrap_err();
        assert_eq!(failure.code, Code::Ipam as u32, "{script}");
        assert!(failure.to_string().contains(why), "{script}: {failure}");
        assert!(fakes.called("DEL"), "{script}");
    }
    // An interpreter that is not there.
    let fakes = Fakes::new("#!/nowhere/sh\n");
    let failure = ipam("fake", &fakes.path(), &config("1.0.0")).add().unwrap_err();
    assert!(failure.to_string().contains("could not be run"), "{failure}");
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    // A child of the plugin's holds the output open.
    let script = format!("{}[ $CNI_COMMAND = DEL ] && exit\nsleep 1000 &\necho $! >child\nwait", Fakes::KEEP);
    let fakes = Fakes::new(&script);
    let (path, config) = (fakes.path(), config("1.0.0"));
    let mut plugin = ipam("fake", &path, &config);
    // Long enough for the script to come to its child on a busy machine, or it would only be killed earlier.
    plugin.timeout = Duration::from_secs(3);
    let failure = plugin.add().unwrap_err();
    assert!(failure.to_string().contains("did not end in time"), "{failure}");
    let Ok(child) = std::fs::read_to_string(fakes.file("child")) else { return };
    let gone = || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        status.map_or(true, |status| status.contains(") Z "))
    };
    let end = Instant::now() + PATIENT;
    while !gone() {
        assert!(Instant::now() < end, "{child} lives");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_plugin_need_not_read_its_input() {
    let mut config = config("1.0.0");
    config["odd"] = "x".repeat(1 << 20).into();
    let fakes = Fakes::new("#!/bin/sh\necho '{\"ips\":[{\"address\":\"10.0.0.2/24\"}]}'");
    assert_eq!(ipam("fake", &fakes.path(), &config).add().unwrap().ips.len(), 1);
}

#[test]
fn del_of_what_the_plugin_does_not_know_is_success() {
    let fakes = Fakes::new("#!/bin/sh\necho '{\"code\":3,\"msg\":\"unknown container\"}'; exit 1");
    let (path, config) = (fakes.path(), config("1.0.0"));
    let plugin = ipam("fake", &path, &config);
    plugin.del().unwrap();
    assert_eq!(plugin.check().unwrap_err().code, 3);
}

#[test]
fn only_names_of_programs_are_run() {
    let fakes = Fakes::new("#!/bin/sh\necho '{\"ips\":[{\"address\":\"10.0.0.2/24\"}]}'");
    let (path, config) = (fakes.path(), config("1.0.0"));
    for kind in ["", ".", "..", "../fake", "/bin/true", "a\0b", "dhcp"] {
        assert_eq!(
            ipam(kind, &path, &config).add().unwrap_err().code,
            Code::InvalidConfig as u32,
            "{kind:?}"
        );
    }
    std::fs::write(fakes.file("plain"), "#!/bin/sh\n").unwrap();
    std::fs::create_dir(fakes.file("directory")).unwrap();
    for kind in ["absent", "plain", "directory"] {
        let failure = ipam(kind, &path, &config).add().unwrap_err();
        assert_eq!(failure.code, Code::Ipam as u32);
        assert!(failure.to_string().contains("searched in CNI_PATH="), "{failure}");
    }
    assert_eq!(ipam("fake", "", &config).add().unwrap_err().code, Code::Ipam as u32);
}
