//! CHECK: whether what was answered is still so.

use std::path::Path;

use proto::v1::AttachmentCheckRequest;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::client::Refusal;
use super::super::config::{Config, StubKind};
use super::super::failure::{Code, Failure};
use super::super::namespace::Identity;
use super::super::stub;
use super::add::of_stub;

/// Compares `prevResult` with what the daemon, the IPAM plugin and the container have.
///
/// # Errors
/// 110 no port, 111 the switch is down, 112 no socket, 116 something differs, 118 no stub link; and the IPAM plugin's.
pub fn check(call: &Call<'_>) -> Result<(), Failure> {
    let config = Config::read(&call.base, &call.environment.arguments()?)?;
    let previous = Answer::previous(&call.base.whole)?
        .ok_or_else(|| Failure::new(Code::InvalidConfig, "CHECK needs prevResult, which is missing"))?;
    Identity::of(&call.environment)?;
    let ifname = &call.environment.ifname;
    let (index, interface) = previous.interface(ifname, call.netns()).ok_or_else(|| {
        let msg = format!("prevResult has no interface {ifname} in {}", call.netns());
        Failure::new(Code::InvalidConfig, msg)
    })?;
    let ips = previous.addresses_of(index);
    let request = AttachmentCheckRequest {
        key: Some(call.key()),
        mac: interface.mac.clone(),
        ips: ips.clone(),
        mtu: interface.mtu,
        host_path: interface.socket_path.clone(),
    };
    call.client()
        .and_then(|mut client| client.check(request))
        .map_err(|refusal| refused(refusal, &config))?;
    if config.stub == StubKind::Tap {
        check_stub(call, &interface.mac, &ips)?;
    }
    call.with_ipam(|ipam| ipam.check()).unwrap_or(Ok(()))
}

/// Here a daemon that is not there is the very thing that is asked for.
fn refused(refusal: Refusal, config: &Config) -> Failure {
    let down = refusal.is_down();
    let failure = refusal.into_failure(&config.device_resource);
    if down { Failure { code: Code::BackendDown as u32, ..failure } } else { failure }
}

fn check_stub(call: &Call<'_>, mac: &str, ips: &[String]) -> Result<(), Failure> {
    let ifname = &call.environment.ifname;
    let found =
        stub::look(Path::new(call.netns()), ifname).map_err(|e| of_stub(&e))?.filter(|found| found.ours);
    let Some(found) = found else {
        return Err(Failure::new(Code::StubLink, format!("the stub link {ifname} is gone")));
    };
    let differs = |what: &str, has: &str, expected: &str| {
        let msg = format!("the stub link {ifname} has {what} {has}, {expected} was answered");
        Err(Failure::new(Code::Differs, msg))
    };
    if !mac.is_empty() && !found.mac.eq_ignore_ascii_case(mac) {
        return differs("the MAC address", &found.mac, mac);
    }
    match ips.iter().find(|ip| !found.addresses.contains(ip)) {
        Some(missing) => differs("the addresses", &found.addresses.join(", "), missing),
        None => Ok(()),
    }
}
