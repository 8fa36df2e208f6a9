use proto::reasons;

use super::*;

fn limit(bench: &Bench, spec: v1::NetworkSpec) {
    let spec = v1::NetworkSpec { name: "tight".into(), without_device: true, ..spec };
    bench.switch.delete_network("tight").unwrap();
    bench.switch.add_network(Some(spec)).unwrap();
}

fn tight(bench: &Bench) -> v1::AttachRequest {
    v1::AttachRequest { network: "tight".into(), ..bench.pod("a1", "") }
}

#[test]
fn a_namespace_must_be_named() {
    let bench = Bench::new();
    let of = |namespace: &str| {
        let mut request = bench.pod("a1", "n0-0001");
        request.owner.as_mut().unwrap().namespace = namespace.into();
        request
    };
    for other in ["b", "", "A", "*"] {
        let (reason, field) = reason(bench.attach(&of(other)));
        assert_eq!((reason, field.as_str()), (reasons::NAMESPACE_NOT_ALLOWED, "owner.namespace"), "{other}");
    }
    limit(&bench, v1::NetworkSpec::default());
    assert_eq!(reason(bench.attach(&tight(&bench))).0, reasons::NAMESPACE_NOT_ALLOWED, "none named: nobody");
    let nobody = v1::AttachRequest { network: "open".into(), ..of("") };
    bench.attach(&nobody).unwrap();
    assert!(bench.path("run/devices/n0-0001/port/port.json").exists());
}

#[test]
fn nothing_beyond_the_limits() {
    let bench = Bench::new();
    limit(
        &bench,
        v1::NetworkSpec {
            namespaces: vec!["a".into()],
            most_queues: 2,
            most_mtu: 1500,
            most_memory: 1 << 20,
            ..Default::default()
        },
    );
    let base = tight(&bench);
    let prefix = vec!["10.0.0.0/8".to_owned()];
    for (request, field) in [
        (v1::AttachRequest { queues: 3, ..base.clone() }, "queues"),
        (v1::AttachRequest { mtu: 1501, ..base.clone() }, "mtu"),
        (v1::AttachRequest { mem_limit: (1 << 20) + 1, ..base.clone() }, "mem_limit"),
        (v1::AttachRequest { trusted: true, ..base.clone() }, "trusted"),
        (v1::AttachRequest { allow_source: prefix, ..base.clone() }, "allow_source"),
    ] {
        assert_eq!(reason(bench.attach(&request)), (reasons::OVER_NETWORK_LIMIT, field.into()));
    }
    assert!(bench.switch.attachments("").is_empty());
    let given = bench.attach(&base).unwrap().spec.unwrap();
    assert_eq!((given.queues, given.mtu, given.mem_limit), (1, 1500, 1 << 20));
    let applied = &bench.fake.ports()[0];
    assert_eq!((applied.settings.mtu, applied.settings.mem_limit), (Some(1500), 1 << 20));
}

#[test]
fn what_is_allowed_is_given() {
    let bench = Bench::new();
    limit(
        &bench,
        v1::NetworkSpec {
            namespaces: vec!["*".into()],
            allow_trusted: true,
            allow_source: true,
            ..Default::default()
        },
    );
    let prefix = vec!["10.0.0.0/8".to_owned()];
    bench.attach(&v1::AttachRequest { trusted: true, allow_source: prefix, ..tight(&bench) }).unwrap();
    assert!(bench.fake.ports()[0].settings.trusted);
}

#[test]
fn addresses_lie_in_the_ranges() {
    let bench = Bench::new();
    let ranges = vec!["10.0.0.0/24".into(), "fd00::/64".into()];
    limit(&bench, v1::NetworkSpec { namespaces: vec!["a".into()], ranges, ..Default::default() });
    let with =
        |ips: &[&str]| v1::AttachRequest { ips: ips.iter().map(|ip| address(ip)).collect(), ..tight(&bench) };
    for outside in [&["10.0.1.1/24"][..], &["10.0.0.1/24", "fd01::1/64"]] {
        assert_eq!(reason(bench.attach(&with(outside))), (reasons::OUTSIDE_RANGES, "ips".into()));
    }
    bench.attach(&with(&["10.0.0.1/24", "fd00::1/64"])).unwrap();
    assert!(bench.fake.ports()[0].settings.allow_source.is_empty());
    bench.detach("a1");
    // None at all is not a way around the check.
    bench.attach(&with(&[])).unwrap();
    let sources: Vec<_> =
        bench.fake.ports()[0].settings.allow_source.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["10.0.0.0/24", "fd00::/64"]);
}

#[test]
fn a_device_is_needed_unless_the_network_says_otherwise() {
    let bench = Bench::new();
    assert_eq!(reason(bench.attach(&bench.pod("a1", ""))), (reasons::NO_DEVICE, "device_id".into()));
    assert_eq!(reason(bench.attach(&bench.pod("a1", "n0-0099"))).0, reasons::NO_DIRECTORY);
    assert_eq!(reason(bench.attach(&bench.pod("a1", "../etc"))).0, reasons::INVALID_FIELD);
}

#[test]
fn words_that_cannot_be_are_refused() {
    let bench = Bench::new();
    let base = bench.pod("a1", "n0-0001");
    let with = |change: &dyn Fn(&mut v1::AttachRequest)| {
        let mut request = base.clone();
        change(&mut request);
        bench.attach(&request)
    };
    for (field, result) in [
        ("key.container_id", with(&|r| r.key.as_mut().unwrap().container_id = "a/b".into())),
        ("key", with(&|r| r.key = None)),
        ("mode", with(&|r| r.mode = 7)),
        ("queues", with(&|r| r.queues = 17)),
        ("stub", with(&|r| r.stub = "veth".into())),
        ("ips", with(&|r| r.ips = vec![address("10.0.0.1")])),
        (
            "ips",
            with(&|r| r.ips = vec![v1::AttachmentAddress { gateway: "::1".into(), ..address("10.0.0.1/8") }]),
        ),
        ("owner.pod", with(&|r| r.owner.as_mut().unwrap().pod = "a\nb".into())),
        (
            "routes",
            with(&|r| r.routes = vec![v1::AttachmentRoute { dst: "\0".into(), ..Default::default() }]),
        ),
        (
            "",
            with(&|r| r.routes = vec![v1::AttachmentRoute { dst: "x".repeat(70_000), ..Default::default() }]),
        ),
    ] {
        assert_eq!(reason(result), (reasons::INVALID_FIELD, field.into()));
    }
    for result in [
        with(&|r| r.mac = "x".into()),
        with(&|r| r.mtu = 60),
        with(&|r| r.ips = vec![address("224.0.0.1/8")]),
    ] {
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    assert_eq!(
        reason(with(&|r| r.needs = vec!["mac".into(), "vlan".into()])),
        (reasons::NOT_OFFERED, "vlan".into())
    );
    assert!(matches!(with(&|r| r.network = "nowhere".into()), Err(Error::UnknownNetwork(_))));
    assert!(bench.fake.calls().is_empty());
    with(&|r| r.needs = vec!["mac".into()]).unwrap();
}
