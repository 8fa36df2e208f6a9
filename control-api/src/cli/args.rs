//! The words of the command line.

mod network;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::doctor::Doctor;
use super::support::Support;
use crate::address::ApiAddress;
use crate::size;

pub(super) use network::{AddNetwork, AttachmentCommand, NetworkCommand, SetNetwork};

/// Controls the userspace switch of this node.
#[derive(Debug, Parser)]
#[command(name = "podswitch", version, max_term_width = 110)]
pub(super) struct Options {
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    /// Where podswitchd listens
    #[arg(long, global = true, value_name = "unix:PATH", env = "PODSWITCH_API", default_value = ApiAddress::DEFAULT)]
    pub(super) api: ApiAddress,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// The messages of the gRPC interface
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Shows the switch as a whole: memory, workers, store, warnings
    Status,
    /// Networks: isolated segments
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Ports: what pods, virtual machines and devices are plugged into
    Port {
        #[command(subcommand)]
        command: PortCommand,
    },
    /// Ports that a container runtime asked for
    Attachment {
        #[command(subcommand)]
        command: AttachmentCommand,
    },
    /// MAC tables
    Fdb {
        #[command(subcommand)]
        command: FdbCommand,
    },
    /// The threads that move frames
    Worker {
        #[command(subcommand)]
        command: WorkerCommand,
    },
    /// Shows dropped frames by port and reason
    Drops {
        /// Of this port alone
        #[arg(long, value_name = "NAME")]
        port: Option<String>,
    },
    /// Examines this machine; needs no daemon
    Doctor(Doctor),
    /// Writes an archive for a bug report; works without the daemon too
    Support(Support),
    /// Prints a completion script
    Completions {
        /// For this shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum FdbCommand {
    /// Shows the MAC table of a network
    Show { network: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum WorkerCommand {
    /// Lists the workers
    List,
    /// Shows where the cycles of each worker go, a frame
    Stages,
}

#[derive(Debug, Subcommand)]
pub(super) enum PortCommand {
    /// Adds a port; the same again is success
    Add(Box<Add>),
    /// Changes a port in place
    Set(Box<Set>),
    /// Deletes a port; one that is not there is success
    Del { name: String },
    /// Lists the ports
    List {
        /// Of this network alone
        #[arg(long, value_name = "NET")]
        network: Option<String>,
    },
    /// Shows a port, arguments for its application, and why no traffic flows
    Show { name: String },
    /// Shows counters
    Stats {
        /// Of this port alone
        name: Option<String>,
        /// Every second, with rates, until interrupted
        #[arg(long)]
        watch: bool,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("device").required(true).args(["vhost_user", "dpdk"])))]
pub(super) struct Add {
    pub(super) name: String,
    /// The network it belongs to
    #[arg(long, value_name = "NET")]
    pub(super) network: String,
    /// A vhost-user socket
    #[arg(long, value_name = "PATH")]
    pub(super) vhost_user: Option<String>,
    /// A device that DPDK drives: a PCI address or a vdev, with arguments
    #[arg(long, value_name = "DEVARGS", conflicts_with_all = ["mode", "mem_limit", "features_off"])]
    pub(super) dpdk: Option<String>,
    /// Who creates the socket: the application (server) or the switch (client)
    #[arg(long, value_enum)]
    pub(super) mode: Option<Mode>,
    /// Queue pairs
    #[arg(long, value_name = "N")]
    pub(super) queues: Option<u32>,
    /// The MAC address it owns
    #[arg(long)]
    pub(super) mac: Option<String>,
    /// An address it may send from, with its prefix length (may be repeated)
    #[arg(long, value_name = "CIDR")]
    pub(super) ip: Vec<String>,
    /// A prefix it may send from beside its addresses (may be repeated)
    #[arg(long, value_name = "CIDR")]
    pub(super) allow_source: Vec<String>,
    /// Largest layer-3 packet in bytes
    #[arg(long, value_name = "N")]
    pub(super) mtu: Option<u32>,
    /// Most memory that its guest may share (512M, 4G)
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) mem_limit: Option<u64>,
    /// May send from any MAC and any address
    #[arg(long)]
    pub(super) trusted: bool,
    /// virtio features that are not offered, with commas (mrg_rxbuf,in_order)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) features_off: Vec<String>,
    /// CPUs whose workers may poll it, or auto
    #[arg(long, value_name = "CPULIST|auto")]
    pub(super) workers: Option<String>,
    /// A word about it (may be repeated); owner, namespace, pod and interface become labels of its metrics
    #[arg(long, value_name = "K=V", value_parser = label)]
    pub(super) label: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    /// The application creates it and the switch connects (the default)
    Server,
    /// The switch creates it and the application connects
    Client,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum UpDown {
    Up,
    Down,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)
    .args(["mac", "ip", "allow_source", "mtu", "mem_limit", "trusted", "admin", "workers"])))]
