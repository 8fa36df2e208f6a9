//! `podswitch network …` and `podswitch attachment …`.

use proto::v1;

use super::args::{AddNetwork, AttachmentCommand, NetworkCommand, OnOff, SetNetwork};
use super::client::Client;
use super::output::Output;
use super::port::list;
use super::{Error, table};

pub(super) async fn run(command: NetworkCommand, client: &Client, out: &Output) -> Result<(), Error> {
    let mut networks = client.networks();
    match command {
        NetworkCommand::Add(add) => {
            let (name, replace) = (add.name.clone(), add.replace);
            let spec = spec(*add);
            let added = networks.add(v1::NetworkAddRequest { spec: Some(spec.clone()) }).await;
            let network = match added {
                Err(status) if replace && status.code() == tonic::Code::AlreadyExists => {
                    networks.set(exactly(spec)).await?
                }
                other => other?,
            };
            let network = network.into_inner();
            out.print(&network, |_| format!("network {name} is there"))
        }
        NetworkCommand::Set(set) => {
            let name = set.name.clone();
            let network = networks.set(request(*set)).await?.into_inner();
            out.print(&network, |_| format!("network {name} is set"))
        }
        NetworkCommand::Del { name } => {
            let request = v1::NetworkDeleteRequest { name: name.clone() };
            let response = networks.delete(request).await?.into_inner();
            out.print(&response, |_| format!("network {name} is gone"))
        }
        NetworkCommand::List => {
            let list = networks.list(v1::NetworkListRequest {}).await?.into_inner();
            out.print(&list, table::networks)
        }
        NetworkCommand::Show { name } => {
            let network = networks.get(v1::NetworkGetRequest { name }).await?.into_inner();
            out.print(&network, table::network)
        }
    }
}

pub(super) async fn attachment(
    command: AttachmentCommand,
    client: &Client,
    out: &Output,
) -> Result<(), Error> {
    match command {
        AttachmentCommand::List { network } => {
            let request = v1::AttachmentListRequest { network: network.unwrap_or_default() };
            let list = client.attachments().list(request).await?.into_inner();
            out.print(&list, table::attachments)
        }
    }
}

fn spec(add: AddNetwork) -> v1::NetworkSpec {
    v1::NetworkSpec {
        name: add.name,
        namespaces: add.namespace,
        ranges: add.range,
        most_queues: add.max_queues.unwrap_or_default(),
        most_mtu: add.max_mtu.unwrap_or_default(),
        most_memory: add.max_memory.unwrap_or_default(),
        allow_trusted: add.allow_trusted,
        allow_source: add.allow_source,
        without_device: add.without_device,
    }
}

/// Everything that can be set, as it is said or left out.
fn exactly(spec: v1::NetworkSpec) -> v1::NetworkSetRequest {
    v1::NetworkSetRequest {
        name: spec.name,
        namespaces: Some(v1::Strings { values: spec.namespaces }),
        ranges: Some(v1::Strings { values: spec.ranges }),
        most_queues: Some(spec.most_queues),
        most_mtu: Some(spec.most_mtu),
        most_memory: Some(spec.most_memory),
        allow_trusted: Some(spec.allow_trusted),
        allow_source: Some(spec.allow_source),
        without_device: Some(spec.without_device),
    }
}

fn request(set: SetNetwork) -> v1::NetworkSetRequest {
    let on = |word: Option<OnOff>| word.map(|word| matches!(word, OnOff::On));
    v1::NetworkSetRequest {
        name: set.name,
        namespaces: list(set.namespace),
        ranges: list(set.range),
        most_queues: set.max_queues,
        most_mtu: set.max_mtu,
        most_memory: set.max_memory,
        allow_trusted: on(set.allow_trusted),
        allow_source: on(set.allow_source),
        without_device: on(set.without_device),
    }
}
