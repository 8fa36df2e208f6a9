//! What a namespace may not do to another, however its configuration is written.

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::sandbox::Sandbox;

const NOT_ALLOWED: u32 = 113;
const OVER_LIMIT: u32 = 114;

#[test]
fn a_namespace_neither_joins_nor_takes_nor_switches_off() {
    let Some(bed) = Bed::open() else { return };
    bed.node.switch.cli().ok(&["network", "add", "banks", "--namespace", "bank"]);
    bed.network("shared", &["--range", "10.77.0.0/24", "--max-queues", "1", "--max-mtu", "1500"]);
    bed.node.add_device("n0-0000");
    bed.node.add_device("n0-0001");
    let bank = Sandbox::new("bank", "vault");
    let shop = Sandbox::new("shop", "till");

    bed.node.refused(&shop, "net1", &bed.config("banks", "n0-0001"), NOT_ALLOWED, &["shop", "banks"]);
    // The name of the CNI network is not what counts.
    let mut disguised = bed.config("shared", "n0-0001");
    disguised["network"] = "banks".into();
    bed.node.refused(&shop, "net1", &disguised, NOT_ALLOWED, &["banks"]);
    bed.node.add(&bank, "net1", &bed.config("banks", "n0-0000"));
    bed.node.del(&bank, "net1", &bed.config("banks", "n0-0000"));

    let mut vault = bed.config("shared", "n0-0000");
    vault["ips"] = json!(["10.77.0.5/24"]);
    vault["mac"] = "02:00:00:00:00:05".into();
    bed.node.add(&bank, "net1", &vault);
    let holder = ["bank/vault"];
    let with = |pairs: &[(&str, Value)]| {
        let mut config = bed.config("shared", "n0-0001");
        for (key, value) in pairs {
            config[*key] = value.clone();
        }
        config
    };
    let address = json!(["10.77.0.5/24"]);
    let mac = json!("02:00:00:00:00:05");
    for config in [
        with(&[("ips", address.clone())]),
        with(&[("args", json!({ "cni": { "ips": address } }))]),
        with(&[("runtimeConfig", json!({ "ips": address }))]),
        with(&[("mac", mac.clone())]),
        with(&[("runtimeConfig", json!({ "mac": mac }))]),
        // Its device, and so its socket.
        bed.config("shared", "n0-0000"),
    ] {
        bed.node.refused(&shop, "net1", &config, 11, &holder);
    }
    for (key, value) in [
        ("spoofCheck", json!(false)),
        ("allowedAddresses", json!(["10.77.0.0/24"])),
        ("queues", json!(2)),
        ("args", json!({ "cni": { "queues": 2 } })),
    ] {
        bed.node.refused(&shop, "net1", &with(&[(key, value)]), OVER_LIMIT, &["shared"]);
    }
    bed.node.refused(&shop, "net1", &with(&[("mtu", json!(9_000))]), 108, &["1500"]);
    bed.node.refused(&shop, "net1", &with(&[("ips", json!(["10.78.0.1/24"]))]), 103, &["10.78.0.1"]);

    // Of all that nothing came into being.
    assert_eq!(bed.node.ports().len(), 1);
    let container = &shop.container_id;
    assert!(bed.node.attachments().iter().all(|attachment| !attachment.to_string().contains(container)));
    bed.node.del(&bank, "net1", &vault);
    bed.nothing_left();
}
