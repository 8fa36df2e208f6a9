use proto::port_file::PortFile;
use proto::reasons;

use super::*;

#[test]
fn an_attachment_is_a_port_with_its_facts() {
    let bench = Bench::new();
    let request = v1::AttachRequest {
        queues: 2,
        ips: vec![address("10.0.0.5/24")],
        routes: vec![v1::AttachmentRoute {
            dst: "10.9.0.0/16".into(),
            gw: "10.0.0.1".into(),
            ..Default::default()
        }],
        labels: [("app".to_owned(), "x".to_owned()), ("owner".to_owned(), "somebody/else".to_owned())].into(),
        ..bench.pod("web-0", "n0-0001")
    };
    let attachment = bench.attach(&request).unwrap();
    assert!(attachment.port.starts_with("web-0-net1-"), "{}", attachment.port);
    assert_eq!(attachment.pod_path, "/run/podswitch/sockets/n0-0001/vhost.sock");
    assert_eq!(
        attachment.host_path,
        bench.socket_directory("n0-0001").join("vhost.sock").display().to_string()
    );
    assert!(attachment.netns_seen && attachment.attached_at > 0 && attachment.boot_id == "boot-1");
    let spec = attachment.spec.clone().unwrap();
    assert_eq!((spec.mode(), spec.queues), (v1::SocketMode::Server, 2));
    let port = bench.switch.port(&attachment.port).unwrap().spec.unwrap();
    assert_eq!(
        (port.mac.as_str(), port.ips.as_slice()),
        (spec.mac.as_str(), ["10.0.0.5/24".to_owned()].as_slice())
    );
    let label = |key: &str| port.labels.get(key).map(String::as_str);
    assert_eq!(
        (label("namespace"), label("pod"), label("interface")),
        (Some("a"), Some("web-0"), Some("net1"))
    );
    assert_eq!((label("owner"), label("app")), (Some("a/web-0"), Some("x")));
    let file: PortFile =
        serde_json::from_slice(&fs::read(bench.path("run/devices/n0-0001/port/port.json")).unwrap()).unwrap();
    assert_eq!((file.path, file.mac, file.queues), (attachment.pod_path.clone(), spec.mac, 2));
    assert_eq!((file.ips[0].address.as_str(), file.routes[0].gw.as_str()), ("10.0.0.5/24", "10.0.0.1"));
    assert_eq!(bench.switch.status().attachments, 1);
    assert_eq!(bench.switch.attachment(Some(&key("web-0"))).unwrap(), attachment);
    assert_eq!(bench.switch.attachments("net-a"), [attachment]);
    assert!(bench.switch.attachments("net-b").is_empty());
}

#[test]
fn the_same_again_is_the_same_answer() {
    let bench = Bench::new();
    let request = bench.pod("a1", "n0-0001");
    let first = bench.attach(&request).unwrap();
    bench.fake.calls();
    assert_eq!(bench.attach(&request).unwrap(), first);
    // So it is with what the first answer filled in, and by a caller that knows no namespace's inode.
    let mut known = v1::AttachRequest { mac: first.spec.clone().unwrap().mac, queues: 1, ..request.clone() };
    known.owner.as_mut().unwrap().netns_ino = 0;
    assert_eq!(bench.attach(&known).unwrap(), first);
    // And when the policy has changed since.
    let set = v1::NetworkSetRequest {
        name: "blue".into(),
        namespaces: Some(v1::Strings::default()),
        most_mtu: Some(1400),
        ..Default::default()
    };
    bench.switch.set_network(set).unwrap();
    assert_eq!(bench.attach(&request).unwrap(), first);
    assert!(bench.fake.calls().is_empty());
    let other = v1::AttachRequest { queues: 2, ..request };
    assert_eq!(reason(bench.attach(&other)), (reasons::ATTACHED_OTHERWISE, "queues".into()));
}

