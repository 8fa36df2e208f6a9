//! A pool: a resource of the kubelet, and the ids that it counts.
//!
//! An id says its NUMA node and its number, `n1-0007`, and nothing else: the same configuration always makes the same
//! ids, whatever ran before. All pools of a node share one directory, so their numbers do not overlap.

use std::collections::BTreeMap;

use proto::kubelet::device_plugin::{ContainerPreferredAllocationRequest, Device, NumaNode, TopologyInfo};
use proto::paths;

/// One more than the largest number of an id.
const NUMBERS: u32 = 10_000;
/// One more than the largest NUMA node: an id has two digits for it.
pub(super) const MOST_NODES: u32 = 64;
/// The environment variable with the ids of the default resource.
const VARIABLE: &str = "PODSWITCH_VHOST_DEVICES";
const HEALTHY: &str = "Healthy";
const UNHEALTHY: &str = "Unhealthy";

/// A pool that cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The kubelet would refuse the name.
    #[error(
        "\"{0}\" is no resource name; use DOMAIN/NAME of letters, digits, -, _ and ., as in podswitch.io/vhost-user"
    )]
    Resource(String),
    /// Numbers outside four digits.
    #[error("pool {resource}: {devices} devices from number {first} on do not fit into 0 to 9999")]
    Numbers {
        /// The pool.
        resource: String,
        /// Its first number.
        first: u32,
        /// How many it asks for.
        devices: u32,
    },
    /// Two pools with one name.
    #[error("pools {0} and {1} are the same resource, or have the same socket or environment variable")]
    Same(String, String),
    /// Two pools with one id.
    #[error("pools {0} and {1} have ids in common; set `first` so that they do not overlap")]
    Overlap(String, String),
}

/// A pool of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    resource: String,
    first: u32,
    devices: u32,
}

impl Pool {
    /// A pool of `devices` ids for each NUMA node, numbered from `first`.
    ///
    /// # Errors
    /// A name or numbers that cannot be.
    pub(super) fn new(resource: &str, first: u32, devices: u32) -> Result<Self, PoolError> {
        let named = resource.split_once('/').is_some_and(|(domain, name)| is_domain(domain) && is_name(name));
        if !named {
            return Err(PoolError::Resource(resource.into()));
        }
        let fits = first.checked_add(devices).is_some_and(|end| end <= NUMBERS);
        if devices == 0 || !fits {
            return Err(PoolError::Numbers { resource: resource.into(), first, devices });
        }
        Ok(Self { resource: resource.into(), first, devices })
    }

    /// Whether pools can live side by side.
    ///
    /// # Errors
    /// The first two that cannot.
    pub(super) fn check_together(pools: &[Self]) -> Result<(), PoolError> {
        for (index, a) in pools.iter().enumerate() {
            for b in &pools[index + 1..] {
                let names = || (a.resource.clone(), b.resource.clone());
                if a.endpoint() == b.endpoint() || a.variable() == b.variable() {
                    let (a, b) = names();
                    return Err(PoolError::Same(a, b));
                }
                if a.first < b.first + b.devices && b.first < a.first + a.devices {
                    let (a, b) = names();
                    return Err(PoolError::Overlap(a, b));
                }
            }
        }
        Ok(())
    }

    /// The kubelet's name for it.
    pub(super) fn resource(&self) -> &str {
        &self.resource
    }

    /// Name of its socket in the kubelet's directory.
    pub(super) fn endpoint(&self) -> String {
        format!("podswitch_{}.sock", self.resource.replace('/', "_").to_ascii_lowercase())
    }

    /// The environment variable with the ids that a container has of it: one for each resource, because the kubelet
    /// merges what several resources answer.
    pub(super) fn variable(&self) -> String {
        if self.resource == paths::RESOURCE {
            return VARIABLE.into();
        }
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        format!("{VARIABLE}_{}", self.resource.chars().map(word).collect::<String>())
    }

    /// Its ids on these nodes, each with its node.
    pub(super) fn ids(&self, nodes: &[u32]) -> Vec<(String, u32)> {
        let numbers = self.first..self.first + self.devices;
        nodes
            .iter()
            .flat_map(|&node| numbers.clone().map(move |n| (format!("n{node}-{n:04}"), node)))
            .collect()
    }

    /// Its devices as the kubelet is told, by the health of each node.
    pub(super) fn devices(&self, nodes: &BTreeMap<u32, bool>) -> Vec<Device> {
        let every: Vec<u32> = nodes.keys().copied().collect();
        let device = |(id, node): (String, u32)| Device {
            id,
            health: if nodes.get(&node).copied().unwrap_or(false) { HEALTHY } else { UNHEALTHY }.into(),
            topology: Some(TopologyInfo { nodes: vec![NumaNode { id: i64::from(node) }] }),
        };
        self.ids(&every).into_iter().map(device).collect()
    }
}

/// Node and number of an id, if it has the form of ours.
pub(super) fn parts(id: &str) -> Option<(u32, u32)> {
    let (node, number) = id.strip_prefix('n')?.split_once('-')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if number.len() != 4 || !plain(number) || !plain(node) || node.len() > 2 {
        return None;
    }
    Some((node.parse().ok()?, number.parse().ok()?))
}

/// The devices that a container should have: what it must, then of the nodes of those, then of the lowest node that
/// has enough for the rest, else of the nodes with most; lowest ids first.
pub(super) fn preferred(request: &ContainerPreferredAllocationRequest) -> Vec<String> {
    let size = usize::try_from(request.allocation_size).unwrap_or(0);
    let mut chosen: Vec<String> = request.must_include_device_i_ds.clone();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.truncate(size);
    let node_of = |id: &str| parts(id).map_or(u32::MAX, |(node, _)| node);
    let near: Vec<u32> = chosen.iter().map(|id| node_of(id)).collect();
    let mut free: BTreeMap<u32, Vec<&String>> = BTreeMap::new();
    for id in &request.available_device_i_ds {
        if !chosen.contains(id) {
            free.entry(node_of(id)).or_default().push(id);
        }
    }
    let missing = size - chosen.len();
    let mut nodes: Vec<_> = free.into_iter().collect();
    nodes.sort_by_key(|(node, ids)| {
        let short = ids.len() < missing;
        (!near.contains(node), short, if short { usize::MAX - ids.len() } else { 0 }, *node)
    });
    for (_, mut ids) in nodes {
        ids.sort_unstable();
        ids.dedup();
        chosen.extend(ids.into_iter().take(size - chosen.len()).cloned());
    }
    chosen
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A DNS name with a dot, which the kubelet does not keep for itself.
fn is_domain(text: &str) -> bool {
    text.len() <= 253
        && text.contains('.')
        && !text.ends_with("kubernetes.io")
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && text.split('.').all(is_name)
}

#[cfg(test)]
mod tests;
