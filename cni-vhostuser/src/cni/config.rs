//! The network configuration on standard input.
//!
//! It is read in two ways. [`Base`] takes what every verb needs and passes over everything else, so that DEL, GC and
//! STATUS work whatever has become of our own keys since ADD. [`Config`] is strict, for ADD and CHECK: a key that
//! nobody knows, or that this switch does not offer, is code 2 with key and value. What may be said in several places
//! is taken from `runtimeConfig`, then `args.cni`, then `CNI_ARGS`, then the configuration itself.

mod keys;
mod values;

use std::time::Duration;

use ipnet::IpNet;
use proto::v1::{AttachmentAddress, SocketMode};
use serde_json::{Map, Value};

pub use values::StubKind;

use super::environment::{Arguments, IDENTIFIER, is_identifier, shown};
use super::failure::{Code, Failure};
use super::result::{Dns, Route};

/// The daemon's socket where the configuration names none.
pub const DEFAULT_SOCKET: &str = "/run/podswitch/api.sock";
/// Time that the daemon has for a call where the configuration does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of standard input that are read.
pub const LARGEST: u64 = 16 << 20;

/// What every verb needs.
#[derive(Clone, Debug)]
pub struct Base {
    /// All of standard input, for an IPAM plugin.
    pub whole: Value,
    /// `cniVersion` as it stands.
    pub version: String,
    /// `name`.
    pub name: String,
    /// `ipam.type`; `None`: no addresses are asked for.
    pub ipam: Option<String>,
    /// The daemon's socket.
    pub socket: String,
    /// Time for the daemon.
    pub timeout: Duration,
    /// The network of the switch.
    pub network: String,
    /// `runtimeConfig.CNIDeviceInfoFile`.
    pub device_info: Option<String>,
}

/// The `cniVersion` of an input, however broken the rest is; `None`: there is none that can be read.
#[must_use]
pub fn version_of(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    value.get("cniVersion")?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

impl Base {
    /// Reads what every verb needs.
    ///
    /// # Errors
    /// Code 6: not a JSON object, or `cniVersion` or `name` is no text; code 7: no `name`, or not one.
    pub fn read(input: &[u8]) -> Result<Self, Failure> {
        let decode = |msg: String| Failure::new(Code::Decode, msg);
        let whole: Value = serde_json::from_slice(input)
            .map_err(|e| decode(format!("the configuration on standard input is not JSON: {e}")))?;
        let Some(object) = whole.as_object() else {
            return Err(decode("the configuration on standard input is no JSON object".into()));
        };
        let text = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(decode(format!("{key} = {} is no text", shown(&other.to_string())))),
        };
        let (version, name) = (text("cniVersion")?, text("name")?);
        if name.is_empty() {
            return Err(Failure::new(Code::InvalidConfig, "the configuration has no name"));
        }
        if !is_identifier(&name) {
            let msg = format!("name \"{}\" is no name of a network", shown(&name));
            return Err(Failure::new(Code::InvalidConfig, msg).with(IDENTIFIER));
        }
        let lenient = |key: &str| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let at =
            |pointer: &str| whole.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let socket = lenient("socket").and_then(|text| values::socket(text).ok());
        let timeout = object.get("timeoutMs").and_then(|value| values::timeout(value).ok());
        Ok(Self {
            socket: socket.unwrap_or_else(|| DEFAULT_SOCKET.to_owned()),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            network: lenient("network").unwrap_or(&name).to_owned(),
            ipam: at("/ipam/type").map(str::to_owned),
            device_info: at("/runtimeConfig/CNIDeviceInfoFile").map(str::to_owned),
            version,
            name,
            whole,
        })
    }
}

/// What a pod's interface is to be: the strict reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who creates the socket, from the container's view.
    pub mode: SocketMode,
    /// Queue pairs; 0: not said.
    pub queues: u32,
    /// Bytes of a layer-3 packet; 0: not said.
    pub mtu: u32,
    /// Bytes of memory that the guest may share; 0: not said.
    pub mem_limit: u64,
    /// In lower case; empty: not said.
    pub mac: String,
    /// Addresses that are asked for without an IPAM plugin.
    pub ips: Vec<AttachmentAddress>,
    /// Routes of the configuration.
    pub routes: Vec<Route>,
    /// Resolver of the configuration or the runtime.
    pub dns: Dns,
    /// Prefixes that the port may send from beside its addresses.
    pub allowed_addresses: Vec<IpNet>,
    /// `spoofCheck` is false.
    pub trusted: bool,
    /// virtio features that are not offered.
    pub features_off: Vec<String>,
    /// The link in the container.
    pub stub: StubKind,
    /// Empty: none was allocated.
    pub device_id: String,
    /// Resource that gives device ids, for advice.
    pub device_resource: String,
}

impl Config {
    /// Reads everything, strictly.
    ///
    /// # Errors
    /// Code 2: a key that is unknown or not offered, with its value; code 7: a value that cannot be.
    pub fn read(base: &Base, arguments: &Arguments) -> Result<Self, Failure> {
        let empty = Map::new();
        let own = base.whole.as_object().unwrap_or(&empty);
        keys::check_own(own)?;
        check_ipam(own, base.ipam.as_deref())?;
        let runtime = member(own, "runtimeConfig")?.unwrap_or(&empty);
        keys::check_runtime(runtime)?;
        let pod = match member(own, "args")? {
            Some(args) => member(args, "cni")?.unwrap_or(&empty),
            None => &empty,
        };
        keys::check_pod(pod)?;

        // From the weakest to the strongest: what comes later wins.
        let mut config = Self::default();
        config.take(own, "")?;
        config.take_own(own)?;
        if base.ipam.is_some() && !config.ips.is_empty() {
            let msg = "the configuration has both \"ips\" and an IPAM plugin";
            return Err(Failure::new(Code::InvalidConfig, msg).with("give one of them"));
        }
        if let Some(mac) = &arguments.mac {
            config.mac = values::mac("CNI_ARGS: MAC", mac)?;
        }
        if !arguments.ips.is_empty() {
            config.ips = values::addresses_of_arguments(&arguments.ips, &arguments.gateways)?;
        }
        config.take(pod, "args.cni.")?;
        config.take_runtime(runtime)?;
        Ok(config)
    }

