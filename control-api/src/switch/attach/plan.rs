//! What a request needs and what stands in its way, looked at under the lock of changes and before anything is changed.
//!
//! Within one commit no two requests touch the same thing (key, name, address, directory): what would is left for the
//! next round, which sees the outcome of this one. So each is checked against settled state, never against a plan.

use std::collections::BTreeSet;
use std::net::IpAddr;

use dataplane::ids::MacAddr;
use proto::v1;

use super::key::Key;
use super::queue::{Answer, Outcome};
use super::refusal::{Refusal, Thing};
use super::request::{self, Wanted};
use super::{holder, place};
use crate::error::Error;
use crate::store::{Change, Table, attachment_row};
use crate::switch::difference::difference;
use crate::switch::{State, Switch};
use crate::validate::{self, Port};

/// What this round's requests touch.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    Key(Key),
    Port(String),
    Directory(String),
    Mac(String, [u8; 6]),
    Ip(String, IpAddr),
}

/// A change that is checked and not yet made.
#[derive(Debug)]
pub(super) enum Plan {
    Attach { attachment: Box<v1::Attachment>, port: Box<Port>, made: bool, evicted: Vec<v1::Attachment> },
    Detach(Box<v1::Attachment>),
}

/// What looking at a request gives.
pub(super) enum Verdict {
    Answer(Answer),
    Plan(Plan),
    /// It touches what another request of this round touches.
    Later,
}

/// Everything that stands in the way of a request, and what holds it.
enum Obstacle {
    Attachment(Thing, Box<v1::Attachment>),
    Port(Refusal),
}

impl Switch {
    pub(super) fn plan_detach(&self, key: &Key, claims: &mut BTreeSet<Claim>) -> Result<Verdict, Error> {
        if claims.contains(&Claim::Key(key.clone())) {
            return Ok(Verdict::Later);
        }
        let state = self.read();
        let Some(attachment) = state.attachments.get(key).cloned() else {
            let directory = key.directory();
            let used = state.attachments.values().any(|other| other.directory == directory);
            drop(state);
            if !used && !claims.contains(&Claim::Directory(directory.clone())) {
                self.places().clean(&directory);
            }
            return Ok(Verdict::Answer(Ok(Outcome::Detached(false))));
        };
        claims.insert(Claim::Key(key.clone()));
        Ok(Verdict::Plan(Plan::Detach(Box::new(attachment))))
    }

