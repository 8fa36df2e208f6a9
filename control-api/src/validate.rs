//! Checks a request's content and turns it into what the dataplane takes: parse at the edge, then never again.
//!
//! Here stands what can be said of one object alone. What depends on others (names in use, MAC addresses of the
//! network, socket paths, workers that run) is `switch`'s, because a stored object stays a good object when the
//! daemon comes back with other workers.

mod network;

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use dataplane::ids::MacAddr;
use dataplane::spec::{DeviceSpec, PortSettings, SocketMode};
use ipnet::IpNet;
use proto::v1;
use proto::v1::port_spec::Device;
use vhost::features::Features;

use crate::address::LONGEST_SOCKET_PATH;
use crate::cpus;

pub use network::{EVERY_NAMESPACE, LEAST_MEMORY, network};

/// Most queue pairs of a port.
pub const MOST_QUEUES: u32 = 16;
/// Least and most of a port's MTU.
pub const MTU: std::ops::RangeInclusive<u32> = 68..=65_521;
const LONGEST_NAME: usize = 63;
const LONGEST_DEVARGS: usize = 1024;
const MOST_PREFIXES: usize = 256;
const MOST_LABELS: usize = 16;
const LONGEST_LABEL: usize = 128;

/// A field that cannot be as it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Invalid {
    /// The field, by its name in the interface ("vhost_user.path").
    pub field: &'static str,
    /// What is wrong, with the value.
    pub why: Why,
}

/// What is wrong with a field; [`Why::remedy`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum Why {
    #[error("nothing was given")]
    Missing,
    #[error("\"{0}\" is not a name")]
    Name(String),
    #[error("the path has {0} bytes, a UNIX socket takes {LONGEST_SOCKET_PATH}")]
    PathLong(usize),
    #[error("\"{0}\" is not an absolute path")]
    PathRelative(String),
    #[error("\"{0}\" has empty parts, \".\" or \"..\", or ends in \"/\"")]
    PathParts(String),
    #[error("control characters")]
    Control,
    #[error("\"{0}\" is not a MAC address")]
    Mac(String),
    #[error("{0} is a multicast address")]
    MacGroup(MacAddr),
    #[error("00:00:00:00:00:00 is no port's address")]
    MacZero,
    #[error("\"{0}\" is not an address with a prefix length")]
    Address(String),
    #[error("{0} is not an address that a host can have")]
    NotAHost(IpAddr),
    #[error("\"{0}\" is not a prefix")]
    Prefix(String),
    #[error("{0} has bits set beyond its length")]
    HostBits(IpNet),
    #[error("{0} were given, {1} are taken at most")]
    TooMany(usize, usize),
    #[error("{0} queue pairs were asked for, the device takes 1 to {MOST_QUEUES}")]
    Queues(u32),
    #[error("{0} queue pairs are more than a port can have")]
    MostQueues(u32),
    #[error("{0} is out of range")]
    Mtu(u32),
    #[error("{0} bytes are too few for any guest")]
    Memory(u64),
    #[error("\"{0}\" is not the name of a namespace")]
    Namespace(String),
    #[error("there is no feature \"{0}\" that can be switched off")]
    Feature(String),
    #[error("\"{0}\" is not a list of CPUs")]
    Cpus(String),
    #[error("{0} is not a way to attach")]
    Mode(i32),
    #[error("{0} bytes, {1} are taken at most")]
    Long(usize, usize),
    #[error("\"{0}\" is not a label's key")]
    LabelKey(String),
}

impl Why {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing => "give a value".into(),
            Self::Name(_) => format!(
                "use 1 to {LONGEST_NAME} characters of [a-z0-9.-], beginning and ending with a letter or digit"
            ),
            Self::PathLong(_) => "use a shorter path".into(),
            Self::PathRelative(_) => "begin it with /".into(),
            Self::PathParts(_) => "write the path without them".into(),
            Self::Control => "leave them out".into(),
            Self::Mac(_) => {
                "write six pairs of hexadecimal digits with colons, as in 02:00:00:00:00:01".into()
            }
            Self::MacGroup(_) => "use a unicast address (an even first byte, as in 02:00:00:00:00:01)".into(),
            Self::MacZero => "use an address such as 02:00:00:00:00:01, or none".into(),
            Self::Address(_) => "write it as 10.0.0.1/24 or fd00::1/64".into(),
            Self::NotAHost(_) => "use a unicast address".into(),
            Self::Prefix(_) => "write it as 10.0.0.0/24 or fd00::/64".into(),
            Self::HostBits(net) => format!("write {}", net.trunc()),
            Self::TooMany(_, most) => format!("give at most {most}"),
            Self::Queues(_) => format!("use 1 to {MOST_QUEUES}"),
            Self::MostQueues(_) => format!("use 1 to {MOST_QUEUES}, or 0 for no limit"),
            Self::Memory(_) => {
                format!("use {LEAST_MEMORY} bytes or more, or 0 for the configured default")
            }
            Self::Namespace(_) => format!(
                "use 1 to {LONGEST_NAME} characters of [a-z0-9-], beginning and ending with a letter or digit, or \"{EVERY_NAMESPACE}\" for every namespace"
            ),
            Self::Mtu(_) => format!("use {} to {}, or 0 for no limit", MTU.start(), MTU.end()),
            Self::Feature(_) => format!("use of {}", Features::OPTIONAL.names().join(", ")),
            Self::Cpus(_) => "write numbers and ranges with commas (2-3,6), or auto".into(),
            Self::Mode(_) => "use server or client".into(),
            Self::Long(_, most) => format!("use at most {most} bytes"),
            Self::LabelKey(_) => "use 1 to 63 characters of [a-z0-9_.-], beginning with a letter".into(),
        }
    }
}

