//! What an IPAM plugin prints: a result in any version of CNI, or an error object.

use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::cni::failure::{Code, Failure};
use crate::cni::result::{Addressing, Dns, Ip, Route};

/// A result: `ips` and `routes` since 0.3.0, `ip4` and `ip6` before.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Answer {
    ips: Vec<Ip>,
    routes: Vec<Route>,
    dns: Dns,
    ip4: Option<Family>,
    ip6: Option<Family>,
}

#[derive(Deserialize)]
struct Family {
    ip: String,
    gateway: Option<String>,
    #[serde(default)]
    routes: Vec<Route>,
}

/// The addresses in a result. The index of an interface is dropped: an IPAM plugin has none.
pub(super) fn addressing(kind: &str, text: &[u8]) -> Result<Addressing, Failure> {
    let nonsense = |why: String| {
        Failure::new(Code::Ipam, format!("the IPAM plugin {kind} answered no valid result")).with(why)
    };
    let mut value: Value = serde_json::from_slice(text).map_err(|error| nonsense(error.to_string()))?;
    // Go prints an empty list as null.
    drop_nulls(&mut value);
    let answer: Answer = serde_json::from_value(value).map_err(|error| nonsense(error.to_string()))?;
    let mut addressing = Addressing { ips: answer.ips, routes: answer.routes, dns: answer.dns };
    for family in [answer.ip4, answer.ip6].into_iter().flatten() {
        addressing.ips.push(Ip { address: family.ip, gateway: family.gateway, interface: None });
        addressing.routes.extend(family.routes);
    }
    check(&mut addressing).map_err(nonsense)?;
    Ok(addressing)
}

/// The failure in an error object, with the plugin's own code; `None` where there is no such object.
pub(super) fn error(text: &[u8]) -> Option<Failure> {
    let mut value = serde_json::from_slice(text).ok()?;
    drop_nulls(&mut value);
    serde_json::from_value::<Failure>(value).ok().filter(|failure| failure.code != 0)
}

/// Whether each text is what it should be, so that nobody has to ask again.
fn check(addressing: &mut Addressing) -> Result<(), String> {
    if addressing.ips.is_empty() {
        return Err("no address".into());
    }
    for ip in &mut addressing.ips {
        ip.interface = None;
        ip.gateway.take_if(|gateway| gateway.is_empty());
        parse::<IpNet>(&ip.address)?;
        ip.gateway.as_deref().map_or(Ok(()), parse::<IpAddr>)?;
    }
    for route in &mut addressing.routes {
        route.gw.take_if(|gateway| gateway.is_empty());
        parse::<IpNet>(&route.dst)?;
        route.gw.as_deref().map_or(Ok(()), parse::<IpAddr>)?;
    }
    Ok(())
}

fn parse<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| format!("{text:?}: {error}"))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_versions() {
        let new = br#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":3}],
            "routes":[{"dst":"10.2.0.0/16","gw":"10.0.0.1","mtu":1400}],"dns":{"nameservers":null,"domain":"d"}}"#;
        let got = addressing("x", new).unwrap();
        let ip = Ip { address: "10.0.0.2/24".into(), gateway: Some("10.0.0.1".into()), interface: None };
        assert_eq!(got.ips, std::slice::from_ref(&ip));
        assert_eq!((got.routes[0].mtu, got.dns.domain.as_str()), (Some(1400), "d"));

        let middle =
            br#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.2/24","gateway":"10.0.0.1"}],
            "routes":null,"dns":{}}"#;
        assert_eq!(addressing("x", middle).unwrap().ips, std::slice::from_ref(&ip));

        let old = br#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]},
            "ip6":{"ip":"fd00::2/64"}}"#;
        let got = addressing("x", old).unwrap();
        assert_eq!(got.ips[0], ip);
        assert_eq!((got.ips[1].address.as_str(), got.routes[0].dst.as_str()), ("fd00::2/64", "0.0.0.0/0"));
    }

    #[test]
    fn nonsense_is_named() {
        for (bad, why) in [
            ("", "EOF"),
            ("panic: runtime error", "expected value"),
            ("[]", "no address"),
            ("{\"ips\":[]}", "no address"),
            ("{\"ips\":[{\"address\":\"10.0.0.300/24\"}]}", "10.0.0.300/24"),
            ("{\"ips\":[{\"address\":\"10.0.0.3\"}]}", "10.0.0.3"),
            ("{\"ips\":[{\"address\":\"10.0.0.3/24\",\"gateway\":\"g\"}]}", "\"g\""),
            ("{\"ips\":[{\"address\":\"10.0.0.3/24\"}],\"routes\":[{\"dst\":\"default\"}]}", "default"),
            ("{\"ips\":7}", "invalid type"),
        ] {
            let failure = addressing("x", bad.as_bytes()).unwrap_err();
            assert_eq!(failure.code, Code::Ipam as u32, "{bad}");
            assert!(failure.to_string().contains(why), "{bad}: {failure}");
        }
    }

    #[test]
    fn error_objects() {
        let failure = error(br#"{"cniVersion":"1.0.0","code":11,"msg":"busy","details":null}"#).unwrap();
        assert_eq!((failure.code, failure.to_string().as_str()), (11, "busy"));
        for none in ["", "{}", r#"{"code":0,"msg":"x"}"#, r#"{"code":-1,"msg":"x"}"#, "boom"] {
            assert_eq!(error(none.as_bytes()), None, "{none}");
        }
    }
}
