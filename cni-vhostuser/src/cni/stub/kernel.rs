//! Links, addresses and routes of the namespace that the calling thread is in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use libc::{AF_INET, AF_INET6, AF_UNSPEC};

use super::StubError;
use super::netlink::{Message, Socket, attributes, number};
use crate::cni::result::Route;

/// Fixed parts of the answers, in bytes: of links, addresses, routes.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;
/// Members of a route's nested metrics.
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;

/// A link, as far as it matters here.
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) alias: String,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: u32,
}

/// The kernel's tables of one namespace.
pub(super) struct Kernel(Socket);

impl Kernel {
    pub(super) fn open() -> Result<Self, StubError> {
        Socket::open().map(Self).map_err(|error| StubError::system("open a netlink socket", error))
    }

    /// The link of that name, if there is one.
    pub(super) fn link(&mut self, name: &str) -> Result<Option<Link>, StubError> {
        let mut zeroed = name.as_bytes().to_vec();
        zeroed.push(0);
        let message = Message::new(libc::RTM_GETLINK, 0, &link(0, 0)).with(libc::IFLA_IFNAME, &zeroed);
        let answers = match self.0.ask(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            other => other.map_err(|error| StubError::system(format!("look for the link {name}"), error))?,
        };
        Ok(answers.first().and_then(|answer| {
            let mut found = Link { index: number(answer, 4)?, alias: String::new(), mac: None, mtu: 0 };
            for (kind, value) in attributes(answer, LINK) {
                match kind {
                    libc::IFLA_IFALIAS => {
                        found.alias = String::from_utf8_lossy(value).trim_end_matches('\0').into();
                    }
                    libc::IFLA_ADDRESS => found.mac = value.try_into().ok(),
                    libc::IFLA_MTU => found.mtu = number(value, 0).unwrap_or_default(),
                    _ => {}
                }
            }
            Some(found)
        }))
    }

    /// Gives a link its alias.
    pub(super) fn mark(&mut self, index: u32, alias: &str) -> Result<(), StubError> {
        let message =
            Message::new(libc::RTM_NEWLINK, 0, &link(index, 0)).with(libc::IFLA_IFALIAS, alias.as_bytes());
        self.change(message, || "name the link's port".into())
    }

    /// Gives a link its MAC address, and an MTU other than 0.
    pub(super) fn dress(&mut self, index: u32, mac: [u8; 6], mtu: u32) -> Result<(), StubError> {
        let message = Message::new(libc::RTM_NEWLINK, 0, &link(index, 0)).with(libc::IFLA_ADDRESS, &mac);
        self.change(message, || "set the link's MAC address".into())?;
        if mtu == 0 {
            return Ok(());
        }
        let message =
            Message::new(libc::RTM_NEWLINK, 0, &link(index, 0)).with(libc::IFLA_MTU, &mtu.to_ne_bytes());
        self.change(message, || format!("set the link's MTU to {mtu}"))
    }

    pub(super) fn set_up(&mut self, index: u32) -> Result<(), StubError> {
        let message = Message::new(libc::RTM_NEWLINK, 0, &link(index, libc::IFF_UP as u32));
        self.change(message, || "set the link up".into())
    }