#[test]
fn a_detached_one_leaves_nothing() {
    let bench = Bench::new();
    let made = v1::AttachRequest { network: "open".into(), device_id: String::new(), ..bench.pod("x", "") };
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let directory = bench.attach(&made).unwrap().directory;
    fs::write(bench.socket_directory("n0-0001").join("vhost.sock"), "").unwrap();
    fs::write(bench.socket_directory(&directory).join("vhost.sock"), "").unwrap();
    assert!(bench.detach("a1") && bench.detach("x"));
    assert!(!bench.detach("a1") && !bench.detach("x"), "again is success, of nothing");
    assert!(bench.ports().is_empty() && bench.switch.attachments("").is_empty());
    assert_eq!(entries(&bench.socket_directory("n0-0001")), 0);
    assert_eq!(entries(&bench.path("run/devices/n0-0001/port")), 0);
    assert!(!bench.path("run/devices").join(&directory).exists());
    assert_eq!(entries(&bench.path("run/devices")), 3, "the device plugin's stay");
    assert_eq!(reason(bench.switch.attachment(Some(&key("a1")))).0, reasons::NOT_ATTACHED);
}

#[test]
fn what_the_dataplane_refuses_is_taken_back() {
    let bench = Bench::new();
    bench.fake.refuse(true);
    let made = v1::AttachRequest { network: "open".into(), ..bench.pod("x", "") };
    assert!(matches!(bench.attach(&made), Err(Error::Port(_))));
    assert!(bench.switch.attachments("").is_empty() && bench.switch.ports("").unwrap().is_empty());
    assert_eq!(entries(&bench.path("run/devices")), 3);
    bench.fake.refuse(false);
    bench.attach(&made).unwrap();
    let bench = bench.restart("boot-1");
    assert_eq!(bench.ports().len(), 1);
}

#[test]
fn a_disk_that_refuses_changes_nothing() {
    let bench = Bench::new();
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    bench.fake.calls();
    fs::rename(bench.path("state"), bench.path("away")).unwrap();
    assert!(matches!(bench.attach(&bench.pod("a2", "n0-0002")), Err(Error::Store(_))));
    assert!(matches!(bench.switch.detach(Some(&key("a1"))), Err(Error::Store(_))));
    assert!(bench.fake.calls().is_empty());
    let ready = bench.switch.ready("");
    assert!(ready.code == 50 && ready.reason.contains("cannot be written"), "{ready:?}");
    fs::rename(bench.path("away"), bench.path("state")).unwrap();
    bench.attach(&bench.pod("a2", "n0-0002")).unwrap();
    assert_eq!(bench.switch.ready("blue").code, 0);
    assert_eq!(bench.ports().len(), 2);
}

#[test]
fn the_operator_may_clean_up_and_hold_up() {
    let bench = Bench::new();
    let attachment = bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let set = |request: v1::PortSetRequest| {
        bench.switch.set_port(&v1::PortSetRequest { name: attachment.port.clone(), ..request })
    };
    let mac = set(v1::PortSetRequest { mac: Some("02:00:00:00:00:01".into()), ..Default::default() });
    assert!(matches!(mac, Err(Error::Attach(Refusal::Attached { field: "mac", .. }))));
    let ips = v1::Strings { values: vec!["10.0.0.1/24".into()] };
    let ips = set(v1::PortSetRequest { ips: Some(ips), ..Default::default() });
    assert!(matches!(ips, Err(Error::Attach(Refusal::Attached { field: "ips", .. }))));
    set(v1::PortSetRequest { admin_down: Some(true), mtu: Some(1400), ..Default::default() }).unwrap();
    bench.switch.delete_port(&attachment.port).unwrap();
    assert!(bench.switch.attachments("").is_empty() && bench.ports().is_empty());
    assert_eq!(entries(&bench.path("run/devices/n0-0001/port")), 0);
    let bench = bench.restart("boot-1");
    assert!(bench.switch.attachments("").is_empty() && bench.ports().is_empty());
}

