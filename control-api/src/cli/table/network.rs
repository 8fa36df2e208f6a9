//! Networks with their policy, and attachments.

use proto::v1;

use super::{dash, pairs, table, text};
use crate::size;
use crate::validate::EVERY_NAMESPACE;

/// Words of a list that a line has room for.
const ROOM: usize = 3;

pub(in crate::cli) fn networks(list: &v1::NetworkListResponse) -> String {
    let mut rows = table(&["name", "namespaces", "ranges", "limits", "allows", "ports", "macs"], 5);
    for network in &list.networks {
        let spec = network.spec.clone().unwrap_or_default();
        rows.add_row([
            spec.name.clone(),
            namespaces(&short(&spec.namespaces)),
            dash(&short(&spec.ranges).join(", ")).to_owned(),
            dash(&limits(&spec).join(", ")).to_owned(),
            dash(&allows(&spec).join(", ")).to_owned(),
            network.ports.len().to_string(),
            network.fdb_entries.to_string(),
        ]);
    }
    text(&rows)
}

/// The first words of a list, and how many more there are.
fn short(words: &[String]) -> Vec<String> {
    if words.len() <= ROOM {
        return words.to_vec();
    }
    let more = format!("{} more", words.len() - (ROOM - 1));
    words[..ROOM - 1].iter().cloned().chain([more]).collect()
}

fn namespaces(words: &[String]) -> String {
    if words.iter().any(|word| word == EVERY_NAMESPACE) {
        return "every one".into();
    }
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn limits(spec: &v1::NetworkSpec) -> Vec<String> {
    let limit = |most: u64, text: String| (most != 0).then_some(text);
    [
        limit(spec.most_queues.into(), format!("{} queues", spec.most_queues)),
        limit(spec.most_mtu.into(), format!("MTU {}", spec.most_mtu)),
        limit(spec.most_memory, size::exact(spec.most_memory)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn allows(spec: &v1::NetworkSpec) -> Vec<&'static str> {
    let words =
        [(spec.allow_trusted, "trusted"), (spec.allow_source, "sources"), (spec.without_device, "no device")];
    words.into_iter().filter_map(|(allowed, word)| allowed.then_some(word)).collect()
}

pub(in crate::cli) fn network(network: &v1::Network) -> String {
    let spec = network.spec.clone().unwrap_or_default();
    let number = |most: u32| if most == 0 { "-".into() } else { most.to_string() };
    let yes = |allowed: bool| if allowed { "yes" } else { "no" }.to_owned();
    let memory =
        if spec.most_memory == 0 { "the configured default".into() } else { size::exact(spec.most_memory) };
    pairs(&[
        ("name", spec.name.clone()),
        ("ports", dash(&network.ports.join(", ")).to_owned()),
        ("MAC addresses", network.fdb_entries.to_string()),
        ("namespaces that may attach", namespaces(&spec.namespaces)),
        ("ranges", if spec.ranges.is_empty() { "any address".into() } else { spec.ranges.join(", ") }),
        ("most queues", number(spec.most_queues)),
        ("largest MTU", number(spec.most_mtu)),
        ("most memory", memory),
        ("may be trusted", yes(spec.allow_trusted)),
        ("may have other sources", yes(spec.allow_source)),
        ("may do without a device", yes(spec.without_device)),
    ])
}

pub(in crate::cli) fn attachments(list: &v1::AttachmentListResponse) -> String {
    let mut rows = table(&["pod", "interface", "network", "port", "mac", "ips", "mode", "device"], 8);
    for attachment in &list.attachments {
        let spec = attachment.spec.clone().unwrap_or_default();
        let key = spec.key.clone().unwrap_or_default();
        let ips: Vec<&str> = spec.ips.iter().map(|ip| ip.address.as_str()).collect();
        rows.add_row([
            holder(&spec.owner.clone().unwrap_or_default(), &key),
            key.ifname,
            spec.network.clone(),
            attachment.port.clone(),
            dash(&spec.mac).to_owned(),
            dash(&ips.join(", ")).to_owned(),
            spec.mode().word().to_owned(),
            dash(&spec.device_id).to_owned(),
        ]);
    }
    text(&rows)
}

/// The pod, or the beginning of the container's id where the runtime names no pod.
fn holder(owner: &v1::Owner, key: &v1::AttachmentKey) -> String {
    if owner.pod.is_empty() {
        let short: String = key.container_id.chars().take(12).collect();
        return format!("({short})");
    }
    format!("{}/{}", owner.namespace, owner.pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_shows_its_policy() {
        let plain = v1::NetworkSpec { name: "blue".into(), ..Default::default() };
        let tight = v1::NetworkSpec {
            name: "red".into(),
            namespaces: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            ranges: vec!["10.0.0.0/16".into()],
            most_queues: 2,
            most_mtu: 1500,
            most_memory: 512 << 20,
            allow_trusted: true,
            allow_source: false,
            without_device: true,
        };
        let networks = [plain, tight.clone()].map(|spec| v1::Network {
            spec: Some(spec),
            ports: vec!["p".into()],
            fdb_entries: 3,
        });
        let shown = super::networks(&v1::NetworkListResponse { networks: networks.to_vec() });
        let words: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect())
            .collect();
        assert_eq!(words[0], ["NAME", "NAMESPACES", "RANGES", "LIMITS", "ALLOWS", "PORTS", "MACS"]);
        assert_eq!(words[1], ["blue", "none", "-", "-", "-", "1", "3"]);
        let limits = "2 queues, MTU 1500, 512M";
        assert_eq!(words[2], ["red", "a, b, 2 more", "10.0.0.0/16", limits, "trusted, no device", "1", "3"]);
        let shown = network(&networks[1]);
        for line in ["namespaces that may attach: a, b, c, d", "largest MTU:                1500"] {
            assert!(shown.lines().any(|l| l == line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn an_attachment_shows_who_holds_it() {
        let spec = v1::AttachRequest {
            key: Some(v1::AttachmentKey {
                container_id: "0123456789abcdef".into(),
                ifname: "net1".into(),
                ..Default::default()
            }),
            network: "blue".into(),
            owner: Some(v1::Owner { namespace: "team".into(), pod: "web-0".into(), ..Default::default() }),
            device_id: "n0-0007".into(),
            mode: v1::SocketMode::Client.into(),
            mac: "02:00:00:00:00:01".into(),
            ips: vec![v1::AttachmentAddress { address: "10.0.0.1/24".into(), gateway: String::new() }],
            ..Default::default()
        };
        let nameless = v1::AttachRequest { owner: None, ..spec.clone() };
        let attachments = [spec, nameless].map(|spec| v1::Attachment {
            spec: Some(spec),
            port: "web-0-net1-12345678".into(),
            ..Default::default()
        });
        let shown = super::attachments(&v1::AttachmentListResponse { attachments: attachments.to_vec() });
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        let rest =
            ["net1", "blue", "web-0-net1-12345678", "02:00:00:00:00:01", "10.0.0.1/24", "client", "n0-0007"];
        assert_eq!(lines[1], [&["team/web-0"][..], &rest].concat());
        assert_eq!(lines[2], [&["(0123456789ab)"][..], &rest].concat());
    }
}