    pub(super) fn plan_attach(
        &self,
        wanted: &Wanted,
        claims: &mut BTreeSet<Claim>,
    ) -> Result<Verdict, Error> {
        if claims.contains(&Claim::Key(wanted.key.clone())) {
            return Ok(Verdict::Later);
        }
        let mut evicted: Vec<v1::Attachment> = Vec::new();
        let mut spec = wanted.spec.clone();
        let (present, policy) = {
            let state = self.read();
            let policy = state.networks.get(&spec.network).map(|entry| entry.spec.clone());
            (state.attachments.get(&wanted.key).cloned(), policy)
        };
        if let Some(present) = present {
            match otherwise(&present, &spec) {
                None => return Ok(Verdict::Answer(self.again(present))),
                // Its own predecessor of a namespace that is gone: the key was used anew.
                Some(_) if holder::is_gone(&present, self.boot_id()) => evicted.push(present),
                Some((field, has, asked)) => return Err(Refusal::Otherwise { field, has, asked }.into()),
            }
        }
        let policy = policy.ok_or_else(|| Error::UnknownNetwork(spec.network.clone()))?;
        request::bind(&mut spec, &policy)?;
        let made = spec.device_id.is_empty();
        let directory = if made { wanted.key.directory() } else { spec.device_id.clone() };
        let path = self.places().of(&directory).socket_file();
        if path.as_os_str().len() > crate::address::LONGEST_SOCKET_PATH {
            return Err(Refusal::PathTooLong { path, most: crate::address::LONGEST_SOCKET_PATH }.into());
        }
        let (port, obstacles) = {
            let state = self.read();
            let name = free_name(&state, wanted, &spec, &evicted);
            if spec.mac.is_empty() {
                spec.mac = free_mac(&state, &wanted.key, &spec.network);
            }
            let sources = request::sources(&spec, &policy);
            let port = request::port_spec(&spec, &name, &path.display().to_string(), &sources);
            let port = validate::port(Some(port), self.options.port_memory)?;
            let obstacles = obstacles(&state, &port, &directory, &evicted);
            self.check_but(&state, &port, &dealt_with(&obstacles, &evicted))?;
            (port, obstacles)
        };
        // What is in the way of this round's other requests is looked at when they are done.
        let mut mine = self.claims(&wanted.key, &port, &directory);
        mine.extend(evicted.iter().map(|gone| Claim::Port(gone.port.clone())));
        mine.extend(obstacles.iter().filter_map(|obstacle| match obstacle {
            Obstacle::Attachment(_, holder) => Some(Claim::Key(Key::of(holder))),
            Obstacle::Port(_) => None,
        }));
        if mine.iter().any(|claim| claims.contains(claim)) {
            return Ok(Verdict::Later);
        }
        for obstacle in obstacles {
            match obstacle {
                Obstacle::Port(refusal) => return Err(refusal.into()),
                Obstacle::Attachment(thing, holder) if !holder::is_gone(&holder, self.boot_id()) => {
                    return Err(Refusal::Held { thing, holder: holder::words(&holder) }.into());
                }
                Obstacle::Attachment(_, holder) => {
                    if evicted.iter().all(|other| other.port != holder.port) {
                        evicted.push(*holder);
                    }
                }
            }
        }
        self.places().prepare(&directory, made)?;
        claims.extend(mine);
        let attachment = v1::Attachment {
            port: port.spec.name.clone(),
            host_path: path.display().to_string(),
            pod_path: place::pod_path(&directory),
            directory,
            boot_id: self.boot_id().into(),
            netns_seen: wanted.netns_seen,
            attached_at: std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
            spec: Some(spec),
        };
        Ok(Verdict::Plan(Plan::Attach {
            attachment: Box::new(attachment),
            port: Box::new(port),
            made,
            evicted,
        }))
    }

    fn claims(&self, key: &Key, port: &Port, directory: &str) -> Vec<Claim> {
        let network = &port.spec.network;
        let mut claims = vec![
            Claim::Key(key.clone()),
            Claim::Port(port.spec.name.clone()),
            Claim::Directory(directory.into()),
        ];
        claims.extend(port.settings.mac.map(|mac| Claim::Mac(network.clone(), mac.0)));
        claims.extend(port.settings.ips.iter().map(|ip| Claim::Ip(network.clone(), *ip)));
        claims
    }

    /// The same request again: the same answer. What a crash may have kept from being made is made now.
    fn again(&self, attachment: v1::Attachment) -> Answer {
        if let Err(e) = self.places().write_port_file(&attachment) {
            let path = self.places().of(&attachment.directory).port;
            return Err(Refusal::NoDirectory { path, why: e.to_string() }.into());
        }
        Ok(Outcome::Attached(Box::new(attachment)))
    }
}

impl Plan {
    pub(super) fn going(&self) -> &[v1::Attachment] {
        match self {
            Self::Attach { evicted, .. } => evicted,
            Self::Detach(attachment) => std::slice::from_ref(attachment),
        }
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.going().iter().flat_map(deletions).collect();
        if let Self::Attach { attachment, port, .. } = self {
            changes.push(Change::put_port(&port.spec));
            changes.push(Change::put_attachment(attachment));
        }
        changes
    }
}

