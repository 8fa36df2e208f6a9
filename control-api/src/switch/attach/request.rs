//! A request to attach, checked: first by itself, then against the policy of its network.
//!
//! [`Wanted`] is in canonical form and borrows nothing; [`bind`] fills in what the network gives and refuses what it
//! does not allow. Nothing here looks at other ports or at the disk.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use prost::Message as _;
use proto::{paths, v1};

use super::key::Key;
use super::refusal::Refusal;
use crate::error::Error;
use crate::validate::{self, MOST_QUEUES};

/// Words of what a caller can rely on, sorted.
pub const FEATURES: [&str; 11] = [
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
/// Labels that the daemon sets itself.
const OWN_LABELS: [&str; 4] = ["namespace", "pod", "interface", "owner"];
/// Longest value of a label; longer names of pods are cut.
const LONGEST_LABEL: usize = 128;
/// Largest request, encoded: routes and names of a thousand attachments must fit in a store that is read whole.
const LARGEST: usize = 64 << 10;
const LONGEST_NETNS: usize = 4096;
const LONGEST_WORD: usize = 253;

/// A request whose every field is good by itself, in canonical form.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub key: Key,
    /// With `needs` left out: it is no part of what is attached.
    pub spec: v1::AttachRequest,
    /// Whether the daemon itself sees the namespace (device and inode) that the caller names.
    pub netns_seen: bool,
}

fn refuse<T>(field: &'static str, why: impl Into<String>, remedy: &'static str) -> Result<T, Error> {
    Err(Refusal::Field { field, why: why.into(), remedy }.into())
}

/// Checks a request by itself.
pub(super) fn parse(mut spec: v1::AttachRequest) -> Result<Wanted, Error> {
    if let Some(word) = spec.needs.iter().find(|word| !FEATURES.contains(&word.as_str())) {
        return Err(Refusal::NotOffered(shown(word)).into());
    }
    spec.needs.clear();
    if spec.encoded_len() > LARGEST {
        return refuse(
            "",
            format!("the request has more than {LARGEST} bytes"),
            "give fewer routes and labels",
        );
    }
    let key = Key::parse(spec.key.as_ref())?;
    validate::name("network", &spec.network)?;
    let owner = spec.owner.get_or_insert_default();
    for (field, text, most) in [
        ("owner.namespace", &owner.namespace, LONGEST_WORD),
        ("owner.pod", &owner.pod, LONGEST_WORD),
        ("owner.pod_uid", &owner.pod_uid, LONGEST_WORD),
        ("owner.netns", &owner.netns, LONGEST_NETNS),
        ("stub", &spec.stub, 8),
    ] {
        if text.len() > most || text.chars().any(char::is_control) {
            return refuse(
                field,
                format!("\"{}\" is too long or holds control characters", shown(text)),
                "shorten it",
            );
        }
    }
    if !spec.device_id.is_empty() && !paths::is_device_id(&spec.device_id) {
        let why = format!("\"{}\" is no device id", shown(&spec.device_id));
        return refuse("device_id", why, "use 1 to 32 characters of [a-z0-9-], the first no -");
    }
    match v1::SocketMode::try_from(spec.mode) {
        Ok(v1::SocketMode::Unspecified) => spec.mode = v1::SocketMode::Server.into(),
        Ok(_) => {}
        Err(_) => return refuse("mode", format!("{} is no mode", spec.mode), "use server or client"),
    }
    if spec.queues == 0 {
        spec.queues = 1;
    }
    if spec.queues > MOST_QUEUES {
        let why = format!("{} queue pairs were asked for, the switch has {MOST_QUEUES}", spec.queues);
        return refuse("queues", why, "use 1 to 16");
    }
    if spec.stub == "none" {
        spec.stub.clear();
    }
    if !matches!(spec.stub.as_str(), "" | "tap") {
        return refuse("stub", format!("\"{}\" is no stub", shown(&spec.stub)), "use none or tap");
    }
    addresses(&mut spec.ips)?;
    let routes = spec.routes.iter().flat_map(|r| [("routes", &r.dst), ("routes", &r.gw)]);
    let dns = spec.dns.iter();
    let dns = dns.flat_map(|d| d.nameservers.iter().chain(&d.search).chain(&d.options).chain([&d.domain]));
    for (field, text) in routes.chain(dns.map(|text| ("dns", text))) {
        if text.chars().any(char::is_control) {
            return refuse(field, "control characters", "leave them out");
        }
    }
    for label in OWN_LABELS {
        spec.labels.remove(label);
    }
    // MAC, MTU, prefixes, features and labels: as of any port. What it makes canonical is kept.
    let port = validate::port(Some(port_spec(&spec, "a", "/a", &[])), 0)?.spec;
    spec.mac = port.mac;
    spec.allow_source = port.allow_source;
    if let Some(v1::port_spec::Device::VhostUser(vhost)) = port.device {
        spec.features_off = vhost.features_off;
    }
    Ok(Wanted { key, spec, netns_seen: false })
}

