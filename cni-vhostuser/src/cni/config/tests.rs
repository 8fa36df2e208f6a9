use serde_json::json;

use super::*;

fn base(more: &Value) -> Base {
    let mut whole = json!({"cniVersion": "1.1.0", "name": "n", "type": "cni-vhostuser"});
    for (key, value) in more.as_object().unwrap() {
        whole[key] = value.clone();
    }
    Base::read(whole.to_string().as_bytes()).unwrap()
}

fn read(more: &Value) -> Result<Config, Failure> {
    Config::read(&base(more), &Arguments::default())
}

fn refused(more: &Value, code: u32, words: &[&str]) {
    let failure = read(more).unwrap_err();
    assert_eq!(failure.code, code, "{more}: {failure}");
    for word in words {
        assert!(failure.to_string().contains(word), "{more}: \"{word}\" in \"{failure}\"");
    }
}

#[test]
fn nothing_said_is_the_default() {
    let config = read(&json!({})).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.needs(), Vec::<String>::new());
    let base = base(&json!({}));
    assert_eq!((base.socket.as_str(), base.network.as_str()), (DEFAULT_SOCKET, "n"));
    assert_eq!((base.timeout, base.ipam), (DEFAULT_TIMEOUT, None));
}

#[test]
fn everything_said_is_taken() {
    let config = read(&json!({
        "socket": "unix:///run/a.sock", "network": "red", "mode": "client", "mtu": 9000, "queues": 4,
        "mac": "02-AA-00-00-00-01", "ips": ["10.0.0.2/24", {"address": "fd00::2/64", "gateway": "fd00::1"}, "10.0.0.3"],
        "routes": [{"dst": "10.1.0.0/16", "gw": "10.0.0.1", "mtu": 1400}], "spoofCheck": false,
        "allowedAddresses": ["10.9.0.0/16"], "memLimit": "512M", "offloads": {"mrgRxbuf": false}, "stub": "tap",
        "deviceResource": "x.io/y", "timeoutMs": 100, "deviceID": "n0-0001", "pciBusID": "n0-0001",
        "dns": {"nameservers": ["10.0.0.53"]}, "capabilities": {"mac": true, "bandwidth": true}, "cni.dev/x": 1,
        "disableGC": true, "args": {"labels": [1]}, "prevResult": null,
    }))
    .unwrap();
    assert_eq!((config.mode, config.mtu, config.queues), (SocketMode::Client, 9000, 4));
    assert_eq!(config.mac, "02:aa:00:00:00:01");
    let ips: Vec<_> = config.ips.iter().map(|ip| (ip.address.as_str(), ip.gateway.as_str())).collect();
    assert_eq!(ips, [("10.0.0.2/24", ""), ("fd00::2/64", "fd00::1"), ("10.0.0.3/32", "")]);
    assert_eq!((config.routes[0].mtu, config.trusted), (Some(1400), true));
    assert_eq!((config.mem_limit, config.stub), (512 << 20, StubKind::Tap));
    assert_eq!(config.features_off, ["mrg_rxbuf"]);
    assert_eq!((config.device_id.as_str(), config.device_resource.as_str()), ("n0-0001", "x.io/y"));
    assert_eq!(config.dns.nameservers, ["10.0.0.53"]);
    let all = [
        "allow_source",
        "features_off",
        "ips",
        "mac",
        "mem_limit",
        "mode",
        "mtu",
        "queues",
        "routes",
        "stub",
        "trusted",
    ];
    assert_eq!(config.needs(), all);
}

#[test]
fn the_stronger_word_wins() {
    let mut whole = json!({"mac": "02:00:00:00:00:01", "ips": ["10.0.0.1/24"], "mtu": 1000});
    let arguments =
        Arguments::parse("MAC=02:00:00:00:00:02;IP=10.0.0.2/24,fd00::2/64;GATEWAY=10.0.0.9").unwrap();
    let read = |whole: &Value| {
        let config = Config::read(&base(whole), &arguments).unwrap();
        (config.mac, config.ips[0].address.clone(), config.ips[0].gateway.clone(), config.mtu)
    };
    let row = |last: &str, gateway: &str, mtu| {
        (format!("02:00:00:00:00:0{last}"), format!("10.0.0.{last}/24"), gateway.to_owned(), mtu)
    };
    assert_eq!(read(&whole), row("2", "10.0.0.9", 1000));
    whole["args"] = json!({"cni": {"mac": "02:00:00:00:00:03", "ips": ["10.0.0.3/24"], "mtu": 900}});
    assert_eq!(read(&whole), row("3", "", 900));
    whole["runtimeConfig"] = json!({"mac": "02:00:00:00:00:04", "ips": ["10.0.0.4/24"], "somebodyElses": 1});
    assert_eq!(read(&whole), row("4", "", 900));
    whole["runtimeConfig"] = json!({"mac": "", "ips": [], "deviceID": ""});
    assert_eq!(read(&whole), row("3", "", 900));
}

#[test]
fn a_device_id_is_the_runtimes_first() {
    let config = read(&json!({"deviceID": "a", "runtimeConfig": {"deviceID": "b"}})).unwrap();
    assert_eq!(config.device_id, "b");
    refused(
        &json!({"deviceID": "0000:3b:00.1"}),
        7,
        &["0000:3b:00.1", "resourceName", proto::paths::RESOURCE],
    );
}