/// What takes an attachment and its port out of the store.
pub(super) fn deletions(attachment: &v1::Attachment) -> [Change; 2] {
    let row = attachment_row(&Key::of(attachment).message());
    [Change::Delete(Table::Attachment, row), Change::Delete(Table::Port, attachment.port.clone())]
}

/// The first field in which a request differs from what is attached under its key. What it leaves open is as it is.
fn otherwise(present: &v1::Attachment, asked: &v1::AttachRequest) -> Option<(String, String, String)> {
    let has = present.spec.clone().unwrap_or_default();
    let mut asked = asked.clone();
    if asked.mac.is_empty() {
        asked.mac.clone_from(&has.mac);
    }
    if asked.mtu == 0 {
        asked.mtu = has.mtu;
    }
    if asked.mem_limit == 0 {
        asked.mem_limit = has.mem_limit;
    }
    // Not every caller knows these of a namespace.
    if let (Some(asked), Some(has)) = (&mut asked.owner, &has.owner)
        && (asked.netns_ino == 0 || has.netns_ino == 0)
    {
        (asked.netns_dev, asked.netns_ino) = (has.netns_dev, has.netns_ino);
    }
    difference(&has, &asked)
}

/// A port's name that nobody has. Those of this round's other requests come out when claims are compared.
fn free_name(state: &State, wanted: &Wanted, spec: &v1::AttachRequest, evicted: &[v1::Attachment]) -> String {
    let pod = spec.owner.as_ref().map_or("", |owner| owner.pod.as_str());
    let free =
        |name: &String| !state.ports.contains_key(name) || evicted.iter().any(|gone| gone.port == *name);
    wanted.key.port_names(pod).find(free).expect("there are more names than ports")
}

fn free_mac(state: &State, key: &Key, network: &str) -> String {
    let taken: BTreeSet<MacAddr> = state
        .ports
        .values()
        .filter(|entry| entry.network() == network)
        .filter_map(|entry| entry.port.settings.mac)
        .collect();
    let mac = key.macs().find(|mac| !taken.contains(mac)).expect("there are more addresses than ports");
    mac.to_string()
}

/// Ports of the same network with the same MAC or an address in common, and whoever has the same directory.
fn obstacles(state: &State, port: &Port, directory: &str, evicted: &[v1::Attachment]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let owner = |name: &str| state.attachments.values().find(|attachment| attachment.port == name);
    let going = |name: &str| evicted.iter().any(|gone| gone.port == name);
    for other in state.ports.values() {
        if other.network() != port.spec.network || going(other.name()) {
            continue;
        }
        let mac = port.settings.mac.filter(|mac| other.port.settings.mac == Some(*mac));
        let ip = port.settings.ips.iter().find(|ip| other.port.settings.ips.contains(ip));
        let Some(thing) = mac.map(Thing::Mac).or(ip.copied().map(Thing::Ip)) else { continue };
        match (owner(other.name()), thing) {
            (Some(holder), thing) => found.push(Obstacle::Attachment(thing, Box::new(holder.clone()))),
            (None, Thing::Ip(ip)) => {
                found.push(Obstacle::Port(Refusal::IpTaken { ip, port: other.name().into() }));
            }
            // A MAC address of a plain port is refused as that of any port is.
            (None, _) => {}
        }
    }
    let same = state.attachments.values().filter(|a| a.directory == directory && !going(&a.port));
    found.extend(same.map(|a| Obstacle::Attachment(Thing::Device(directory.into()), Box::new(a.clone()))));
    found
}

/// Names of the ports whose holders are dealt with apart.
fn dealt_with(obstacles: &[Obstacle], evicted: &[v1::Attachment]) -> Vec<String> {
    let port = |obstacle: &Obstacle| match obstacle {
        Obstacle::Attachment(_, holder) => Some(holder.port.clone()),
        Obstacle::Port(_) => None,
    };
    obstacles.iter().filter_map(port).chain(evicted.iter().map(|gone| gone.port.clone())).collect()
}
