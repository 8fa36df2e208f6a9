//! The stub link: a kernel interface in the pod that carries no frame but tells the truth.
//!
//! A port's frames go through a socket, so a pod would see nothing of it in `ip addr`. The stub is a persistent tap that
//! nobody opens: up, without carrier, with the port's MAC address, MTU, addresses and routes. It must never take
//! traffic away from the interfaces that do carry some: a default route is left out, and so is a route that overlaps
//! one that is there (which holds for the routes of the addresses' own networks too). What was left out is answered.
//! The link's alias names the port, which is how ours is known from anybody else's.
//!
//! Called by the CNI plugin (ADD, CHECK, DEL). Each call works in a thread of its own that enters the namespace and ends
//! there; the caller's thread never moves.

mod kernel;
mod namespace;
mod netlink;
mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::cni::result::{Addressing, Route};
use kernel::Kernel;

/// What the alias of every link of ours starts with.
pub const ALIAS_PREFIX: &str = "podswitch:";
/// Linux' IFALIASZ without the closing zero.
const LONGEST_ALIAS: usize = 255;

/// The link that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct StubLink<'a> {
    /// Name, 1 to 15 bytes.
    pub ifname: &'a str,
    /// MAC address, six pairs of hexadecimal digits with `:` between them.
    pub mac: &'a str,
    /// MTU in bytes; 0: the kernel's default.
    pub mtu: u32,
    /// Addresses and routes; the resolver's settings are not looked at.
    pub addressing: &'a Addressing,
    /// `podswitch:` and the name of the port.
    pub alias: &'a str,
}

/// A route that the stub does not have, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its destination.
    pub dst: String,
    /// The reason.
    pub why: String,
}

/// A link that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// It is a stub of this switch.
    pub ours: bool,
    /// Its alias, `podswitch:PORT` for ours; may be empty.
    pub alias: String,
    /// MAC address in lower case; empty: it has none of six bytes.
    pub mac: String,
    /// In bytes.
    pub mtu: u32,
    /// Each as ADDRESS/LENGTH.
    pub addresses: Vec<String>,
}

/// What can go wrong with the stub link.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// The path is not there, or no network namespace any more.
    #[error("there is no network namespace {}", .0.display())]
    NoNamespace(PathBuf),
    /// A link of this name is in the namespace and is not the wanted stub.
    #[error("there is a link {ifname} in the namespace already{}{alias}", if alias.is_empty() { "" } else { ": " })]
    Exists {
        /// Its name.
        ifname: String,
        /// Its alias.
        alias: String,
    },
    /// Not what it should be; `what` says which.
    #[error("{text:?} is no {what}")]
    Invalid {
        /// Kind of text.
        what: &'static str,
        /// As given.
        text: String,
    },
    /// The operating system refused.
    #[error("could not {doing}: {source}")]
    System {
        /// What was being done, to what.
        doing: String,
        /// As the kernel says it.
        source: io::Error,
    },
}

/// Makes the link, or completes one that is there and ours, and answers which routes were left out.
///
/// # Errors
/// See [`StubError`]. A link that could not be completed is removed again.
pub fn add(netns: &Path, link: &StubLink<'_>) -> Result<Vec<Skipped>, StubError> {
    // Everything is read before anything is made.
    let plan = Plan::new(link)?;
    namespace::within(netns, || {
        let mut kernel = Kernel::open()?;
        let index = match kernel.link(plan.link.ifname)? {
            Some(link) if link.alias == plan.link.alias => link.index,
            Some(link) => {
                return Err(StubError::Exists { ifname: plan.link.ifname.into(), alias: link.alias });
            }
            None => plan.make(&mut kernel)?,
        };
        let completed = plan.complete(&mut kernel, index);
        if completed.is_err() {
            let _ = kernel.remove_link(index);
        }
        completed
    })
}

/// Removes the link if it is a stub of this switch. No link, another's link, and no namespace are success.
///
/// # Errors
/// [`StubError::System`] where the kernel refuses.
pub fn remove(netns: &Path, ifname: &str) -> Result<(), StubError> {
    let removed = namespace::within(netns, || {
        let mut kernel = Kernel::open()?;
        match kernel.link(ifname)? {
            Some(link) if link.alias.starts_with(ALIAS_PREFIX) => kernel.remove_link(link.index),
            _ => Ok(()),
        }
    });
    match removed {
        Err(StubError::NoNamespace(_)) => Ok(()),
        other => other,
    }
}

