use proptest::prelude::*;

use super::*;

fn spec() -> v1::PortSpec {
    v1::PortSpec {
        name: "a".into(),
        network: "blue".into(),
        device: Some(Device::VhostUser(v1::VhostUser {
            path: "/run/a.sock".into(),
            ..v1::VhostUser::default()
        })),
        ..v1::PortSpec::default()
    }
}

fn with(change: impl FnOnce(&mut v1::PortSpec)) -> Result<Port, Invalid> {
    let mut spec = spec();
    change(&mut spec);
    port(Some(spec), 1 << 30)
}

fn with_vhost(change: impl FnOnce(&mut v1::VhostUser)) -> Result<Port, Invalid> {
    with(|s| match &mut s.device {
        Some(Device::VhostUser(vhost)) => change(vhost),
        _ => unreachable!("spec() is a vhost-user port"),
    })
}

/// The field at fault; the message names the remedy too.
fn fault(result: Result<Port, Invalid>) -> &'static str {
    let invalid = result.unwrap_err();
    assert!(!invalid.why.to_string().is_empty() && !invalid.why.remedy().is_empty());
    invalid.field
}

#[test]
fn the_defaults_are_filled_in() {
    let port = with(|_| ()).unwrap();
    assert_eq!(port.queues, 1);
    assert_eq!(port.settings, PortSettings { mem_limit: 1 << 30, ..PortSettings::default() });
    assert_eq!(
        port.device,
        DeviceSpec::VhostUser {
            path: "/run/a.sock".into(),
            mode: SocketMode::Server,
            features_off: Features::empty()
        }
    );
    // What came out goes in again unchanged: the stored form is canonical.
    assert_eq!(super::port(Some(port.spec.clone()), 1 << 30).unwrap(), port);
}