#[test]
fn unknown_keys_are_named_with_their_values() {
    refused(&json!({"mut": 1500}), 2, &["mut", "1500", "unknown"]);
    refused(&json!({"args": {"cni": {"mut": 1500}}}), 2, &["args.cni.mut", "1500"]);
    refused(&json!({"args": {"cni": {"socket": "/x"}}}), 2, &["args.cni.socket"]);
    refused(&json!({"offloads": {"lro": true}}), 2, &["offloads.lro"]);
    refused(&json!({"ips": [{"address": "10.0.0.1/8", "via": 1}]}), 2, &["ips.via"]);
}

#[test]
fn what_is_not_offered_is_said() {
    for more in [
        json!({"vlan": 100}),
        json!({"bandwidth": {}}),
        json!({"runtimeConfig": {"bandwidth": {"ingressRate": 1}}}),
        json!({"queueSize": 1024}),
        json!({"numa": "strict"}),
        json!({"offloads": {"csum": true}}),
        json!({"offloads": {"packed": false}}),
        json!({"waitLink": "none"}),
        json!({"stub": "dummy"}),
        json!({"args": {"cni": {"vlan": 5}}}),
    ] {
        refused(&more, 2, &["not offered"]);
    }
}

#[test]
fn impossible_values_are_code_7() {
    for more in [
        json!({"mode": "master"}),
        json!({"mtu": 67}),
        json!({"mtu": 65522}),
        json!({"mtu": "1500"}),
        json!({"queues": 0}),
        json!({"queues": -1}),
        json!({"mac": "01:00:00:00:00:01"}),
        json!({"mac": "00:00:00:00:00:00"}),
        json!({"mac": "02:00:00:00:00"}),
        json!({"mac": "02:00:00:00:00:0g"}),
        json!({"mac": "02:00:00:00:00:+1"}),
        json!({"mac": "02:00:00:00:00:01:02"}),
        json!({"mac": "02:00:00:00:00:01:"}),
        json!({"ips": ["10.0.0.1/33"]}),
        json!({"ips": "10.0.0.1/24"}),
        json!({"ips": [{"gateway": "10.0.0.1"}]}),
        json!({"routes": [{"dst": "x"}]}),
        json!({"routes": [{"gw": "10.0.0.1"}]}),
        json!({"allowedAddresses": ["x"]}),
        json!({"spoofCheck": "yes"}),
        json!({"memLimit": "1T"}),
        json!({"memLimit": 0}),
        json!({"memLimit": "99999999999G"}),
        json!({"stub": true}),
        json!({"socket": "relative"}),
        json!({"socket": format!("/{}", "a".repeat(107))}),
        json!({"timeoutMs": 0}),
        json!({"ipam": {"type": "dhcp"}}),
        json!({"ipam": []}),
        json!({"ipam": {"type": 1}}),
        json!({"ipam": {"type": "static"}, "ips": ["10.0.0.1/24"]}),
        json!({"runtimeConfig": 1}),
        json!({"args": {"cni": []}}),
        json!({"runtimeConfig": {"CNIDeviceInfoFile": "x"}}),
        json!({"dns": {"nameservers": 1}}),
    ] {
        refused(&more, 7, &[]);
    }
}

#[test]
fn an_empty_ipam_is_none() {
    assert_eq!(base(&json!({"ipam": {}})).ipam, None);
    assert_eq!(base(&json!({"ipam": {"type": ""}})).ipam, None);
    assert!(read(&json!({"ipam": {}})).is_ok() && read(&json!({"ipam": null})).is_ok());
    assert_eq!(base(&json!({"ipam": {"type": "static"}})).ipam.as_deref(), Some("static"));
}

#[test]
fn del_passes_over_what_has_become_of_our_keys() {
    let base =
        base(&json!({"socket": 5, "timeoutMs": "x", "network": [], "ipam": 7, "mut": 1, "runtimeConfig": 1}));
    assert_eq!((base.socket.as_str(), base.network.as_str()), (DEFAULT_SOCKET, "n"));
    assert_eq!((base.timeout, base.ipam, base.device_info), (DEFAULT_TIMEOUT, None, None));
}

#[test]
fn what_is_no_configuration_is_code_6_or_7() {
    let code = |input: &str| Base::read(input.as_bytes()).unwrap_err().code;
    for input in ["", "{", "[]", "5", "\u{feff}", r#"{"name": 5}"#, r#"{"name": "n", "cniVersion": 1}"#] {
        assert_eq!(code(input), 6, "{input}");
    }
    assert_eq!(code(&"[".repeat(100_000)), 6);
    for input in ["{}", r#"{"name": ""}"#, r#"{"name": "a/b"}"#, r#"{"name": "-a"}"#, r#"{"name": null}"#] {
        assert_eq!(code(input), 7, "{input}");
    }
}

#[test]
fn the_version_is_read_from_whatever_can_be_read() {
    assert_eq!(version_of(br#"{"cniVersion": "9.9.9"}"#).as_deref(), Some("9.9.9"));
    for input in ["", "{}", r#"{"cniVersion": 1}"#, r#"{"cniVersion": ""}"#, r#"{"cniVersion": "1.0.0""#] {
        assert_eq!(version_of(input.as_bytes()), None, "{input}");
    }
}
