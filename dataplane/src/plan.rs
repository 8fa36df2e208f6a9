//! The plan: which worker polls which queue.
//!
//! One pure function, so that it can be read, tested and shown. A queue goes to the worker with the fewest queues
//! among those that are allowed, preferring those on the NUMA node of the port's memory or device; of equals, the
//! first. A plan holds until the port is changed: queues are not moved about by themselves.

use crate::ids::CoreId;

/// A worker, as the plan sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub core: CoreId,
    pub numa_node: Option<u32>,
    /// Queues that it has already.
    pub queues: usize,
}

/// Numbers of the workers that poll the queue pairs of a port: one for each pair.
///
/// `allowed`: the CPUs that the port may use; empty: any. `node`: where its memory or device is, if that is known.
///
/// # Errors
/// The first of `allowed` on which no worker runs.
pub(crate) fn assign(
    workers: &[Candidate],
    pairs: u16,
    allowed: &[CoreId],
    node: Option<u32>,
) -> Result<Vec<usize>, CoreId> {
    if let Some(core) = allowed.iter().find(|core| workers.iter().all(|w| w.core != **core)) {
        return Err(*core);
    }
    let mut load: Vec<usize> = workers.iter().map(|w| w.queues).collect();
    let may = |w: &Candidate| allowed.is_empty() || allowed.contains(&w.core);
    let near = |w: &Candidate| node.is_none() || w.numa_node.is_none() || w.numa_node == node;
    // An operator's list is final; without one, another node is taken only if this one has no worker.
    let only_near = allowed.is_empty() && workers.iter().any(near);
    let mut plan = Vec::with_capacity(pairs.into());
    for _ in 0..pairs {
        let chosen = (0..workers.len())
            .filter(|i| may(&workers[*i]) && (!only_near || near(&workers[*i])))
            .min_by_key(|i| (load[*i], !near(&workers[*i]), *i));
        let Some(chosen) = chosen else { break };
        load[chosen] += 1;
        plan.push(chosen);
    }
    Ok(plan)
}

/// The NUMA node of a CPU; `None` where the kernel does not say.
pub(crate) fn node_of_cpu(core: CoreId) -> Option<u32> {
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    entries.filter_map(Result::ok).find_map(|e| e.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// The NUMA node of the page at an address of ours; `None` if it is not there, or the kernel does not say. Asks for
/// nothing to be moved, brings no page in, and does not wait.
#[expect(unsafe_code, reason = "a system call without a safe form")]
pub(crate) fn node_of_memory(at: vhost::address::HostAddr) -> Option<u32> {
    let pages = [(at.0 & !4095) as *const libc::c_void];
    let mut status: libc::c_int = -1;
    // SAFETY: one page address, which the kernel looks up and does not follow; no list of nodes, so nothing moves;
    // `status` holds the one answer.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            1usize,
            pages.as_ptr(),
            std::ptr::null::<libc::c_int>(),
            &raw mut status,
            0,
        )
    };
    if failed == 0 { u32::try_from(status).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(loads: &[(u32, u32, usize)]) -> Vec<Candidate> {
        loads
            .iter()
            .map(|&(core, node, queues)| Candidate { core: CoreId(core), numa_node: Some(node), queues })
            .collect()
    }

    #[test]
    fn queues_go_where_there_are_fewest() {
        let w = workers(&[(2, 0, 3), (3, 0, 1), (4, 0, 1)]);
        assert_eq!(assign(&w, 4, &[], None), Ok(vec![1, 2, 1, 2]));
    }

    #[test]
    fn the_near_node_comes_first_even_if_it_is_busier() {
        let w = workers(&[(2, 0, 0), (3, 1, 5), (4, 1, 5)]);
        assert_eq!(assign(&w, 2, &[], Some(1)), Ok(vec![1, 2]));
        assert_eq!(assign(&w, 1, &[], Some(7)), Ok(vec![0]), "no worker is near: any will do");
    }

    #[test]
    fn memory_has_a_node_once_it_is_touched() {
        let memory = vec![1u8; 8192];
        let at = |p: *const u8| vhost::address::HostAddr(p as usize);
        let nodes = std::path::Path::new("/sys/devices/system/node").exists();
        assert_eq!(node_of_memory(at(memory.as_ptr())).is_some(), nodes);
        assert_eq!(node_of_memory(at(std::ptr::without_provenance(4096))), None, "nothing is there");
    }

    #[test]
    fn an_operators_list_is_final() {
        let w = workers(&[(2, 0, 0), (3, 1, 9)]);
        assert_eq!(assign(&w, 2, &[CoreId(3)], Some(0)), Ok(vec![1, 1]));
        assert_eq!(assign(&w, 1, &[CoreId(3), CoreId(9)], None), Err(CoreId(9)));
    }
}
