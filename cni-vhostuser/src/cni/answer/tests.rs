use proto::v1::{AttachRequest, AttachmentAddress, AttachmentRoute};
use serde_json::json;

use super::*;

fn attachment() -> Attachment {
    let ip =
        |address: &str, gateway: &str| AttachmentAddress { address: address.into(), gateway: gateway.into() };
    Attachment {
        spec: Some(AttachRequest {
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
            ips: vec![ip("10.0.0.2/24", "10.0.0.1"), ip("fd00::2/64", "")],
            routes: vec![AttachmentRoute {
                dst: "10.1.0.0/16".into(),
                mtu: Some(1400),
                ..AttachmentRoute::default()
            }],
            ..AttachRequest::default()
        }),
        host_path: "/run/podswitch/devices/a/socket/vhost.sock".into(),
        ..Attachment::default()
    }
}

fn ours() -> Answer {
    Answer::default().with(&attachment(), "net1", "/run/netns/a")
}

#[test]
fn the_newest_shape() {
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 1500, "sandbox": "/run/netns/a",
            "socketPath": "/run/podswitch/devices/a/socket/vhost.sock"}],
        "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 0}, {"address": "fd00::2/64", "interface": 0}],
        "routes": [{"dst": "10.1.0.0/16", "mtu": 1400}],
        "dns": {},
    });
    assert_eq!(ours().printed(Version::V1_1_0), expected);
}

#[test]
fn older_shapes_lack_what_came_later() {
    let one = ours().printed(Version::V1_0_0);
    assert_eq!(
        one["interfaces"],
        json!([{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/a"}])
    );
    assert_eq!(one["routes"], json!([{"dst": "10.1.0.0/16"}]));
    assert!(one["ips"][0].get("version").is_none());
    for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
        let old = ours().printed(version);
        assert_eq!(old["cniVersion"], version.text());
        assert_eq!((&old["ips"][0]["version"], &old["ips"][1]["version"]), (&json!("4"), &json!("6")));
        assert_eq!(old["interfaces"], one["interfaces"]);
    }
}

#[test]
fn a_port_without_addresses_has_no_lists_of_them() {
    let mut bare = attachment();
    bare.spec = Some(AttachRequest { mac: "02:00:00:00:00:01".into(), ..AttachRequest::default() });
    for version in Version::ALL {
        let printed = Answer::default().with(&bare, "net1", "/n").printed(version);
        assert!(printed.get("ips").is_none() && printed["interfaces"][0].get("mtu").is_none(), "{printed}");
    }
}

#[test]
fn what_came_before_stays_before() {
    let config = json!({"prevResult": {
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/run/netns/a", "mac": "02:00:00:00:00:09"}],
        "ips": [{"version": "4", "address": "192.0.2.2/24", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }});
    let chained = Answer::previous(&config).unwrap().unwrap().with(&attachment(), "net1", "/run/netns/a");
    let printed = chained.printed(Version::V1_1_0);
    let names: Vec<_> = printed["interfaces"].as_array().unwrap().iter().map(|i| i["name"].clone()).collect();
    assert_eq!(names, ["br0", "eth0", "net1"]);
    let indexes: Vec<_> =
        printed["ips"].as_array().unwrap().iter().map(|ip| ip["interface"].clone()).collect();
    assert_eq!(indexes, [1, 2, 2]);
    assert!(printed["ips"][0].get("version").is_none());
    assert_eq!(printed["dns"], json!({"nameservers": ["192.0.2.53"]}));
    assert_eq!(printed["routes"].as_array().unwrap().len(), 2);
    let (index, _) = chained.interface("net1", "/run/netns/a").unwrap();
    assert_eq!(chained.addresses_of(index), ["10.0.0.2/24", "fd00::2/64"]);
    assert!(chained.interface("net1", "/run/netns/b").is_none());
}

#[test]
fn every_shape_is_read_again() {
    for version in Version::ALL {
        let printed = ours().printed(version);
        let again = Answer::previous(&json!({ "prevResult": printed })).unwrap().unwrap();
        assert_eq!(again.printed(version), printed);
    }
}

#[test]
fn none_is_none() {
    assert_eq!(Answer::previous(&json!({})).unwrap(), None);
    assert_eq!(Answer::previous(&json!({"prevResult": null})).unwrap(), None);
    let empty = Answer::previous(&json!({"prevResult": {"dns": null, "ips": null}})).unwrap();
    assert_eq!(empty, Some(Answer::default()));
}

#[test]
fn nonsense_is_code_6_or_7() {
    let code = |previous: Value| Answer::previous(&json!({ "prevResult": previous })).unwrap_err().code;
    assert_eq!(code(json!("x")), 6);
    assert_eq!(code(json!([])), 6);
    assert_eq!(code(json!({"interfaces": 5})), 6);
    assert_eq!(code(json!({"ips": [{"interface": -1}]})), 6);
    assert_eq!(code(json!({"cniVersion": "9.9.9"})), 7);
    assert_eq!(code(json!({"cniVersion": 5})), 7);
    assert_eq!(code(json!({"ips": [{"address": "10.0.0.1/8", "interface": 4_000_000_000_u32}]})), 7);
}