#[test]
fn every_setting_reaches_the_dataplane() {
    let port = with(|s| {
        s.mac = "02:AA:00:00:00:01".into();
        s.ips = vec!["10.0.0.1/24".into(), "10.0.0.1/16".into(), "fd00::1/64".into()];
        s.allow_source = vec!["10.1.0.0/16".into(), "10.1.0.0/16".into()];
        s.mtu = 9000;
        s.trusted = true;
        s.admin_down = true;
        s.workers = "3,2".into();
        s.queues = 16;
    })
    .unwrap();
    let settings = &port.settings;
    assert_eq!(port.spec.mac, "02:aa:00:00:00:01");
    assert_eq!(settings.ips, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    assert_eq!(port.spec.ips, ["10.0.0.1/24", "fd00::1/64"]);
    assert_eq!(settings.allow_source, ["10.1.0.0/16".parse::<IpNet>().unwrap()]);
    assert_eq!((settings.mtu, settings.trusted, settings.admin_up), (Some(9000), true, false));
    assert_eq!(port.spec.workers, "2-3");
    assert_eq!(port.queues, 16);
}

#[test]
fn names() {
    for bad in ["", "A", "a_b", "../x", "a\0b", "-a", "a-", ".", "é", &"a".repeat(64), "a b", "a/b"] {
        assert_eq!(fault(with(|s| s.name = bad.into())), "name", "{bad:?}");
        assert_eq!(fault(with(|s| s.network = bad.into())), "network", "{bad:?}");
    }
    for good in ["a", "0", "pod-1.ns.net0", &"a".repeat(63)] {
        assert!(with(|s| s.name = good.into()).is_ok(), "{good}");
    }
}

#[test]
fn addresses_and_prefixes() {
    for bad in ["10.0.0.1", "10.0.0.1/33", "x", "", "10.0.0/8", "224.0.0.1/4", "0.0.0.0/0", "ff02::1/128"] {
        assert_eq!(fault(with(|s| s.ips = vec![bad.into()])), "ips", "{bad:?}");
    }
    for bad in ["10.0.0.0", "10.0.0.1/24", "fd00::1/64", "10.0.0.0/-1", "::/129"] {
        assert_eq!(fault(with(|s| s.allow_source = vec![bad.into()])), "allow_source", "{bad:?}");
    }
    assert!(with(|s| s.allow_source = vec!["0.0.0.0/0".into(), "::/0".into()]).is_ok());
    assert_eq!(fault(with(|s| s.ips = vec!["10.0.0.1/24".into(); 257])), "ips");
}

#[test]
fn macs() {
    for bad in
        ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00", "zz", "02-00-00-00-00-01"]
    {
        assert_eq!(fault(with(|s| s.mac = bad.into())), "mac", "{bad:?}");
    }
}

#[test]
fn sockets() {
    for bad in ["", "run/a", "/", "/run/", "/run/../a", "/run//a", "/run/./a", "/run/\u{1b}[31m", "/run/a\0"]
    {
        assert_eq!(fault(with_vhost(|v| v.path = bad.into())), "vhost_user.path", "{bad:?}");
    }
    let long = format!("/{}", "a".repeat(LONGEST_SOCKET_PATH));
    let refused = with_vhost(|v| v.path = long.clone()).unwrap_err();
    assert_eq!(refused.why, Why::PathLong(108));
    assert!(with_vhost(|v| v.path = long[..107].into()).is_ok());
    assert_eq!(fault(with_vhost(|v| v.mode = 7)), "vhost_user.mode");
    for bad in ["no_such", "version_1", ""] {
        assert_eq!(fault(with_vhost(|v| v.features_off = vec![bad.into()])), "vhost_user.features_off");
    }
    let off = with_vhost(|v| v.features_off = vec!["MRG_RXBUF".into(), "in_order".into()]).unwrap();
    let DeviceSpec::VhostUser { features_off, .. } = off.device else { panic!("a vhost-user port") };
    assert_eq!(features_off, Features::MRG_RXBUF | Features::IN_ORDER);
}

#[test]
fn numbers_and_the_rest() {
    assert_eq!(fault(with(|s| s.queues = 17)), "queues");
    for bad in [1, 67, 65_522, u32::MAX] {
        assert_eq!(fault(with(|s| s.mtu = bad)), "mtu", "{bad}");
    }
    for good in [0, 68, 65_521] {
        assert!(with(|s| s.mtu = good).is_ok(), "{good}");
    }
    assert_eq!(fault(with(|s| s.workers = "2-".into())), "workers");
    assert_eq!(with(|s| s.workers = "auto".into()).unwrap().spec.workers, "");
    assert_eq!(fault(with(|s| s.device = None)), "device");
    let dpdk = |args: &str| Some(Device::Dpdk(v1::DpdkDevice { devargs: args.into() }));
    for bad in ["", "net_null0\n", &"a".repeat(1025)] {
        assert_eq!(fault(with(|s| s.device = dpdk(bad))), "dpdk.devargs");
    }
    assert!(with(|s| s.device = dpdk("net_af_packet0,iface=veth0")).is_ok());
    assert_eq!(fault(port(None, 1)), "spec");
}

#[test]
fn labels_are_bounded() {
    for (key, value) in [("A", "x"), ("", "x"), ("a\"b", "x"), ("a", "x\ny"), ("a", &"x".repeat(129))] {
        assert_eq!(fault(with(|s| drop(s.labels.insert(key.into(), value.into())))), "labels", "{key:?}");
    }
    assert_eq!(fault(with(|s| s.labels.extend((0..17).map(|i| (format!("k{i}"), String::new()))))), "labels");
    assert!(with(|s| drop(s.labels.insert("owner".into(), "team a".into()))).is_ok());
}

proptest! {
    /// Whatever text comes: no panic, and what is accepted is a fixed point.
    #[test]
    fn any_text(texts in proptest::collection::vec(".{0,120}", 8)) {
        let result = with(|s| {
            s.name = texts[0].clone();
            s.mac = texts[1].clone();
            s.ips = vec![texts[2].clone()];
            s.allow_source = vec![texts[3].clone()];
            s.workers = texts[4].clone();
            s.labels.insert(texts[5].clone(), texts[6].clone());
        });
        if let Ok(good) = result {
            prop_assert_eq!(&port(Some(good.spec.clone()), 1 << 30).unwrap(), &good);
        }
        if let Ok(good) = with_vhost(|v| v.path = format!("/{}", texts[7])) {
            prop_assert!(!good.spec.name.is_empty());
        }
    }
}