fn addresses(list: &mut Vec<v1::AttachmentAddress>) -> Result<(), Error> {
    let mut seen = Vec::<IpAddr>::new();
    let mut good = Vec::new();
    for given in list.iter() {
        let Ok(net) = given.address.parse::<IpNet>() else {
            let why = format!("\"{}\" is not an address with a prefix length", shown(&given.address));
            return refuse("ips", why, "write it as 10.0.0.1/24 or fd00::1/64");
        };
        let gateway = match given.gateway.as_str() {
            "" => String::new(),
            text => match text.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv4() == net.addr().is_ipv4() => ip.to_string(),
                _ => {
                    let why = format!("\"{}\" is no gateway of {net}", shown(text));
                    return refuse("ips", why, "write an address of the same family, or none");
                }
            },
        };
        if !seen.contains(&net.addr()) {
            seen.push(net.addr());
            good.push(v1::AttachmentAddress { address: net.to_string(), gateway });
        }
    }
    *list = good;
    Ok(())
}

/// A request against the policy of its network: what is left open is filled in, what is not allowed is refused.
pub(super) fn bind(spec: &mut v1::AttachRequest, policy: &v1::NetworkSpec) -> Result<(), Refusal> {
    let network = || policy.name.clone();
    let namespace = spec.owner.as_ref().map_or("", |owner| owner.namespace.as_str());
    let allowed = |name: &String| name == "*" || (!namespace.is_empty() && name == namespace);
    if !policy.namespaces.iter().any(allowed) {
        return Err(Refusal::Namespace { namespace: shown(namespace), network: network() });
    }
    let over = |field, asked: u64, most: u64| {
        let beyond = most != 0 && asked > most;
        if beyond { Err(Refusal::OverLimit { field, asked, most, network: network() }) } else { Ok(()) }
    };
    over("queues", spec.queues.into(), policy.most_queues.into())?;
    over("mtu", spec.mtu.into(), policy.most_mtu.into())?;
    over("mem_limit", spec.mem_limit, policy.most_memory)?;
    if spec.mtu == 0 {
        spec.mtu = policy.most_mtu;
    }
    if spec.mem_limit == 0 {
        spec.mem_limit = policy.most_memory;
    }
    if spec.trusted && !policy.allow_trusted {
        return Err(Refusal::NotAllowed { field: "trusted", network: network(), flag: "--allow-trusted" });
    }
    if !spec.allow_source.is_empty() && !policy.allow_source {
        return Err(Refusal::NotAllowed {
            field: "allow_source",
            network: network(),
            flag: "--allow-source",
        });
    }
    let ranges = ranges(policy);
    for ip in spec.ips.iter().filter_map(|ip| ip.address.parse::<IpNet>().ok()) {
        if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(&ip.addr())) {
            let ranges = policy.ranges.join(", ");
            return Err(Refusal::OutsideRanges { ip: ip.addr(), network: network(), ranges });
        }
    }
    if spec.device_id.is_empty() && !policy.without_device {
        return Err(Refusal::NoDevice(network()));
    }
    Ok(())
}

fn ranges(policy: &v1::NetworkSpec) -> Vec<IpNet> {
    policy.ranges.iter().filter_map(|text| text.parse().ok()).collect()
}

/// What the port may send from beside its own addresses. Where a network has ranges, one without addresses of its own is
/// held to them: it must not escape the check by naming none.
pub(super) fn sources(spec: &v1::AttachRequest, policy: &v1::NetworkSpec) -> Vec<String> {
    let mut sources = spec.allow_source.clone();
    if spec.ips.is_empty() && !spec.trusted {
        sources.extend(policy.ranges.iter().filter(|range| !spec.allow_source.contains(range)).cloned());
    }
    sources
}

/// The port of an attachment.
pub(super) fn port_spec(
    spec: &v1::AttachRequest,
    name: &str,
    path: &str,
    sources: &[String],
) -> v1::PortSpec {
    let vhost = v1::VhostUser {
        path: path.into(),
        mode: spec.mode,
        mem_limit: spec.mem_limit,
        features_off: spec.features_off.clone(),
    };
    let sources = if sources.is_empty() { &spec.allow_source } else { sources };
    v1::PortSpec {
        name: name.into(),
        network: spec.network.clone(),
        device: Some(v1::port_spec::Device::VhostUser(vhost)),
        queues: spec.queues,
        mac: spec.mac.clone(),
        ips: spec.ips.iter().map(|ip| ip.address.clone()).collect(),
        allow_source: sources.to_vec(),
        mtu: spec.mtu,
        trusted: spec.trusted,
        labels: labels(spec),
        ..v1::PortSpec::default()
    }
}

fn labels(spec: &v1::AttachRequest) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(key.into(), cut(value, LONGEST_LABEL).into());
        }
    };
    if let Some(owner) = &spec.owner {
        set("namespace", &owner.namespace);
        set("pod", &owner.pod);
        if !owner.pod.is_empty() {
            set("owner", &format!("{}/{}", owner.namespace, owner.pod));
        }
    }
    set("interface", spec.key.as_ref().map_or("", |key| key.ifname.as_str()));
    labels
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A caller's text as it may stand in a message: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}