    /// Removes a link; one that is gone is success.
    pub(super) fn remove_link(&mut self, index: u32) -> Result<(), StubError> {
        match self.0.ask(Message::new(libc::RTM_DELLINK, 0, &link(index, 0))) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                Err(StubError::system("remove the link", error))
            }
            _ => Ok(()),
        }
    }

    /// The addresses of a link.
    pub(super) fn addresses(&mut self, index: u32) -> Result<Vec<IpNet>, StubError> {
        let fixed = [AF_UNSPEC as u8, 0, 0, 0, 0, 0, 0, 0];
        let answers = self
            .0
            .ask(Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &fixed))
            .map_err(|error| StubError::system("list addresses", error))?;
        let of_link = answers.iter().filter(|answer| number(answer, 4) == Some(index));
        Ok(of_link
            .filter_map(|answer| {
                let find = |wanted| attributes(answer, ADDRESS).find(|(kind, _)| *kind == wanted);
                // IPv4 has its own address in LOCAL, and the peer's in ADDRESS.
                let (_, value) = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS))?;
                IpNet::new(ip(value)?, *answer.get(1)?).ok()
            })
            .collect())
    }

    /// Adds an address, or does nothing if it is there. The route to its network is not made with it.
    pub(super) fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), StubError> {
        let (family, bytes) = spelled(address.addr());
        let mut fixed = vec![family, address.prefix_len(), 0, 0];
        fixed.extend(index.to_ne_bytes());
        // No search for duplicates: nothing would answer, and the address would stay tentative for ever.
        let flags = libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_NODAD;
        let message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &fixed)
            .with(libc::IFA_LOCAL, &bytes)
            .with(libc::IFA_ADDRESS, &bytes)
            .with(libc::IFA_FLAGS, &flags.to_ne_bytes());
        self.change(message, || format!("add the address {address}"))
    }

    /// Where the namespace's other links lead: destinations of all tables but the kernel's own, without default routes.
    pub(super) fn routes_of_others(&mut self, index: u32) -> Result<Vec<IpNet>, StubError> {
        let mut destinations = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut fixed = [0; ROUTE];
            fixed[0] = family as u8;
            let answers = self
                .0
                .ask(Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &fixed))
                .map_err(|error| StubError::system("list routes", error))?;
            let others = answers.iter().filter(|answer| answer.first() == Some(&(family as u8)));
            destinations.extend(others.filter_map(|answer| other_destination(answer, index)));
        }
        Ok(destinations)
    }

    /// Adds a route through the link; one that is there is success.
    pub(super) fn add_route(
        &mut self,
        index: u32,
        dst: IpNet,
        gateway: Option<IpAddr>,
        source: Option<IpAddr>,
        more: &Route,
    ) -> io::Result<()> {
        let (family, bytes) = spelled(dst.addr());
        let scope = match (more.scope, gateway) {
            (Some(scope), _) => scope as u8,
            (None, Some(_)) => libc::RT_SCOPE_UNIVERSE,
            (None, None) => libc::RT_SCOPE_LINK,
        };
        let table = more.table.map_or(u32::from(libc::RT_TABLE_MAIN), i32::cast_unsigned);
        let mut fixed = [0; ROUTE];
        fixed[..2].copy_from_slice(&[family, dst.prefix_len()]);
        fixed[4..8].copy_from_slice(&[libc::RT_TABLE_UNSPEC, libc::RTPROT_STATIC, scope, libc::RTN_UNICAST]);
        let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &fixed)
            .with(libc::RTA_DST, &bytes)
            .with(libc::RTA_OIF, &index.to_ne_bytes())
            .with(libc::RTA_TABLE, &table.to_ne_bytes());
        if let Some(gateway) = gateway {
            let (its_family, bytes) = spelled(gateway);
            if its_family != family {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "its gateway is of the other address family",
                ));
            }
            message = message.with(libc::RTA_GATEWAY, &bytes);
        }
        if let Some(source) = source {
            message = message.with(libc::RTA_PREFSRC, &spelled(source).1);
        }
        if let Some(priority) = more.priority {
            message = message.with(libc::RTA_PRIORITY, &priority.to_ne_bytes());
        }
        let metrics = metrics(more);
        if !metrics.is_empty() {
            message = message.with(libc::RTA_METRICS, &metrics);
        }
        match self.0.ask(message) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    }

    fn change(&mut self, message: Message, doing: impl FnOnce() -> String) -> Result<(), StubError> {
        self.0.ask(message).map(drop).map_err(|error| StubError::system(doing(), error))
    }
}

/// struct ifinfomsg; `flags` are those that shall be set.
fn link(index: u32, flags: u32) -> [u8; LINK] {
    let mut fixed = [0; LINK];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

/// The destination in an answer, if it is one that a route of ours must not overlap.
fn other_destination(answer: &[u8], index: u32) -> Option<IpNet> {
    let (family, length, kind) = (*answer.first()?, *answer.get(1)?, *answer.get(7)?);
    let find = |wanted| attributes(answer, ROUTE).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let table = find(libc::RTA_TABLE).and_then(|value| number(value, 0));
    let own = find(libc::RTA_OIF).and_then(|value| number(value, 0)) == Some(index);
    let kernels = table == Some(u32::from(libc::RT_TABLE_LOCAL)) || kind == libc::RTN_MULTICAST;
    if length == 0 || own || kernels {
        return None;
    }
    let dst = match find(libc::RTA_DST) {
        Some(value) => ip(value)?,
        None if i32::from(family) == AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    IpNet::new(dst, length).ok()
}

/// A route's nested metrics; empty where there are none.
fn metrics(route: &Route) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in [(RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss)] {
        if let Some(value) = value.filter(|value| *value > 0) {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
    }
    bytes
}

/// An address family and an address in network order.
fn spelled(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(four) => (AF_INET as u8, four.octets().to_vec()),
        IpAddr::V6(six) => (AF_INET6 as u8, six.octets().to_vec()),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}