#[test]
fn a_check_names_the_first_difference() {
    let bench = Bench::new();
    let request = v1::AttachRequest {
        mode: v1::SocketMode::Client.into(),
        ips: vec![address("10.0.0.5/24")],
        mtu: 1400,
        ..bench.pod("a1", "n0-0001")
    };
    let attachment = bench.attach(&request).unwrap();
    let socket = bench.socket_directory("n0-0001").join("vhost.sock");
    let check = |change: &dyn Fn(&mut v1::AttachmentCheckRequest)| {
        let mut request = v1::AttachmentCheckRequest {
            key: Some(key("a1")),
            mac: attachment.spec.as_ref().unwrap().mac.to_uppercase(),
            ips: vec!["10.0.0.5/24".into()],
            mtu: 1400,
            host_path: attachment.host_path.clone(),
        };
        change(&mut request);
        let answer = bench.switch.check_attachment(&request);
        answer.map(|answer| answer.attachment.unwrap())
    };
    assert_eq!(reason(check(&|_| {})).0, reasons::SOCKET_MISSING, "the recorder makes no socket");
    fs::write(&socket, "").unwrap();
    assert_eq!(check(&|_| {}).unwrap(), attachment);
    let differs = |field: &str| (reasons::DIFFERS, field.to_owned());
    assert_eq!(reason(check(&|r| r.mac = "02:00:00:00:00:01".into())), differs("mac"));
    assert_eq!(reason(check(&|r| r.mtu = 1500)), differs("mtu"));
    assert_eq!(reason(check(&|r| r.ips.push("10.0.0.6/24".into()))), differs("ips"));
    assert_eq!(reason(check(&|r| r.host_path = "/elsewhere".into())), differs("host_path"));
    assert_eq!(reason(check(&|r| r.key = Some(key("z")))).0, reasons::NOT_ATTACHED);
    fs::remove_file(bench.path("run/devices/n0-0001/port/port.json")).unwrap();
    assert_eq!(reason(check(&|_| {})).0, reasons::SOCKET_MISSING);
    let bench = {
        let Bench { directory, switch, .. } = bench;
        drop(switch);
        let fake = Arc::new(Fake::default());
        fake.refuse(true);
        let switch = start(directory.path(), "boot-1", &fake);
        Bench { directory, fake, switch }
    };
    let request = v1::AttachmentCheckRequest { key: Some(key("a1")), ..Default::default() };
    let answer = bench.switch.check_attachment(&request).map(|answer| answer.attachment.unwrap());
    assert_eq!(reason(answer).0, reasons::BACKEND_DOWN);
}

#[test]
fn garbage_is_what_the_list_lacks_and_of_one_network_alone() {
    let bench = Bench::new();
    for (name, device) in [("a1", "n0-0001"), ("a2", "n0-0002")] {
        bench.attach(&bench.pod(name, device)).unwrap();
    }
    let mut other = bench.pod("a3", "n0-0003");
    other.key.as_mut().unwrap().network = "net-b".into();
    bench.attach(&other).unwrap();
    let list = v1::CollectRequest { network: "net-a".into(), have_list: true, valid: vec![key("a2")] };
    assert_eq!(bench.switch.collect(&list).unwrap().deleted, [key("a1")]);
    let left: Vec<_> = bench.switch.attachments("").iter().map(|a| a.directory.clone()).collect();
    assert_eq!(left, ["n0-0002", "n0-0003"]);
    let empty = v1::CollectRequest { valid: Vec::new(), ..list };
    assert_eq!(bench.switch.collect(&empty).unwrap().deleted, [key("a2")]);
}

#[test]
fn without_a_list_only_those_go_that_are_gone_and_never_all() {
    let bench = Bench::new();
    for (name, device) in [("a1", "n0-0001"), ("a2", "n0-0002")] {
        bench.attach(&bench.pod(name, device)).unwrap();
    }
    bench.pod("stranger", "");
    let nothing = v1::CollectRequest { network: "net-a".into(), ..Default::default() };
    assert!(bench.switch.collect(&nothing).unwrap().deleted.is_empty());
    bench.kill("a1");
    bench.kill("a2");
    assert!(bench.switch.collect(&nothing).unwrap().deleted.is_empty(), "not all");
    bench.attach(&bench.pod("a3", "n0-0003")).unwrap();
    let deleted = bench.switch.collect(&nothing).unwrap().deleted;
    assert_eq!(deleted, [key("a1"), key("a2")]);
    assert_eq!(bench.ports().len(), 1);
}

#[test]
fn ready_says_what_is_missing() {
    let bench = Bench::new();
    let ready = bench.switch.ready("blue");
    assert_eq!((ready.code, ready.numa_nodes.as_slice()), (0, [0].as_slice()));
    assert!(ready.features.is_sorted() && ready.features.contains(&"stub".to_owned()));
    assert_eq!(bench.switch.ready("nowhere").code, 50);
    fs::remove_dir_all(bench.path("run")).unwrap();
    let ready = bench.switch.ready("");
    assert!(ready.code == 50 && ready.reason.contains("run"), "{ready:?}");
    fs::create_dir(bench.path("run")).unwrap();
    assert_eq!(bench.switch.ready("open").code, 0);
    assert!(bench.switch.ready("blue").reason.contains("podswitch-device-plugin"));
}
