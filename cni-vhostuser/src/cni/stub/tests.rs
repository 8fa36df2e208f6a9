//! In real network namespaces, looked at with `ip`.

use std::fs::File;
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use super::*;
use crate::cni::result::Ip;

const MAC: &str = "02:00:00:00:00:0A";
const ALIAS: &str = "podswitch:a-net1-0badcafe";

/// A network namespace, bound to a file as runtimes do.
struct Namespace {
    directory: tempfile::TempDir,
}

impl Namespace {
    fn new() -> Self {
        let namespace = Self { directory: tempfile::tempdir().unwrap() };
        let path = namespace.path();
        File::create(&path).unwrap();
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .unwrap();
        });
        made.join().unwrap();
        namespace
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("net")
    }

    /// Runs `ip` in it.
    fn ip(&self, arguments: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path().display()))
            .arg("ip")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &str) -> Vec<Value> {
        serde_json::from_str(&self.ip(&format!("-j -d {arguments}"))).unwrap()
    }

    /// Destinations of the routes through a link, of both families.
    fn destinations(&self, link: &str) -> Vec<String> {
        let mut all = self.json(&format!("-4 route show dev {link}"));
        all.extend(self.json(&format!("-6 route show dev {link}")));
        let mut all: Vec<_> = all.iter().map(|route| route["dst"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = umount(&self.path());
    }
}

fn addressing(ips: &[&str], routes: &[(&str, Option<&str>)]) -> Addressing {
    let ips = ips.iter().map(|ip| Ip { address: (*ip).into(), ..Ip::default() });
    let routes = routes.iter().map(|(dst, gw)| Route {
        dst: (*dst).into(),
        gw: gw.map(Into::into),
        ..Route::default()
    });
    Addressing { ips: ips.collect(), routes: routes.collect(), ..Addressing::default() }
}

fn stub(addressing: &Addressing) -> StubLink<'_> {
    StubLink { ifname: "net1", mac: MAC, mtu: 9000, addressing, alias: ALIAS }
}

fn able() -> bool {
    let able = nix::unistd::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    if !able {
        eprintln!("NOT RUN: needs root and /dev/net/tun");
    }
    able
}

#[test]
fn the_link_tells_the_truth_and_goes_again() {
    if !able() {
        return;
    }
    let namespace = Namespace::new();
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let addressing = addressing(
        &["10.1.0.2/24", "fd00:1::2/64", "192.0.2.7/32"],
        &[("10.2.0.0/16", Some("10.1.0.1")), ("fd00:2::/64", Some("fd00:1::1")), ("10.3.0.0/16", None)],
    );
    assert_eq!(add(&namespace.path(), &stub(&addressing)).unwrap(), []);

    let link = &namespace.json("addr show dev net1")[0];
    assert_eq!(link["address"], "02:00:00:00:00:0a");
    assert_eq!(link["mtu"], 9000);
    assert_eq!(link["ifalias"], ALIAS);
    assert_eq!(link["linkinfo"]["info_kind"], "tun");
    assert_eq!(link["linkinfo"]["info_data"]["type"], "tap");
    assert_eq!(link["linkinfo"]["info_data"]["persist"], true);
    let flags = link["flags"].as_array().unwrap();
    assert!(flags.contains(&"UP".into()) && flags.contains(&"NO-CARRIER".into()), "{flags:?}");
    let addresses = link["addr_info"].as_array().unwrap();
    let mut spelled: Vec<_> =
        addresses.iter().map(|ip| format!("{}/{}", ip["local"].as_str().unwrap(), ip["prefixlen"])).collect();
    spelled.sort();
    assert_eq!(spelled, ["10.1.0.2/24", "192.0.2.7/32", "fd00:1::2/64"]);
    assert!(addresses.iter().all(|ip| ip.get("tentative").is_none()), "{addresses:?}");

    let expected = ["10.1.0.0/24", "10.2.0.0/16", "10.3.0.0/16", "fd00:1::/64", "fd00:2::/64"];
    assert_eq!(namespace.destinations("net1"), expected);
    let route = &namespace.json("route show 10.2.0.0/16")[0];
    assert_eq!(route["gateway"], "10.1.0.1");

    let found = look(&namespace.path(), "net1").unwrap().unwrap();
    assert!(found.ours);
    assert_eq!((found.mac.as_str(), found.mtu, found.alias.as_str()), ("02:00:00:00:00:0a", 9000, ALIAS));
    let mut seen = found.addresses;
    seen.sort();
    assert_eq!(seen, spelled);

    // Once more is the same.
    assert_eq!(add(&namespace.path(), &stub(&addressing)).unwrap(), []);
    assert_eq!(namespace.destinations("net1"), expected);
    assert_eq!(namespace.json("addr show dev net1")[0]["addr_info"].as_array().unwrap().len(), 3);

    remove(&namespace.path(), "net1").unwrap();
    assert_eq!(look(&namespace.path(), "net1").unwrap(), None);
    remove(&namespace.path(), "net1").unwrap();
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
}

