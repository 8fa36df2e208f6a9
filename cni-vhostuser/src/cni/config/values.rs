//! The values of configuration keys: each parsed once, here, or code 7 with key, value and what it must be.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use proto::v1::{AttachmentAddress, SocketMode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::environment::shown;
use super::super::failure::{Code, Failure};
use super::super::result::{Dns, Route};
use super::keys;

/// The link that the plugin puts into the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StubKind {
    /// None.
    #[default]
    None,
    /// A tap device without a carrier that shows addresses, MAC and routes.
    Tap,
}

impl StubKind {
    /// As in the configuration and in an attachment.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tap => "tap",
        }
    }
}

/// Longest path of a UNIX socket in bytes.
const LONGEST_SOCKET_PATH: usize = 107;
/// Longest time that a configuration may give the daemon.
const LONGEST_TIMEOUT_MS: u64 = 600_000;

/// A value that cannot be.
pub(super) fn wrong(name: &str, value: &Value, must: &str) -> Failure {
    Failure::new(Code::InvalidConfig, format!("{name} = {}: {must}", shown(&value.to_string())))
}

pub(super) fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Failure> {
    value.as_str().ok_or_else(|| wrong(name, value, "it must be a text"))
}

pub(super) fn truth(name: &str, value: &Value) -> Result<bool, Failure> {
    value.as_bool().ok_or_else(|| wrong(name, value, "it must be true or false"))
}

pub(super) fn number(name: &str, value: &Value, range: RangeInclusive<u64>) -> Result<u64, Failure> {
    let must = || format!("it must be a number from {} to {}", range.start(), range.end());
    value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| wrong(name, value, &must()))
}

pub(super) fn decoded<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|e| wrong(name, value, &e.to_string()))
}

/// Path of the daemon's socket, with or without `unix:` before it.
pub(super) fn socket(text: &str) -> Result<String, Failure> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    // Also as a URL with an empty authority.
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let value = Value::from(text);
    if !path.starts_with('/') || path.contains('\0') {
        return Err(wrong("socket", &value, "it must be an absolute path"));
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(wrong("socket", &value, "a socket's path has at most 107 bytes"));
    }
    Ok(path.to_owned())
}

pub(super) fn timeout(value: &Value) -> Result<Duration, Failure> {
    number("timeoutMs", value, 1..=LONGEST_TIMEOUT_MS).map(Duration::from_millis)
}

pub(super) fn mode(name: &str, value: &Value) -> Result<SocketMode, Failure> {
    match value.as_str() {
        Some("server") => Ok(SocketMode::Server),
        Some("client") => Ok(SocketMode::Client),
        _ => Err(wrong(
            name,
            value,
            "it must be \"server\" (the application creates the socket) or \"client\"",
        )),
    }
}

pub(super) fn stub(name: &str, value: &Value) -> Result<StubKind, Failure> {
    match value.as_str() {
        Some("none") => Ok(StubKind::None),
        Some("tap") => Ok(StubKind::Tap),
        Some("dummy") => Err(keys::not_offered(name, value)),
        _ => Err(wrong(name, value, "it must be \"none\" or \"tap\"")),
    }
}

/// Bytes: a number, or a text with K, M or G (of 1024) after it.
pub(super) fn size(name: &str, value: &Value) -> Result<u64, Failure> {
    let parse = |text: &str| {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "" => 0,
            "K" | "Ki" => 10,
            "M" | "Mi" => 20,
            "G" | "Gi" => 30,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(1 << shift)
    };
    let bytes = value.as_u64().or_else(|| value.as_str().and_then(parse));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| wrong(name, value, "it must be bytes, as in 536870912 or \"512M\""))
}

pub(super) fn mac_value(name: &str, value: &Value) -> Result<String, Failure> {
    mac(name, text(name, value)?)
}

/// A MAC address that one interface can have, in lower case.
pub(super) fn mac(name: &str, text: &str) -> Result<String, Failure> {
    let refuse = |must: &str| wrong(name, &Value::from(text), must);
    let separator = if text.contains('-') { '-' } else { ':' };
    let octets: Vec<u8> = text
        .split(separator)
        .map_while(|part| {
            u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2 && !part.starts_with('+'))
        })
        .collect();
    if octets.len() != 6 || text.len() != 17 {
        return Err(refuse("it must be a MAC address as in 02:00:00:00:00:01"));
    }
    if octets[0] & 1 == 1 {
        return Err(refuse("a multicast address is nobody's own"));
    }
    if octets == [0; 6] {
        return Err(refuse("the zero address is nobody's own"));
    }
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":"))
}

