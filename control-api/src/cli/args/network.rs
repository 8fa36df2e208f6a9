//! The words of `podswitch network …` and `podswitch attachment …`.

use clap::{ArgGroup, Args, Subcommand};

use super::OnOff;
use crate::size;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NetworkCommand {
    /// Adds a network; the same again is success
    Add(Box<AddNetwork>),
    /// Changes in place who may attach to a network, and with what; what is attached stays
    Set(Box<SetNetwork>),
    /// Deletes a network without ports; one that is not there is success
    Del { name: String },
    /// Lists the networks
    List,
    /// Shows a network
    Show { name: String },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AddNetwork {
    pub(in crate::cli) name: String,
    /// A Kubernetes namespace whose pods may attach (may be repeated), or "*" for every one; without it none may
    #[arg(long, value_name = "NS")]
    pub(in crate::cli) namespace: Vec<String>,
    /// A prefix that attached addresses must lie in (may be repeated); without it any address will do
    #[arg(long, value_name = "CIDR")]
    pub(in crate::cli) range: Vec<String>,
    /// Most queue pairs of an attachment
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max_queues: Option<u32>,
    /// Largest MTU of an attachment, which is also the one it gets if it asks for none
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max_mtu: Option<u32>,
    /// Most memory that the guest of an attachment may share, which is also what it gets if it asks for none
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(in crate::cli) max_memory: Option<u64>,
    /// An attachment may ask to send from any MAC and any address
    #[arg(long)]
    pub(in crate::cli) allow_trusted: bool,
    /// An attachment may ask to send from prefixes beside its own addresses
    #[arg(long)]
    pub(in crate::cli) allow_source: bool,
    /// An attachment needs no device of the device plugin: for runtimes without a kubelet
    #[arg(long)]
    pub(in crate::cli) without_device: bool,
    /// If it is there with another policy, it gets exactly this one: what is left out here is left out there
    #[arg(long)]
    pub(in crate::cli) replace: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("policy").required(true).multiple(true).args([
    "namespace", "range", "max_queues", "max_mtu", "max_memory", "allow_trusted", "allow_source", "without_device",
])))]
pub(in crate::cli) struct SetNetwork {
    pub(in crate::cli) name: String,
    /// Kubernetes namespaces whose pods may attach; replace those it has (may be repeated), or none
    #[arg(long, value_name = "NS|none")]
    pub(in crate::cli) namespace: Vec<String>,
    /// Prefixes that attached addresses must lie in; replace those it has (may be repeated), or none
    #[arg(long, value_name = "CIDR|none")]
    pub(in crate::cli) range: Vec<String>,
    /// Most queue pairs of an attachment, or none
    #[arg(long, value_name = "N|none", value_parser = super::number)]
    pub(in crate::cli) max_queues: Option<u32>,
    /// Largest MTU of an attachment, or none
    #[arg(long, value_name = "N|none", value_parser = super::number)]
    pub(in crate::cli) max_mtu: Option<u32>,
    /// Most memory that the guest of an attachment may share, or none for the configured default
    #[arg(long, value_name = "SIZE|none", value_parser = memory)]
    pub(in crate::cli) max_memory: Option<u64>,
    /// An attachment may ask to send from any MAC and any address
    #[arg(long, value_enum)]
    pub(in crate::cli) allow_trusted: Option<OnOff>,
    /// An attachment may ask to send from prefixes beside its own addresses
    #[arg(long, value_enum)]
    pub(in crate::cli) allow_source: Option<OnOff>,
    /// An attachment needs no device of the device plugin
    #[arg(long, value_enum)]
    pub(in crate::cli) without_device: Option<OnOff>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AttachmentCommand {
    /// Lists the ports that a container runtime asked for, and who holds them
    List {
        /// Of this CNI network configuration alone
        #[arg(long, value_name = "CNI-NETWORK")]
        network: Option<String>,
    },
}

fn memory(text: &str) -> Result<u64, size::SizeError> {
    if text == "none" { Ok(0) } else { size::parse(text) }
}
