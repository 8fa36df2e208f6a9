//! The CNI result: what ADD prints, and what `prevResult` holds (CNI 1.1.0 §5 "Success").
//!
//! One shape in memory, printed in the shape of the version asked for: 0.3 and 0.4 have a "version" with each address,
//! and only 1.1.0 has `mtu`, `socketPath` and `pciID` of interfaces and what came with routes. Reading takes any of
//! them, so that a `prevResult` of another version is converted on the way.

use proto::v1::Attachment;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Code, Failure};
use super::result::{Addressing, Dns, Ip, Route};
use super::version::Version;

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name where it is.
    pub name: String,
    /// Empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Bytes of a layer-3 packet; 0: not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The network namespace; empty: the host's. Ours always has one, else a runtime takes it for a part of the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Path of the socket on the host; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// Empty: none.
    #[serde(default, rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "CNI's own names")]
pub struct Answer {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<Ip>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    pub dns: Dns,
}

impl Answer {
    /// Reads the `prevResult` of a configuration; `None`: there is none.
    ///
    /// # Errors
    /// Code 6: it is not shaped like a result; code 7: its version is none of ours, or an address belongs to an
    /// interface that is not there.
    pub fn previous(config: &Value) -> Result<Option<Self>, Failure> {
        let Some(value) = config.get("prevResult").filter(|value| !value.is_null()) else { return Ok(None) };
        let decode = |why: String| Failure::new(Code::Decode, format!("prevResult is no CNI result: {why}"));
        let object = value.as_object().ok_or_else(|| decode("it is no JSON object".into()))?;
        match object.get("cniVersion") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if Version::from_text(text).is_some() => {}
            Some(other) => {
                let msg = format!("prevResult has cniVersion {other}, which this plugin does not speak");
                return Err(Failure::new(Code::InvalidConfig, msg));
            }
        }
        // A resolver that is null is none, as Go has it.
        let mut object = object.clone();
        object.retain(|_, value| !value.is_null());
        let previous: Self = Self::deserialize(Value::Object(object)).map_err(|e| decode(e.to_string()))?;
        for ip in &previous.ips {
            if ip.interface.is_some_and(|index| index as usize >= previous.interfaces.len()) {
                let msg = format!("prevResult: {} belongs to an interface that is not there", ip.address);
                return Err(Failure::new(Code::InvalidConfig, msg));
            }
        }
        Ok(Some(previous))
    }

    /// The same with an attachment's interface after what is there already.
    #[must_use]
    pub fn with(mut self, attachment: &Attachment, ifname: &str, netns: &str) -> Self {
        let spec = attachment.spec.clone().unwrap_or_default();
        let index = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.push(Interface {
            name: ifname.to_owned(),
            mac: spec.mac.clone(),
            mtu: spec.mtu,
            sandbox: netns.to_owned(),
            socket_path: attachment.host_path.clone(),
            pci_id: String::new(),
        });
        let own = addressing(attachment);
        self.ips.extend(own.ips.into_iter().map(|ip| Ip { interface: Some(index), ..ip }));
        self.routes.extend(own.routes);
        if own.dns != Dns::default() {
            self.dns = own.dns;
        }
        self
    }

    /// The interface of a name in a namespace, with its index.
    #[must_use]
    pub fn interface(&self, name: &str, netns: &str) -> Option<(u32, &Interface)> {
        (0..).zip(&self.interfaces).find(|(_, found)| found.name == name && found.sandbox == netns)
    }

    /// The addresses of an interface.
    #[must_use]
    pub fn addresses_of(&self, index: u32) -> Vec<String> {
        let of =
            |ip: &&Ip| ip.interface == Some(index) || (ip.interface.is_none() && self.interfaces.len() == 1);
        self.ips.iter().filter(of).map(|ip| ip.address.clone()).collect()
    }

    /// As it is printed in a version.
    #[must_use]
    pub fn printed(&self, version: Version) -> Value {
        let mut shaped = self.clone();
        if version < Version::V1_1_0 {
            for interface in &mut shaped.interfaces {
                (interface.mtu, interface.socket_path, interface.pci_id) = (0, String::new(), String::new());
            }
            for route in &mut shaped.routes {
                *route = Route { dst: route.dst.clone(), gw: route.gw.clone(), ..Route::default() };
            }
        }
        // Lists and texts alone: this cannot fail.
        let mut value = serde_json::to_value(shaped).unwrap_or_default();
        value["cniVersion"] = version.text().into();
        if version.has_address_families() {
            for ip in value["ips"].as_array_mut().into_iter().flatten() {
                let six = ip["address"].as_str().is_some_and(|address| address.contains(':'));
                ip["version"] = if six { "6" } else { "4" }.into();
            }
        }
        // Indexing has put a null where there was nothing.
        if let Some(object) = value.as_object_mut() {
            object.retain(|_, member| !member.is_null());
        }
        value
    }
}

/// The addresses, routes and resolver that an attachment holds.
#[must_use]
pub fn addressing(attachment: &Attachment) -> Addressing {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let Some(spec) = &attachment.spec else { return Addressing::default() };
    let ips = spec.ips.iter();
    let routes = spec.routes.iter();
    Addressing {
        ips: ips
            .map(|ip| Ip { address: ip.address.clone(), gateway: some(&ip.gateway), interface: None })
            .collect(),
        routes: routes
            .map(|route| Route {
                dst: route.dst.clone(),
                gw: some(&route.gw),
                mtu: route.mtu,
                advmss: route.advmss,
                priority: route.priority,
                table: route.table,
                scope: route.scope,
            })
            .collect(),
        dns: spec.dns.clone().map_or_else(Dns::default, |dns| Dns {
            nameservers: dns.nameservers,
            domain: dns.domain,
            search: dns.search,
            options: dns.options,
        }),
    }
}

#[cfg(test)]
mod tests;
