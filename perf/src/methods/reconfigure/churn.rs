//! A hundred ports that come, change and go, and networks with them, while something else is measured.
//!
//! Runs on a thread of its own, through podswitch's API as a CNI plugin would: a round adds networks, adds ports of
//! every kind (in networks of their own and in the one that is measured; with sockets that nobody opened, with sockets
//! that the switch creates, and with applications that connect), changes each of them in every way that there is, and
//! takes it all away again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::v1::port_spec::Device;
use proto::v1::{PortSetRequest, PortSpec, SocketMode, Strings, VhostUser};

use crate::methods::MethodError;
use crate::peers::{PATIENCE, PodswitchApi};
use crate::pod::{Mode, Pod, PodConfig};
use crate::traffic::Mac;

/// Ports of a round.
pub const PORTS: usize = 100;
/// Those of them that have an application connected: two of five.
pub const CONNECTED: usize = PORTS / 5 * 2;
/// Networks of a round.
pub const NETWORKS: usize = 4;

/// What was done, and seen to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Whole rounds.
    pub rounds: u64,
    /// Ports added.
    pub added: u64,
    /// Ports to which an application connected.
    pub connected: u64,
    /// Changes to ports in place.
    pub set: u64,
    /// Ports deleted.
    pub deleted: u64,
    /// Networks added and deleted.
    pub networks: u64,
}

/// Who changes things.
#[derive(Debug)]
pub(super) struct Churn<'a> {
    pub api: PodswitchApi,
    /// Where sockets may be made.
    pub directory: &'a Path,
    /// The network that is measured.
    pub measured: &'a str,
    /// CPU of the worker.
    pub worker: u32,
    /// Pods have their memory in hugepages.
    pub huge: bool,
}

/// How the socket of a port comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    /// It never does: the switch looks for it in vain.
    Never,
    /// The switch makes it, and nobody connects.
    Lonely,
    /// A pod makes it, and the switch connects.
    Pod,
    /// The switch makes it, and a pod connects.
    PodConnects,
}

impl Socket {
    fn of(port: usize) -> Self {
        // Halved, as odd and even ports are in networks of different kinds.
        match (port / 2 % 5, port / 10 % 2) {
            (0, _) => Self::Pod,
            (1, _) => Self::PodConnects,
            (2, _) | (3, 0) => Self::Never,
            _ => Self::Lonely,
        }
    }

    fn mode(self) -> SocketMode {
        match self {
            Self::Never | Self::Pod => SocketMode::Server,
            Self::Lonely | Self::PodConnects => SocketMode::Client,
        }
    }
}

impl Churn<'_> {
    /// Whole rounds: at least one, and no further one after `stop`.
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<Changed, MethodError> {
        let mut changed = Changed::default();
        loop {
            self.round(&mut changed)?;
            changed.rounds += 1;
            if stop.load(Ordering::Relaxed) {
                return Ok(changed);
            }
        }
    }

    fn round(&self, changed: &mut Changed) -> Result<(), MethodError> {
        for number in 0..NETWORKS {
            self.api.add_network(&network(number))?;
        }
        let mut pods = Vec::new();
        for port in 0..PORTS {
            pods.extend(self.add(port)?);
            changed.added += 1;
        }
        changed.connected += pods.len() as u64;
        for change in 0..CHANGES {
            for port in 0..PORTS {
                self.api.set_port(self.change(port, change))?;
                changed.set += 1;
            }
        }
        // Some applications leave before their ports do, some see their ports go.
        pods.truncate(pods.len() / 2);
        for port in 0..PORTS {
            self.api.delete_port(&name(port))?;
            changed.deleted += 1;
        }
        drop(pods);
        for number in 0..NETWORKS {
            self.api.delete_network(&network(number))?;
            changed.networks += 1;
        }
        Ok(())
    }

    /// Adds a port; gives the application that is connected to it, if it has one.
    fn add(&self, port: usize) -> Result<Option<Pod>, MethodError> {
        let socket = Socket::of(port);
        let path = self.directory.join(format!("churn-{port}.sock"));
        let mode = if socket == Socket::PodConnects { Mode::Client } else { Mode::Server };
        let config = PodConfig {
            mode,
            ring: 256,
            frame_room: 1518,
            huge: self.huge,
            timeout: Duration::from_secs(20),
            ..PodConfig::new(&path)
        };
        let listening = (socket == Socket::Pod).then(|| Pod::listen(&config)).transpose()?;
        let device = VhostUser {
            path: path.display().to_string(),
            mode: socket.mode() as i32,
            ..VhostUser::default()
        };
        self.api.add(PortSpec {
            name: name(port),
            network: if port.is_multiple_of(2) { self.measured.into() } else { network(port / 2 % NETWORKS) },
            device: Some(Device::VhostUser(device)),
            mac: if port.is_multiple_of(3) { String::new() } else { mac(port).to_string() },
            trusted: port.is_multiple_of(7),
            ..PortSpec::default()
        })?;
        if let Some(mut pod) = listening {
            pod.accept()?;
            return Ok(Some(pod));
        }
        let connected = (socket == Socket::PodConnects).then(|| connect(&config)).transpose()?;
        Ok(connected)
    }

    /// The changes that every port goes through in place, each undone or overwritten by a later one.
    fn change(&self, port: usize, change: usize) -> PortSetRequest {
        let list =
            |values: &[&str]| Some(Strings { values: values.iter().map(ToString::to_string).collect() });
        let unchanged = PortSetRequest { name: name(port), ..PortSetRequest::default() };
        match change {
            0 => PortSetRequest {
                mac: Some(mac(port + PORTS).to_string()),
                ips: list(&["10.9.8.7/24", "fd00::7/64"]),
                allow_source: list(&["192.0.2.0/24"]),
                ..unchanged
            },
            1 => PortSetRequest {
                trusted: Some(!port.is_multiple_of(7)),
                mtu: Some(1400),
                workers: Some(self.worker.to_string()),
                ..unchanged
            },
            2 => PortSetRequest { admin_down: Some(true), ips: list(&[]), ..unchanged },
            _ => PortSetRequest {
                mac: Some(String::new()),
                admin_down: Some(false),
                trusted: Some(false),
                workers: Some("auto".into()),
                ..unchanged
            },
        }
    }
}

/// Changes in place of each port and round.
const CHANGES: usize = 4;

/// The switch makes the socket after it has answered: a moment later it is there.
fn connect(config: &PodConfig) -> Result<Pod, MethodError> {
    let end = Instant::now() + PATIENCE;
    while !config.socket.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Pod::connect(config)?)
}

fn name(port: usize) -> String {
    format!("churn{port}")
}

fn network(number: usize) -> String {
    format!("churn-net{number}")
}

fn mac(number: usize) -> Mac {
    Mac([2, 0, 0, 1, 0, 0]).plus(u32::try_from(number).expect("a few hundred"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_port_comes_in_both_kinds_of_network() {
        let kinds = [Socket::Never, Socket::Lonely, Socket::Pod, Socket::PodConnects];
        for wanted in kinds {
            for parity in [0, 1] {
                let count =
                    (0..PORTS).filter(|&port| Socket::of(port) == wanted && port % 2 == parity).count();
                assert!(count >= 5, "{wanted:?} in networks of kind {parity}: {count}");
            }
        }
        let connected = |port: &usize| matches!(Socket::of(*port), Socket::Pod | Socket::PodConnects);
        assert_eq!((0..PORTS).filter(connected).count(), CONNECTED);
    }
}