fn invalid<T>(field: &'static str, why: Why) -> Result<T, Invalid> {
    Err(Invalid { field, why })
}

/// A port whose every field is good by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// As asked for, in one canonical form: what is stored, shown and compared.
    pub spec: v1::PortSpec,
    /// What it is plugged into.
    pub device: DeviceSpec,
    /// Queue pairs.
    pub queues: u16,
    /// What changes in place.
    pub settings: PortSettings,
}

/// Checks a port; `default_mem_limit` in bytes stands in where the port names no limit.
///
/// # Errors
/// [`Invalid`] with the first field at fault.
pub fn port(spec: Option<v1::PortSpec>, default_mem_limit: u64) -> Result<Port, Invalid> {
    let Some(mut spec) = spec else { return invalid("spec", Why::Missing) };
    name("name", &spec.name)?;
    name("network", &spec.network)?;
    if spec.queues == 0 {
        spec.queues = 1;
    }
    if spec.queues > MOST_QUEUES {
        return invalid("queues", Why::Queues(spec.queues));
    }
    let mut mem_limit = default_mem_limit;
    let device = match &mut spec.device {
        None => return invalid("device", Why::Missing),
        Some(Device::VhostUser(vhost)) => {
            if vhost.mem_limit != 0 {
                mem_limit = vhost.mem_limit;
            }
            vhost_user(vhost)?
        }
        Some(Device::Dpdk(dpdk)) => dpdk_device(dpdk)?,
    };
    let settings = PortSettings {
        mac: mac(&mut spec.mac)?,
        ips: addresses(&mut spec.ips)?,
        allow_source: prefixes("allow_source", &mut spec.allow_source)?,
        trusted: spec.trusted,
        mtu: mtu("mtu", spec.mtu)?,
        admin_up: !spec.admin_down,
        workers: workers(&mut spec.workers)?,
        mem_limit,
    };
    labels(&spec)?;
    let queues = u16::try_from(spec.queues).expect("at most MOST_QUEUES");
    Ok(Port { queues, device, settings, spec })
}

/// Checks a name.
///
/// # Errors
/// [`Why::Name`].
pub fn name(field: &'static str, text: &str) -> Result<(), Invalid> {
    if plain(text) { Ok(()) } else { invalid(field, Why::Name(shown(text))) }
}

/// 1 to 63 characters of [a-z0-9.-], a letter or digit at both ends.
fn plain(text: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LONGEST_NAME
        && end(bytes.first())
        && end(bytes.last())
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

/// A tenant's text as it may stand in a message: short, and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn vhost_user(vhost: &mut v1::VhostUser) -> Result<DeviceSpec, Invalid> {
    let path = socket_path(&vhost.path)?;
    let mode = match v1::SocketMode::try_from(vhost.mode) {
        Ok(v1::SocketMode::Unspecified | v1::SocketMode::Server) => {
            vhost.mode = v1::SocketMode::Server.into();
            SocketMode::Server
        }
        Ok(v1::SocketMode::Client) => SocketMode::Client,
        Err(_) => return invalid("vhost_user.mode", Why::Mode(vhost.mode)),
    };
    let mut features_off = Features::empty();
    for text in &vhost.features_off {
        match Features::by_name(text) {
            Some(bit) if Features::OPTIONAL.contains(bit) => features_off |= bit,
            _ => return invalid("vhost_user.features_off", Why::Feature(shown(text))),
        }
    }
    vhost.features_off = features_off.names();
    Ok(DeviceSpec::VhostUser { path, mode, features_off })
}

