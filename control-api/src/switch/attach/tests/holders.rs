use proto::reasons;

use super::*;

const MAC: &str = "02:00:00:00:00:77";

/// One attachment that holds a MAC, an address and a device; requests of another that each ask for one of them.
fn rivals(bench: &Bench) -> (v1::AttachRequest, Vec<(&'static str, v1::AttachRequest)>) {
    let old = v1::AttachRequest {
        mac: MAC.into(),
        ips: vec![address("10.0.0.5/24")],
        ..bench.pod("old", "n0-0001")
    };
    let new = bench.pod("new", "n0-0002");
    let rivals = vec![
        ("mac", v1::AttachRequest { mac: MAC.into(), ..new.clone() }),
        ("ips", v1::AttachRequest { ips: vec![address("10.0.0.5/16")], ..new.clone() }),
        ("device_id", v1::AttachRequest { device_id: "n0-0001".into(), ..new }),
    ];
    (old, rivals)
}

#[test]
fn what_lives_keeps_what_it_has() {
    let bench = Bench::new();
    let (old, rivals) = rivals(&bench);
    bench.attach(&old).unwrap();
    fs::write(bench.socket_directory("n0-0001").join("vhost.sock"), "").unwrap();
    for (field, rival) in &rivals {
        let refused = refusal(bench.attach(rival));
        let text = refused.to_string();
        assert!(text.contains("the pod a/old, container old, interface net1"), "{text}");
        let (_, reason, at, _) = refused.parts();
        assert_eq!((reason, at.as_ref()), (reasons::HELD, *field));
    }
    assert_eq!(bench.ports().len(), 1);
    assert_eq!(entries(&bench.socket_directory("n0-0001")), 1, "its socket is untouched");
}

#[test]
fn another_network_is_another_matter() {
    let bench = Bench::new();
    let (old, _) = rivals(&bench);
    bench.attach(&old).unwrap();
    let other = v1::AttachRequest {
        network: "open".into(),
        mac: MAC.into(),
        ips: vec![address("10.0.0.5/24")],
        ..bench.pod("new", "")
    };
    bench.attach(&other).unwrap();
    assert_eq!(bench.ports().len(), 2);
}

#[test]
fn what_is_gone_gives_way_in_one_transaction() {
    for index in 0..3 {
        let bench = Bench::new();
        let (old, rivals) = rivals(&bench);
        let gone = bench.attach(&old).unwrap();
        bench.kill("old");
        let generation = bench.switch.status().store.unwrap().generation;
        let attachment = bench.attach(&rivals[index].1).unwrap();
        assert_eq!(bench.switch.status().store.unwrap().generation, generation + 1);
        assert_eq!(bench.ports(), std::slice::from_ref(&attachment.port));
        assert!(bench.switch.port(&gone.port).is_err());
        // The old pod's deletion comes late: it touches nothing of the new one's.
        fs::write(bench.path("run/devices").join(&attachment.directory).join("socket/vhost.sock"), "")
            .unwrap();
        assert!(!bench.detach("old"));
        assert_eq!(bench.ports(), std::slice::from_ref(&attachment.port));
        let place = bench.path("run/devices").join(&attachment.directory);
        assert!(place.join("port/port.json").exists() && place.join("socket/vhost.sock").exists());
        let bench = bench.restart("boot-1");
        assert_eq!(bench.switch.attachments(""), [attachment]);
    }
}

#[test]
fn one_request_may_take_from_several_and_fails_whole() {
    let bench = Bench::new();
    let one = v1::AttachRequest { mac: MAC.into(), ..bench.pod("one", "n0-0001") };
    let two = v1::AttachRequest { ips: vec![address("10.0.0.5/24")], ..bench.pod("two", "n0-0002") };
    bench.attach(&one).unwrap();
    bench.attach(&two).unwrap();
    let new = v1::AttachRequest {
        mac: MAC.into(),
        ips: vec![address("10.0.0.5/24")],
        ..bench.pod("new", "n0-0003")
    };
    bench.kill("one");
    assert_eq!(reason(bench.attach(&new)), (reasons::HELD, "ips".into()));
    assert_eq!(bench.ports().len(), 2, "the dead one is not harmed for nothing");
    bench.kill("two");
    bench.attach(&new).unwrap();
    assert_eq!(bench.ports().len(), 1);
}

#[test]
fn nothing_there_is_no_proof() {
    let bench = Bench::new();
    let (old, rivals) = rivals(&bench);
    bench.attach(&old).unwrap();
    // The directory of namespaces is not mounted any more: neither the old one nor any other is seen.
    let mut rival = rivals[0].1.clone();
    fs::rename(bench.path("netns"), bench.path("away")).unwrap();
    fs::create_dir(bench.path("netns")).unwrap();
    assert_eq!(reason(bench.attach(&rival)).0, reasons::HELD);
    fs::remove_dir(bench.path("netns")).unwrap();
    assert_eq!(reason(bench.attach(&rival)).0, reasons::HELD);
    // Something else at the path is proof.
    fs::rename(bench.path("away"), bench.path("netns")).unwrap();
    fs::rename(bench.path("netns/new"), bench.path("netns/old")).unwrap();
    rival.owner.as_mut().unwrap().netns = bench.path("netns/old").display().to_string();
    bench.attach(&rival).unwrap();
}

#[test]
fn a_namespace_that_the_daemon_never_saw_is_never_gone() {
    let bench = Bench::new();
    let (mut old, rivals) = rivals(&bench);
    old.owner.as_mut().unwrap().netns_ino += 1000;
    assert!(!bench.attach(&old).unwrap().netns_seen);
    bench.kill("old");
    for (_, rival) in &rivals {
        assert_eq!(reason(bench.attach(rival)).0, reasons::HELD);
    }
}

#[test]
fn a_key_that_is_used_anew_takes_over_from_itself() {
    let bench = Bench::new();
    let request = v1::AttachRequest { network: "open".into(), ..bench.pod("a1", "") };
    let first = bench.attach(&request).unwrap();
    bench.kill("a1");
    fs::write(bench.path("netns/other"), "").unwrap();
    let request = v1::AttachRequest { network: "open".into(), queues: 2, ..bench.pod("a1", "") };
    let second = bench.attach(&request).unwrap();
    assert_eq!(
        (second.port.as_str(), second.directory.as_str()),
        (first.port.as_str(), first.directory.as_str())
    );
    assert_eq!((bench.ports().len(), bench.fake.ports()[0].queues), (1, 2));
    assert!(bench.path("run/devices").join(&second.directory).join("port/port.json").exists());
}

#[test]
fn plain_ports_are_the_operators() {
    let bench = Bench::new();
    let vhost = v1::VhostUser { path: "/run/p.sock".into(), ..Default::default() };
    let plain = v1::PortSpec {
        name: "plain".into(),
        network: "blue".into(),
        mac: MAC.into(),
        ips: vec!["10.0.0.5/24".into()],
        device: Some(v1::port_spec::Device::VhostUser(vhost)),
        ..Default::default()
    };
    bench.switch.add_port(Some(plain)).unwrap();
    let new = bench.pod("new", "n0-0001");
    let ip = v1::AttachRequest { ips: vec![address("10.0.0.5/24")], ..new.clone() };
    assert_eq!(reason(bench.attach(&ip)), (reasons::IP_IN_USE, "ips".into()));
    let mac = v1::AttachRequest { mac: MAC.into(), ..new };
    assert!(matches!(bench.attach(&mac), Err(Error::MacTaken { .. })));
}