/// ADDRESS/LENGTH; without a length it is the address alone.
fn address(name: &str, text: &str) -> Result<String, Failure> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| net.to_string()).ok_or_else(|| {
        wrong(name, &Value::from(text), "it must be an address with its prefix length, as in 10.0.0.2/24")
    })
}

fn gateway(name: &str, text: &str) -> Result<String, Failure> {
    let must = "the gateway must be an address, as in 10.0.0.1";
    text.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| wrong(name, &Value::from(text), must))
}

/// A list of texts, or of objects with `address` and `gateway`.
pub(super) fn addresses(name: &str, value: &Value) -> Result<Vec<AttachmentAddress>, Failure> {
    let must = "it must be a list of addresses";
    let list = value.as_array().ok_or_else(|| wrong(name, value, must))?;
    list.iter()
        .map(|entry| match entry {
            Value::String(text) => {
                Ok(AttachmentAddress { address: address(name, text)?, gateway: String::new() })
            }
            Value::Object(object) => {
                if let Some((key, value)) =
                    object.iter().find(|(key, _)| !matches!(key.as_str(), "address" | "gateway"))
                {
                    return Err(keys::unknown(&format!("{name}.{}", shown(key)), value));
                }
                let member = |key: &str| object.get(key).map_or(Ok(""), |value| text(name, value));
                let via = member("gateway")?;
                Ok(AttachmentAddress {
                    address: address(name, member("address")?)?,
                    gateway: if via.is_empty() { String::new() } else { gateway(name, via)? },
                })
            }
            other => Err(wrong(name, other, must)),
        })
        .collect()
}

/// `IP` and `GATEWAY` of `CNI_ARGS`: a gateway goes with the addresses of its family.
pub(super) fn addresses_of_arguments(
    ips: &[String],
    gateways: &[String],
) -> Result<Vec<AttachmentAddress>, Failure> {
    let gateways =
        gateways.iter().map(|text| gateway("CNI_ARGS: GATEWAY", text)).collect::<Result<Vec<_>, _>>()?;
    ips.iter()
        .map(|text| {
            let address = address("CNI_ARGS: IP", text)?;
            let via = gateways.iter().find(|gateway| gateway.contains(':') == address.contains(':'));
            Ok(AttachmentAddress { gateway: via.cloned().unwrap_or_default(), address })
        })
        .collect()
}

pub(super) fn prefixes(name: &str, value: &Value) -> Result<Vec<IpNet>, Failure> {
    let must = "it must be a list of prefixes, as in [\"10.1.0.0/16\"]";
    let list = value.as_array().ok_or_else(|| wrong(name, value, must))?;
    list.iter()
        .map(|entry| {
            entry
                .as_str()
                .and_then(|text| address(name, text).ok()?.parse().ok())
                .ok_or_else(|| wrong(name, entry, must))
        })
        .collect()
}

pub(super) fn routes(name: &str, value: &Value) -> Result<Vec<Route>, Failure> {
    let routes: Vec<Route> = decoded(name, value)?;
    for route in &routes {
        if route.dst.parse::<IpNet>().is_err() {
            return Err(wrong(
                name,
                &Value::from(route.dst.as_str()),
                "dst must be a prefix, as in 10.1.0.0/16",
            ));
        }
        if let Some(via) = &route.gw {
            gateway(name, via)?;
        }
    }
    Ok(routes)
}

/// `{"mrgRxbuf": false}`.
pub(super) fn offloads(name: &str, value: &Value) -> Result<Vec<String>, Failure> {
    let object = value.as_object().ok_or_else(|| wrong(name, value, "it must be an object"))?;
    let mut off = Vec::new();
    for (key, value) in object {
        let name = format!("{name}.{}", shown(key));
        match key.as_str() {
            "mrgRxbuf" => {
                if !truth(&name, value)? {
                    off.push("mrg_rxbuf".to_owned());
                }
            }
            "csum" | "tso" | "packed" => return Err(keys::not_offered(&name, value)),
            _ => return Err(keys::unknown(&name, value)),
        }
    }
    Ok(off)
}

/// The runtime's shape of resolver settings, which has words of its own (CONVENTIONS.md, "dns").
pub(super) fn runtime_dns(name: &str, value: &Value) -> Result<Dns, Failure> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Words {
        servers: Vec<String>,
        searches: Vec<String>,
        options: Vec<String>,
    }
    let words: Words = decoded(name, value)?;
    Ok(Dns {
        nameservers: words.servers,
        search: words.searches,
        options: words.options,
        domain: String::new(),
    })
}