#[test]
fn what_carries_traffic_keeps_it() {
    if !able() {
        return;
    }
    let namespace = Namespace::new();
    // The pod's own interface, its network, and a way out.
    for command in [
        "link add eth0 type veth peer name far",
        "link set eth0 up",
        "link set far up",
        "addr add 10.244.0.5/16 dev eth0",
        "addr add fd00:10::5/64 dev eth0 nodad",
        "route add default via 10.244.0.1",
        "route add 172.16.0.0/12 via 10.244.0.1",
        "-6 route add default via fd00:10::1",
    ] {
        namespace.ip(command);
    }
    let others = || (namespace.ip("-4 route show dev eth0"), namespace.ip("-6 route show dev eth0"));
    let before = others();
    let addressing = addressing(
        // Inside eth0's network, around it, the same, and one beside.
        &["10.244.3.4/24", "10.1.0.2/8", "fd00:10::6/64", "10.0.0.9/32", "192.168.7.2/24"],
        &[
            ("0.0.0.0/0", Some("192.168.7.1")),
            ("::/0", None),
            ("172.17.0.0/16", Some("192.168.7.1")),
            ("172.0.0.0/8", Some("192.168.7.1")),
            ("198.51.100.0/24", Some("203.0.113.1")),
            ("192.168.8.0/24", Some("192.168.7.1")),
        ],
    );
    let skipped = add(&namespace.path(), &stub(&addressing)).unwrap();
    assert_eq!(namespace.destinations("net1"), ["192.168.7.0/24", "192.168.8.0/24"]);
    assert_eq!(others(), before);
    let destinations: Vec<_> = skipped.iter().map(|skipped| skipped.dst.as_str()).collect();
    let expected =
        ["10.244.3.0/24", "10.0.0.0/8", "fd00:10::/64", "::/0", "0.0.0.0/0", "172.17.0.0/16", "172.0.0.0/8"];
    assert_eq!(destinations[..7], expected, "{skipped:?}");
    assert_eq!(destinations[7..], ["198.51.100.0/24"], "its gateway is nowhere");
    assert!(skipped[0].why.contains("10.244.0.0/16"), "{skipped:?}");
    // The addresses are all there.
    assert_eq!(look(&namespace.path(), "net1").unwrap().unwrap().addresses.len(), 5);
}