    /// Keys that the configuration and the pod may have.
    fn take(&mut self, from: &Map<String, Value>, prefix: &str) -> Result<(), Failure> {
        for (key, value) in from.iter().filter(|(_, value)| !value.is_null()) {
            let name = format!("{prefix}{key}");
            match key.as_str() {
                "mode" => self.mode = values::mode(&name, value)?,
                "queues" => self.queues = values::number(&name, value, 1..=u64::from(u32::MAX))? as u32,
                "mtu" => self.mtu = values::number(&name, value, 68..=65521)? as u32,
                "memLimit" => self.mem_limit = values::size(&name, value)?,
                "mac" => self.mac = values::mac_value(&name, value)?,
                "ips" => self.ips = values::addresses(&name, value)?,
                "routes" => self.routes = values::routes(&name, value)?,
                "allowedAddresses" => self.allowed_addresses = values::prefixes(&name, value)?,
                "spoofCheck" => self.trusted = !values::truth(&name, value)?,
                "offloads" => self.features_off = values::offloads(&name, value)?,
                "stub" => self.stub = values::stub(&name, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Keys that the configuration alone may have.
    fn take_own(&mut self, own: &Map<String, Value>) -> Result<(), Failure> {
        for (key, value) in own.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "socket" => drop(values::socket(values::text(key, value)?)?),
                "timeoutMs" => drop(values::timeout(value)?),
                "network" => drop(values::text(key, value)?),
                "deviceResource" => values::text(key, value)?.clone_into(&mut self.device_resource),
                // Multus puts it there; it may be empty.
                "deviceID" => values::text(key, value)?.clone_into(&mut self.device_id),
                "dns" => self.dns = values::decoded(key, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What the runtime hands over for this pod.
    fn take_runtime(&mut self, runtime: &Map<String, Value>) -> Result<(), Failure> {
        for (key, value) in runtime.iter().filter(|(_, value)| !value.is_null()) {
            let name = format!("runtimeConfig.{key}");
            match key.as_str() {
                "mac" if value != "" => self.mac = values::mac_value(&name, value)?,
                "ips" if value.as_array().is_none_or(|list| !list.is_empty()) => {
                    self.ips = values::addresses(&name, value)?;
                }
                "deviceID" if value != "" => values::text(&name, value)?.clone_into(&mut self.device_id),
                "dns" => self.dns = values::runtime_dns(&name, value)?,
                "CNIDeviceInfoFile" => {
                    let path = values::text(&name, value)?;
                    if !path.is_empty() && !path.starts_with('/') {
                        return Err(values::wrong(&name, value, "it must be an absolute path"));
                    }
                }
                _ => {}
            }
        }
        if !self.device_id.is_empty() && !proto::paths::is_device_id(&self.device_id) {
            let msg =
                format!("deviceID \"{}\" is not one of {}", shown(&self.device_id), self.device_resource);
            return Err(Failure::new(Code::InvalidConfig, msg).with(format!(
                "the attachment definition's annotation k8s.v1.cni.cncf.io/resourceName must be {}",
                self.device_resource
            )));
        }
        Ok(())
    }

    /// The features that a daemon must have for this, in the daemon's words: only what is really used, so that an
    /// older daemon serves whoever asks for no more than it knows.
    #[must_use]
    pub fn needs(&self) -> Vec<String> {
        let words = [
            ("allow_source", !self.allowed_addresses.is_empty()),
            ("features_off", !self.features_off.is_empty()),
            ("ips", !self.ips.is_empty()),
            ("mac", !self.mac.is_empty()),
            ("mem_limit", self.mem_limit != 0),
            ("mode", self.mode == SocketMode::Client),
            ("mtu", self.mtu != 0),
            ("queues", self.queues > 1),
            ("routes", !self.routes.is_empty()),
            ("stub", self.stub != StubKind::None),
            ("trusted", self.trusted),
        ];
        words.into_iter().filter(|(_, used)| *used).map(|(word, _)| word.to_owned()).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: SocketMode::Server,
            queues: 0,
            mtu: 0,
            mem_limit: 0,
            mac: String::new(),
            ips: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
            allowed_addresses: Vec::new(),
            trusted: false,
            features_off: Vec::new(),
            stub: StubKind::None,
            device_id: String::new(),
            device_resource: proto::paths::RESOURCE.to_owned(),
        }
    }
}

/// An object in an object; `null` is as good as nothing.
fn member<'a>(of: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, Failure> {
    match of.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(values::wrong(key, other, "it must be an object")),
    }
}

/// An empty `ipam`, or one without a type, asks for no addresses.
fn check_ipam(own: &Map<String, Value>, kind: Option<&str>) -> Result<(), Failure> {
    if let Some(kind) = member(own, "ipam")?.and_then(|ipam| ipam.get("type"))
        && !kind.is_string()
        && !kind.is_null()
    {
        return Err(values::wrong("ipam.type", kind, "it must be a text"));
    }
    if kind == Some("dhcp") {
        let msg = "ipam.type = \"dhcp\" cannot work: there is no kernel link that a DHCP client could use";
        return Err(Failure::new(Code::InvalidConfig, msg)
            .with("use host-local, static or whereabouts, or run the DHCP client in the application"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
