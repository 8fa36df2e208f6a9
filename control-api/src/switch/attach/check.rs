//! Whether an attachment is as its runtime remembers it (CNI CHECK), and whether another would succeed (CNI STATUS).

use std::collections::BTreeSet;
use std::path::Path;

use dataplane::report::PortState;
use ipnet::IpNet;
use proto::v1;

use super::Switch;
use super::key::Key;
use super::refusal::Refusal;
use super::request::{FEATURES, shown};
use crate::error::Error;
use crate::switch::{Applied, lock};

/// CNI's codes of STATUS.
const NOT_AVAILABLE: u32 = 50;
const LIMITED: u32 = 51;

impl Switch {
    /// Compares an attachment with what the runtime remembers and with what is there.
    ///
    /// # Errors
    /// [`Refusal`] with the first thing that is not so.
    pub fn check_attachment(
        &self,
        request: &v1::AttachmentCheckRequest,
    ) -> Result<v1::AttachmentCheckResponse, Error> {
        let key = Key::parse(request.key.as_ref())?;
        let (attachment, entry) = {
            let state = self.read();
            let attachment = state.attachments.get(&key).cloned();
            let attachment = attachment.ok_or_else(|| Refusal::NotAttached(key.to_string()))?;
            let entry = state.ports.get(&attachment.port).cloned();
            (attachment, entry)
        };
        compare(&attachment, request)?;
        let down = |why: String| Refusal::BackendDown { port: attachment.port.clone(), why };
        let Some(entry) = entry else { return Err(down("it is not there".into()).into()) };
        let id = match &entry.applied {
            Applied::As(id) => *id,
            Applied::Waiting(why) => return Err(down(why.clone()).into()),
        };
        match self.datapath.port(id) {
            None => return Err(down("the dataplane does not have it".into()).into()),
            Some(report) if report.state == PortState::Gone => return Err(down(report.reason).into()),
            Some(_) => {}
        }
        if entry.port.spec.admin_down {
            return Err(down("an administrator has taken it down".into()).into());
        }
        if let Some(reason) = self.all_stuck() {
            return Err(down(reason).into());
        }
        self.look_at_place(&attachment)?;
        Ok(v1::AttachmentCheckResponse { attachment: Some(attachment) })
    }

    /// What the switch itself put there: the directories, the port file, and the socket that it creates.
    fn look_at_place(&self, attachment: &v1::Attachment) -> Result<(), Refusal> {
        let place = self.places().of(&attachment.directory);
        let client = attachment.spec.as_ref().is_some_and(|spec| spec.mode() == v1::SocketMode::Client);
        let there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
        for path in [place.socket.clone(), place.port_file()] {
            if !there(&path) {
                return Err(Refusal::Missing(path));
            }
        }
        if client && !there(&place.socket_file()) {
            return Err(Refusal::Missing(place.socket_file()));
        }
        Ok(())
    }

    /// Whether an attachment would succeed now, and what this daemon can do.
    #[must_use]
    pub fn ready(&self, network: &str) -> v1::ReadyResponse {
        let nodes: BTreeSet<u32> =
            self.datapath.workers().iter().map(|worker| worker.numa_node.unwrap_or(0)).collect();
        let (code, reason) = match (self.all_stuck(), self.cannot_attach(network)) {
            (Some(reason), _) => (LIMITED, reason),
            (None, Some(reason)) => (NOT_AVAILABLE, reason),
            (None, None) => (0, String::new()),
        };
        v1::ReadyResponse {
            code,
            reason,
            features: FEATURES.map(str::to_owned).to_vec(),
            version: env!("CARGO_PKG_VERSION").into(),
            numa_nodes: nodes.into_iter().collect(),
        }
    }

    fn all_stuck(&self) -> Option<String> {
        let workers = self.datapath.workers();
        let all = !workers.is_empty() && workers.iter().all(|worker| worker.stuck);
        all.then(|| "no worker finishes its turn: restart podswitchd".into())
    }

    fn cannot_attach(&self, network: &str) -> Option<String> {
        if let Some(reason) = lock(&self.store_view).refuses.clone() {
            return Some(reason);
        }
        let options = &self.options.attachments;
        for directory in [&options.tombstones, &options.directory] {
            if !directory.is_dir() {
                return Some(format!("the directory {} is not there", directory.display()));
            }
        }
        let state = self.read();
        let policy = match state.networks.get(network) {
            _ if network.is_empty() => return None,
            None => return Some(format!("there is no network \"{}\"", shown(network))),
            Some(entry) => &entry.spec,
        };
        let devices = options.directory.join("devices");
        (!policy.without_device && !devices.is_dir()).then(|| {
            format!("the directory {} is not there: podswitch-device-plugin makes it", devices.display())
        })
    }
}

fn compare(attachment: &v1::Attachment, expected: &v1::AttachmentCheckRequest) -> Result<(), Refusal> {
    let spec = attachment.spec.clone().unwrap_or_default();
    let differs = |field, has: &str, expected: &str| {
        let none = |text: &str| if text.is_empty() { "nothing".to_owned() } else { shown(text) };
        Err(Refusal::Differs { field, has: none(has), expected: none(expected) })
    };
    if !expected.mac.is_empty() && !expected.mac.eq_ignore_ascii_case(&spec.mac) {
        return differs("mac", &spec.mac, &expected.mac);
    }
    if expected.mtu != 0 && spec.mtu != expected.mtu {
        return differs("mtu", &spec.mtu.to_string(), &expected.mtu.to_string());
    }
    if !expected.host_path.is_empty() && expected.host_path != attachment.host_path {
        return differs("host_path", &attachment.host_path, &expected.host_path);
    }
    if !expected.ips.is_empty() {
        let address = |text: &str| {
            let net = text.parse::<IpNet>().map(|net| net.addr());
            net.or_else(|_| text.parse()).map_or_else(|_| text.to_owned(), |ip| ip.to_string())
        };
        let has: BTreeSet<String> = spec.ips.iter().map(|ip| address(&ip.address)).collect();
        let wanted: BTreeSet<String> = expected.ips.iter().map(|ip| address(ip)).collect();
        if has != wanted {
            let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
            return differs("ips", &list(has), &list(wanted));
        }
    }
    Ok(())
}
