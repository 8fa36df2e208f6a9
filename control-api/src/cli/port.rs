//! `podswitch port …`.

use proto::v1;
use proto::v1::port_spec::Device;

use super::args::{Add, Mode, OnOff, PortCommand, Set, UpDown};
use super::client::Client;
use super::output::Output;
use super::{Error, table};

pub(super) async fn run(command: PortCommand, client: &Client, out: &Output) -> Result<(), Error> {
    let mut ports = client.ports();
    match command {
        PortCommand::Add(add) => {
            let spec = Some(spec(*add));
            let port = ports.add(v1::PortAddRequest { spec }).await?.into_inner();
            out.print(&port, |port| changed(port, "is there"))
        }
        PortCommand::Set(set) => {
            let port = ports.set(request(*set)).await?.into_inner();
            out.print(&port, |port| changed(port, "is set"))
        }
        PortCommand::Del { name } => {
            let request = v1::PortDeleteRequest { name: name.clone() };
            let response = ports.delete(request).await?.into_inner();
            out.print(&response, |_| format!("port {name} is gone"))
        }
        PortCommand::List { network } => {
            let request = v1::PortListRequest { network: network.unwrap_or_default() };
            let list = ports.list(request).await?.into_inner();
            out.print(&list, table::ports)
        }
        PortCommand::Show { name } => {
            let port = ports.get(v1::PortGetRequest { name }).await?.into_inner();
            out.print(&port, table::port)
        }
        PortCommand::Stats { name, .. } => {
            let request = v1::PortStatsRequest { port: name.unwrap_or_default() };
            let stats = client.stats().ports(request).await?.into_inner();
            out.print(&stats, table::port_stats)
        }
    }
}

fn changed(port: &v1::Port, what: &str) -> String {
    let name = port.spec.as_ref().map_or("", |spec| spec.name.as_str());
    let state = port.status.as_ref().map_or("", |status| status.state().word());
    format!("port {name} {what}, {state}")
}

fn spec(add: Add) -> v1::PortSpec {
    let device = match (add.vhost_user, add.dpdk) {
        (Some(path), _) => Some(Device::VhostUser(v1::VhostUser {
            path,
            mode: match add.mode {
                None => v1::SocketMode::Unspecified,
                Some(Mode::Server) => v1::SocketMode::Server,
                Some(Mode::Client) => v1::SocketMode::Client,
            }
            .into(),
            mem_limit: add.mem_limit.unwrap_or_default(),
            features_off: add.features_off,
        })),
        (None, Some(devargs)) => Some(Device::Dpdk(v1::DpdkDevice { devargs })),
        (None, None) => None,
    };
    v1::PortSpec {
        name: add.name,
        network: add.network,
        device,
        queues: add.queues.unwrap_or(1),
        mac: add.mac.unwrap_or_default(),
        ips: add.ip,
        allow_source: add.allow_source,
        mtu: add.mtu.unwrap_or_default(),
        trusted: add.trusted,
        admin_down: false,
        workers: add.workers.unwrap_or_default(),
        labels: add.label.into_iter().collect(),
    }
}

fn request(set: Set) -> v1::PortSetRequest {
    v1::PortSetRequest {
        name: set.name,
        mac: set.mac.map(|mac| if mac == "none" { String::new() } else { mac }),
        ips: list(set.ip),
        allow_source: list(set.allow_source),
        mtu: set.mtu,
        trusted: set.trusted.map(|word| matches!(word, OnOff::On)),
        admin_down: set.admin.map(|word| matches!(word, UpDown::Down)),
        workers: set.workers,
        mem_limit: set.mem_limit,
    }
}

/// A flag that was not given changes nothing; `none` alone takes all away.
pub(super) fn list(values: Vec<String>) -> Option<v1::Strings> {
    if values.is_empty() {
        return None;
    }
    let none = values.len() == 1 && values[0] == "none";
    Some(v1::Strings { values: if none { Vec::new() } else { values } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_replaced_cleared_or_left() {
        assert_eq!(list(vec![]), None);
        assert_eq!(list(vec!["none".into()]), Some(v1::Strings { values: vec![] }));
        let two = vec!["10.0.0.1/24".to_owned(), "10.0.0.2/24".to_owned()];
        assert_eq!(list(two.clone()), Some(v1::Strings { values: two }));
    }
}
