//! The program on directories of port files, good and bad.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

struct Ports(tempfile::TempDir);

impl Ports {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn port(self, id: &str, more: &Value) -> Self {
        let mut port = json!({
            "version": 1, "ifname": "net1", "network": "red", "mode": "server", "mac": "02:00:00:00:00:01",
            "path": format!("/run/podswitch/sockets/{id}/vhost.sock"), "queues": 1, "deviceId": id, "new": {},
        });
        port.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.file(id, &port.to_string())
    }

    fn file(self, id: &str, text: &str) -> Self {
        fs::create_dir(self.0.path().join(id)).unwrap();
        fs::write(self.0.path().join(id).join("port.json"), text).unwrap();
        self
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn ask(&self, line: &str) -> Result<String, PortError> {
        let arguments = line.split_whitespace().map(OsString::from);
        answer(arguments.chain([OsString::from("--dir"), self.0.path().into()]))
    }
}

#[test]
fn every_format() {
    let ports = Ports::new().port("n0-0001", &json!({"queues": 2}));
    let ports =
        ports.port("n1-0000", &json!({"ifname": "net2", "mode": "client", "featuresOff": ["mrg_rxbuf"]}));
    let one = "net_virtio_user0,path=/run/podswitch/sockets/n0-0001/vhost.sock,mac=02:00:00:00:00:01,server=1,queues=2";
    assert_eq!(ports.ask("net1").unwrap(), format!("--vdev={one} --single-file-segments\n"));
    assert_eq!(ports.ask("net1 --format virtio-user").unwrap(), format!("{one}\n"));
    assert_eq!(
        ports.ask("net2 --format virtio-user --index 7").unwrap(),
        "net_virtio_user7,path=/run/podswitch/sockets/n1-0000/vhost.sock,mac=02:00:00:00:00:01,queues=1,mrg_rxbuf=0\n"
    );
    assert_eq!(ports.ask("net2 --format path").unwrap(), "/run/podswitch/sockets/n1-0000/vhost.sock\n");
    let json: Value = serde_json::from_str(&ports.ask("net1 --format json").unwrap()).unwrap();
    assert_eq!((&json["deviceId"], &json["new"]), (&json!("n0-0001"), &json!({})));
    assert_eq!(
        ports.ask("--list").unwrap(),
        "net1\tred\tn0-0001\tserver\t/run/podswitch/sockets/n0-0001/vhost.sock\n\
         net2\tred\tn1-0000\tclient\t/run/podswitch/sockets/n1-0000/vhost.sock\n"
    );
    assert!(ports.ask("--help").unwrap().starts_with("usage:"));
}

#[test]
fn no_such_interface_names_those_that_are_there() {
    let ports = Ports::new().port("b", &json!({"ifname": "net2"})).port("a", &json!({"ifname": "net\n1"}));
    let ports = ports.file("c", "{\"ifname\": 7}");
    let error = ports.ask("net9").unwrap_err();
    let text = error.to_string();
    assert_eq!((error.status(), text.lines().count()), (1, 1));
    assert!(text.contains("\"net9\"") && text.contains("net\u{fffd}1, net2, "), "{text}");
    assert!(text.contains("c/port.json: invalid type"), "{text}");
    let text = Ports::new().ask("net9").unwrap_err().to_string();
    assert!(text.ends_with("there are: none"), "{text}");
}

#[test]
fn two_of_one_name_are_nobodys() {
    let ports = Ports::new().port("a", &json!({})).port("b", &json!({}));
    let text = ports.ask("net1 --format path").unwrap_err().to_string();
    assert!(text.contains("a/port.json") && text.contains("b/port.json"), "{text}");
}

#[test]
fn nothing_odd_reaches_a_command_line() {
    let good = Ports::new().port("a", &json!({"path": "/run/a b'c;$(x)"}));
    assert_eq!(
        good.ask("net1").unwrap(),
        r"'--vdev=net_virtio_user0,path=/run/a b'\''c;$(x),mac=02:00:00:00:00:01,server=1,queues=1' --single-file-segments"
            .to_owned()
            + "\n"
    );
    for (bad, what) in [
        (json!({"path": "/run/a,queues=9"}), "path"),
        (json!({"path": "relative"}), "path"),
        (json!({"path": ""}), "path"),
        (json!({"path": "/run/a\nb"}), "path"),
        (json!({"mac": "02:00:00:00:00:01,iface=x"}), "mac"),
        (json!({"mac": "aaaaaaaaaaaaaaaa,"}), "mac"),
        (json!({"mode": "Server"}), "mode"),
        (json!({"queues": 0}), "queues"),
        (json!({"queues": 70000}), "queues"),
    ] {
        let error = Ports::new().port("a", &bad).ask("net1").unwrap_err();
        assert!(error.to_string().contains(&format!("{what} ")), "{bad}: {error}");
        assert_eq!((error.status(), error.to_string().lines().count()), (1, 1));
    }
}

#[test]
fn odd_files_neither_hang_nor_hide_a_good_one() {
    let ports = Ports::new().port("good", &json!({})).file("empty", "").file("junk", "\u{0}[[[");
    let ports = ports.file("long", &format!("{{\"ifname\":\"{}\"}}", "x".repeat(64 << 10)));
    let ports = ports.file("deep", &"[".repeat(60_000));
    let ports = ports.file("latin", "{}");
    fs::write(ports.directory().join("latin/port.json"), b"{\"ifname\": \"\xff\"}").unwrap();
    fs::create_dir_all(ports.directory().join("directory/port.json")).unwrap();
    fs::create_dir(ports.directory().join("unattached")).unwrap();
    fs::write(ports.directory().join("file"), "").unwrap();
    fs::create_dir(ports.directory().join("pipe")).unwrap();
    let pipe = ports.directory().join("pipe/port.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    fs::create_dir(ports.directory().join("link")).unwrap();
    std::os::unix::fs::symlink(
        ports.directory().join("good/port.json"),
        ports.directory().join("link/port.json"),
    )
    .unwrap();
    assert!(ports.ask("net1 --format path").is_ok());
    let text = ports.ask("net2").unwrap_err().to_string();
    for name in ["empty", "junk", "long", "deep", "latin", "directory", "pipe", "link"] {
        assert!(text.contains(&format!("{name}/port.json: ")), "{name}: {text}");
    }
    assert!(!text.contains("unattached") && !text.contains("/file"), "{text}");
}

#[test]
fn a_directory_that_is_not_there() {
    let error = answer(["net1", "--dir", "/nowhere/ports"].map(OsString::from)).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/ports: "), "{error}");
}