#[test]
fn a_link_of_another_is_left_alone() {
    if !able() {
        return;
    }
    let namespace = Namespace::new();
    let none = Addressing::default();
    namespace.ip("link add net1 type veth peer name far");
    let error = add(&namespace.path(), &stub(&none)).unwrap_err();
    assert!(matches!(&error, StubError::Exists { ifname, .. } if ifname == "net1"), "{error}");
    remove(&namespace.path(), "net1").unwrap();
    let found = look(&namespace.path(), "net1").unwrap().unwrap();
    assert!(!found.ours && found.alias.is_empty());

    // A stub of another port.
    let other = StubLink { ifname: "net2", alias: "podswitch:other", ..stub(&none) };
    add(&namespace.path(), &other).unwrap();
    let error = add(&namespace.path(), &StubLink { ifname: "net2", ..stub(&none) }).unwrap_err();
    assert!(error.to_string().contains("podswitch:other"), "{error}");
    assert_eq!(look(&namespace.path(), "net2").unwrap().unwrap().alias, "podswitch:other");
}

#[test]
fn a_failure_on_the_way_leaves_no_link() {
    if !able() {
        return;
    }
    let namespace = Namespace::new();
    let none = Addressing::default();
    // A multicast address, and an MTU that no tap can have: refused by the kernel when the link is there.
    for link in
        [StubLink { mac: "01:00:5e:00:00:01", ..stub(&none) }, StubLink { mtu: 1 << 20, ..stub(&none) }]
    {
        assert!(matches!(add(&namespace.path(), &link), Err(StubError::System { .. })));
        assert_eq!(look(&namespace.path(), "net1").unwrap(), None);
    }
}

#[test]
fn addresses_of_ipv6_where_a_runtime_switched_it_off() {
    if !able() {
        return;
    }
    let namespace = Namespace::new();
    // As container runtimes do; written by a process inside, as the file shows its own namespace's value.
    let net = format!("--net={}", namespace.path().display());
    let script = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6";
    assert!(Command::new("nsenter").args([&net, "sh", "-c", script]).status().unwrap().success());
    let addressing = addressing(&["fd00:1::2/64"], &[]);
    assert_eq!(add(&namespace.path(), &stub(&addressing)).unwrap(), []);
    assert_eq!(look(&namespace.path(), "net1").unwrap().unwrap().addresses, ["fd00:1::2/64"]);
}

#[test]
fn a_namespace_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let none = Addressing::default();
    let plain = directory.path().join("plain");
    // What is left of a bind mount when it is gone.
    File::create(&plain).unwrap();
    for path in [plain, directory.path().join("absent"), "/nowhere/net".into()] {
        remove(&path, "net1").unwrap();
        assert!(matches!(look(&path, "net1"), Err(StubError::NoNamespace(_))));
        assert!(matches!(add(&path, &stub(&none)), Err(StubError::NoNamespace(_))));
    }
    // A namespace, but of another kind.
    assert!(matches!(look(Path::new("/proc/self/ns/mnt"), "net1"), Err(StubError::System { .. })));
}

#[test]
fn texts_are_read_before_anything_is_made() {
    let good = addressing(&["10.0.0.1/24"], &[]);
    let bad = [
        addressing(&["10.0.0.1"], &[]),
        addressing(&["10.0.0.1/33"], &[]),
        addressing(&[], &[("default", None)]),
        addressing(&[], &[("10.0.0.0/8", Some("gw"))]),
    ];
    let long = "n".repeat(16);
    let mut links = vec![
        StubLink { ifname: "", ..stub(&good) },
        StubLink { ifname: "a/b", ..stub(&good) },
        StubLink { ifname: "net%d", ..stub(&good) },
        StubLink { ifname: "..", ..stub(&good) },
        StubLink { ifname: &long, ..stub(&good) },
        StubLink { mac: "02:00:00:00:00", ..stub(&good) },
        StubLink { mac: "02:00:00:00:00:00:00", ..stub(&good) },
        StubLink { mac: "02:00:00:00:00:+1", ..stub(&good) },
        StubLink { alias: "other:a", ..stub(&good) },
    ];
    links.extend(bad.iter().map(stub));
    for link in links {
        assert!(matches!(add(Path::new("/nowhere"), &link), Err(StubError::Invalid { .. })), "{link:?}");
    }
}