pub(super) struct Set {
    pub(super) name: String,
    /// The MAC address it owns, or none
    #[arg(long, value_name = "MAC|none")]
    pub(super) mac: Option<String>,
    /// Addresses it may send from; replace those it has (may be repeated), or none
    #[arg(long, value_name = "CIDR|none")]
    pub(super) ip: Vec<String>,
    /// Prefixes it may send from beside them; replace those it has (may be repeated), or none
    #[arg(long, value_name = "CIDR|none")]
    pub(super) allow_source: Vec<String>,
    /// Largest layer-3 packet in bytes, or none
    #[arg(long, value_name = "N|none", value_parser = number)]
    pub(super) mtu: Option<u32>,
    /// Most memory that its guest may share; 0: the configured default
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) mem_limit: Option<u64>,
    /// May send from any MAC and any address
    #[arg(long, value_enum)]
    pub(super) trusted: Option<OnOff>,
    /// Passes frames, or none
    #[arg(long, value_enum)]
    pub(super) admin: Option<UpDown>,
    /// CPUs whose workers may poll it, or auto
    #[arg(long, value_name = "CPULIST|auto")]
    pub(super) workers: Option<String>,
}

/// A number, or "none" for zero.
fn number(text: &str) -> Result<u32, std::num::ParseIntError> {
    if text == "none" { Ok(0) } else { text.parse() }
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("it has no \"=\": write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_words_hold_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_words_of_the_interface() {
        for line in [
            "status",
            "network add blue",
            "network add blue --namespace a --namespace b --range 10.0.0.0/16 --max-queues 2 --max-mtu 1500 \
             --max-memory 1G --allow-trusted --allow-source --without-device",
            "network set blue --namespace none --range none --max-queues none --max-mtu none --max-memory none",
            "network set blue --allow-trusted on --allow-source off --without-device off",
            "network del blue -o json",
            "network list",
            "-o json network show blue",
            "port add a --network blue --vhost-user /run/a.sock --mode client --queues 2 --mac 02:00:00:00:00:01 \
             --ip 10.0.0.1/24 --ip 10.0.0.2/24 --allow-source 10.1.0.0/16 --mtu 1500 --mem-limit 512M --trusted \
             --features-off mrg_rxbuf,in_order",
            "port add b --network blue --dpdk net_null0 --queues 1 --trusted",
            "port set a --mac none --ip none --mtu none --trusted off --admin down --workers auto",
            "port del a --api unix:/x",
            "port list",
            "port show a",
            "port stats",
            "port stats a --watch",
            "attachment list",
            "attachment list --network podnet -o json",
            "fdb show blue",
            "worker list",
            "drops --port a",
            "doctor --strict --config /etc/x.toml -o json",
            "support --file /tmp/x.tar.gz",
            "completions bash",
        ] {
            let words = std::iter::once("podswitch").chain(line.split_ascii_whitespace());
            Options::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for line in [
            "",
            "port",
            "port add a --network blue",
            "port add a --vhost-user /a",
            "port add a --network blue --vhost-user /a --dpdk net_null0",
            "port add a --network blue --dpdk net_null0 --mode server",
            "port add a --network blue --vhost-user /a --queues many",
            "port add a --network blue --vhost-user /a --mem-limit 1.5G",
            "network set blue",
            "network set blue --allow-trusted",
            "network set blue --max-memory much",
            "network add blue --max-queues none",
            "attachment",
            "port set a",
            "port set a --trusted maybe",
            "status -o yaml",
            "status --api tcp:1.2.3.4:5",
            "completions cmd",
        ] {
            let words = std::iter::once("podswitch").chain(line.split_ascii_whitespace());
            assert_eq!(Options::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