/// The link of that name, of whatever kind.
///
/// # Errors
/// [`StubError::NoNamespace`], and [`StubError::System`] where the kernel refuses.
pub fn look(netns: &Path, ifname: &str) -> Result<Option<Found>, StubError> {
    namespace::within(netns, || {
        let mut kernel = Kernel::open()?;
        let Some(link) = kernel.link(ifname)? else { return Ok(None) };
        let addresses = kernel.addresses(link.index)?;
        Ok(Some(Found {
            ours: link.alias.starts_with(ALIAS_PREFIX),
            mac: link.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")).unwrap_or_default(),
            mtu: link.mtu,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            alias: link.alias,
        }))
    })
}

/// A wanted link, its texts read.
struct Plan<'a> {
    link: StubLink<'a>,
    mac: [u8; 6],
    addresses: Vec<IpNet>,
    routes: Vec<(IpNet, Option<IpAddr>, &'a Route)>,
}

impl<'a> Plan<'a> {
    fn new(link: &StubLink<'a>) -> Result<Self, StubError> {
        let invalid = |what, text: &str| StubError::Invalid { what, text: text.into() };
        // A `%` would have the kernel number the link.
        let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'/' | b':' | b'%');
        let name = link.ifname;
        if !(1..=15).contains(&name.len()) || name.bytes().any(odd) || matches!(name, "." | "..") {
            return Err(invalid("name of a stub link", name));
        }
        if !link.alias.starts_with(ALIAS_PREFIX)
            || link.alias.len() > LONGEST_ALIAS
            || link.alias.contains('\0')
        {
            return Err(invalid("alias of a stub link", link.alias));
        }
        let mac = mac(link.mac).ok_or_else(|| invalid("MAC address", link.mac))?;
        let addressing = link.addressing;
        let addresses =
            addressing.ips.iter().map(|ip| ip.address.parse().map_err(|_| invalid("address", &ip.address)));
        let routes = addressing.routes.iter().map(|route| {
            let dst = route.dst.parse().map_err(|_| invalid("destination", &route.dst))?;
            let gw = match route.gw.as_deref().filter(|gw| !gw.is_empty()) {
                Some(gw) => Some(gw.parse().map_err(|_| invalid("gateway", gw))?),
                None => None,
            };
            Ok((dst, gw, route))
        });
        Ok(Self {
            link: *link,
            mac,
            addresses: addresses.collect::<Result<_, _>>()?,
            routes: routes.collect::<Result<_, StubError>>()?,
        })
    }

    /// A new link, down and bare but marked as ours. It is made to stay only when it is marked: if this process is killed
    /// before, the kernel removes it.
    fn make(&self, kernel: &mut Kernel) -> Result<u32, StubError> {
        let tap = tap::Tap::create(self.link.ifname)?;
        let index = kernel
            .link(self.link.ifname)?
            .map(|link| link.index)
            .ok_or_else(|| StubError::system("find the new link", io::ErrorKind::NotFound.into()))?;
        kernel.mark(index, self.link.alias)?;
        tap.keep()?;
        Ok(index)
    }

    fn complete(&self, kernel: &mut Kernel, index: u32) -> Result<Vec<Skipped>, StubError> {
        kernel.dress(index, self.mac, self.link.mtu)?;
        if self.addresses.iter().any(|address| matches!(address, IpNet::V6(_))) {
            namespace::allow_ipv6(self.link.ifname)?;
        }
        kernel.set_up(index)?;
        for address in &self.addresses {
            kernel.add_address(index, *address)?;
        }
        self.add_routes(kernel, index)
    }

    /// The networks of the addresses first, then the rest: those without a gateway first, which others may need.
    fn add_routes(&self, kernel: &mut Kernel, index: u32) -> Result<Vec<Skipped>, StubError> {
        let plain = Route::default();
        let own = self.addresses.iter().filter(|address| address.prefix_len() < address.max_prefix_len());
        let own = own.map(|address| (address.trunc(), None, Some(address.addr()), &plain));
        let mut wanted: Vec<_> =
            self.routes.iter().map(|&(dst, gw, route)| (dst.trunc(), gw, None, route)).collect();
        wanted.sort_by_key(|(_, gw, ..)| gw.is_some());
        let others = kernel.routes_of_others(index)?;
        let mut skipped = Vec::new();
        for (dst, gw, source, route) in own.chain(wanted) {
            let overlapped = others.iter().find(|other| other.contains(&dst) || dst.contains(*other));
            let why = match overlapped {
                _ if dst.prefix_len() == 0 => "a default route is never set".into(),
                Some(other) => format!("overlaps the route {other} that is there"),
                None => match kernel.add_route(index, dst, gw, source, route) {
                    Ok(()) => continue,
                    // A gateway that is not on the link, most of the time.
                    Err(refused) => refused.to_string(),
                },
            };
            skipped.push(Skipped { dst: dst.to_string(), why });
        }
        Ok(skipped)
    }
}

impl StubError {
    fn system(doing: impl Into<String>, source: io::Error) -> Self {
        Self::System { doing: doing.into(), source }
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}