fn socket_path(text: &str) -> Result<PathBuf, Invalid> {
    let field = "vhost_user.path";
    if text.is_empty() {
        return invalid(field, Why::Missing);
    }
    if text.len() > LONGEST_SOCKET_PATH {
        return invalid(field, Why::PathLong(text.len()));
    }
    if text.chars().any(char::is_control) {
        return invalid(field, Why::Control);
    }
    if !text.starts_with('/') {
        return invalid(field, Why::PathRelative(shown(text)));
    }
    let path = Path::new(text);
    let plain: PathBuf = path.components().filter(|c| !matches!(c, Component::ParentDir)).collect();
    if plain.as_os_str() != path.as_os_str() || text == "/" {
        return invalid(field, Why::PathParts(shown(text)));
    }
    Ok(plain)
}

fn dpdk_device(dpdk: &v1::DpdkDevice) -> Result<DeviceSpec, Invalid> {
    let field = "dpdk.devargs";
    let text = &dpdk.devargs;
    if text.is_empty() {
        return invalid(field, Why::Missing);
    }
    if text.len() > LONGEST_DEVARGS {
        return invalid(field, Why::Long(text.len(), LONGEST_DEVARGS));
    }
    if text.chars().any(char::is_control) {
        return invalid(field, Why::Control);
    }
    Ok(DeviceSpec::Dpdk { devargs: text.clone() })
}

/// An empty text is no address; otherwise the text becomes canonical.
pub(crate) fn mac(text: &mut String) -> Result<Option<MacAddr>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(mac) = text.parse::<MacAddr>() else { return invalid("mac", Why::Mac(shown(text))) };
    if mac.is_group() {
        return invalid("mac", Why::MacGroup(mac));
    }
    if mac.is_zero() {
        return invalid("mac", Why::MacZero);
    }
    *text = mac.to_string();
    Ok(Some(mac))
}

fn few(field: &'static str, given: usize) -> Result<(), Invalid> {
    if given > MOST_PREFIXES { invalid(field, Why::TooMany(given, MOST_PREFIXES)) } else { Ok(()) }
}

/// `ADDRESS/LENGTH`: the address counts, the length is kept for those who read it.
fn addresses(texts: &mut Vec<String>) -> Result<Vec<IpAddr>, Invalid> {
    few("ips", texts.len())?;
    let mut nets = Vec::<IpNet>::new();
    for text in texts.iter() {
        let Ok(net) = text.parse::<IpNet>() else { return invalid("ips", Why::Address(shown(text))) };
        let ip = net.addr();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if ip.is_multicast() || ip.is_unspecified() || broadcast {
            return invalid("ips", Why::NotAHost(ip));
        }
        if !nets.iter().any(|n| n.addr() == ip) {
            nets.push(net);
        }
    }
    *texts = nets.iter().map(ToString::to_string).collect();
    Ok(nets.iter().map(IpNet::addr).collect())
}

fn prefixes(field: &'static str, texts: &mut Vec<String>) -> Result<Vec<IpNet>, Invalid> {
    few(field, texts.len())?;
    let mut nets = Vec::<IpNet>::new();
    for text in texts.iter() {
        let Ok(net) = text.parse::<IpNet>() else { return invalid(field, Why::Prefix(shown(text))) };
        if net.addr() != net.network() {
            return invalid(field, Why::HostBits(net));
        }
        if !nets.contains(&net) {
            nets.push(net);
        }
    }
    *texts = nets.iter().map(ToString::to_string).collect();
    Ok(nets)
}

fn mtu(field: &'static str, mtu: u32) -> Result<Option<u16>, Invalid> {
    match u16::try_from(mtu) {
        Ok(0) => Ok(None),
        Ok(small) if MTU.contains(&mtu) => Ok(Some(small)),
        _ => invalid(field, Why::Mtu(mtu)),
    }
}

/// "auto" and nothing are the same: the switch decides.
fn workers(text: &mut String) -> Result<Vec<dataplane::ids::CoreId>, Invalid> {
    if text.is_empty() || text == "auto" {
        text.clear();
        return Ok(Vec::new());
    }
    let Ok(cpus) = cpus::parse(text) else { return invalid("workers", Why::Cpus(shown(text))) };
    *text = cpus::list(&cpus);
    Ok(cpus)
}

fn labels(spec: &v1::PortSpec) -> Result<(), Invalid> {
    if spec.labels.len() > MOST_LABELS {
        return invalid("labels", Why::TooMany(spec.labels.len(), MOST_LABELS));
    }
    for (key, value) in &spec.labels {
        let good = key.len() <= LONGEST_NAME
            && key.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'));
        if !good {
            return invalid("labels", Why::LabelKey(shown(key)));
        }
        if value.len() > LONGEST_LABEL {
            return invalid("labels", Why::Long(value.len(), LONGEST_LABEL));
        }
        if value.chars().any(char::is_control) {
            return invalid("labels", Why::Control);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
