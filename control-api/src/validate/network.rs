//! A network: its name, and the policy that binds those who attach through a container runtime.

use ipnet::IpNet;
use proto::v1;

use super::{Invalid, MOST_QUEUES, Why, few, invalid, mtu, name, plain, prefixes, shown};

/// Least bytes of memory that an attachment's guest may be limited to.
pub const LEAST_MEMORY: u64 = 1 << 20;
/// In the list of namespaces: every one.
pub const EVERY_NAMESPACE: &str = "*";

/// Checks a network and gives it in its one canonical form: lists sorted, nothing twice.
///
/// # Errors
/// [`Invalid`] with the first field at fault.
pub fn network(spec: Option<v1::NetworkSpec>) -> Result<v1::NetworkSpec, Invalid> {
    let Some(mut spec) = spec else { return invalid("spec", Why::Missing) };
    name("name", &spec.name)?;
    namespaces(&mut spec.namespaces)?;
    let mut ranges = prefixes("ranges", &mut spec.ranges)?;
    ranges.sort_unstable();
    spec.ranges = ranges.iter().map(IpNet::to_string).collect();
    if spec.most_queues > MOST_QUEUES {
        return invalid("most_queues", Why::MostQueues(spec.most_queues));
    }
    mtu("most_mtu", spec.most_mtu)?;
    if (1..LEAST_MEMORY).contains(&spec.most_memory) {
        return invalid("most_memory", Why::Memory(spec.most_memory));
    }
    Ok(spec)
}

fn namespaces(texts: &mut Vec<String>) -> Result<(), Invalid> {
    let field = "namespaces";
    few(field, texts.len())?;
    for text in texts.iter() {
        if text != EVERY_NAMESPACE && (!plain(text) || text.contains('.')) {
            return invalid(field, Why::Namespace(shown(text)));
        }
    }
    texts.sort_unstable();
    texts.dedup();
    Ok(())
}

#[cfg(test)]
mod tests;
