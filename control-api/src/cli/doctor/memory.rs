//! Memory: hugepages and who may have them, transparent ones, locked pages.

use super::finding::Finding;
use super::machine::{Answer, Daemon, Machine};
use crate::size;
use crate::system::cgroup_directories;

const CAP_IPC_LOCK: u32 = 14;
const NODES: &str = "/sys/devices/system/node";
const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Pages of one size that a node, or the machine, has.
struct Pool {
    bytes: u64,
    reserved: u64,
    free: u64,
}

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = hugepages(machine);
    findings.push(mounted(machine));
    findings.push(memfd(machine));
    findings.push(limit(machine));
    findings.push(transparent(machine));
    findings.push(locked(machine));
    findings
}

/// Pools below a directory, smallest pages first.
fn pools(machine: &Machine, directory: &str) -> Vec<Pool> {
    let pool = |name: &String| {
        let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file| machine.number(format!("{directory}/{name}/{file}"));
        Some(Pool {
            bytes: kilobytes << 10,
            reserved: number("nr_hugepages")?,
            free: number("free_hugepages")?,
        })
    };
    let mut pools: Vec<Pool> = machine.names(directory).iter().filter_map(pool).collect();
    pools.sort_by_key(|pool| pool.bytes);
    pools
}

/// One answer for each NUMA node that has CPUs of ours.
fn hugepages(machine: &Machine) -> Vec<Finding> {
    const CHECK: &str = "hugepages";
    let allowed = machine.allowed();
    let ours = |node: &&String| {
        let cpus = machine.cpus(format!("{NODES}/{node}/cpulist"));
        cpus.iter().any(|cpu| allowed.contains(cpu))
    };
    let is_node = |name: &&String| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok());
    let names = machine.names(NODES);
    let mut places: Vec<(String, String)> = names
        .iter()
        .filter(is_node)
        .filter(ours)
        .map(|node| (format!("NUMA {}", node.replace("node", "node ")), format!("{NODES}/{node}/hugepages")))
        .collect();
    if places.is_empty() {
        places.push(("this machine".into(), POOLS.into()));
    }
    let on_place = |(place, directory): &(String, String)| {
        let pools = pools(machine, directory);
        let remedy = format!(
            "echo 512 > {directory}/hugepages-2048kB/nr_hugepages (or hugepages=512 on the kernel's command line)"
        );
        let sizes: Vec<String> = pools
            .iter()
            .filter(|pool| pool.reserved > 0)
            .map(|pool| {
                format!("{} reserved, {} free of {}", pool.reserved, pool.free, size::exact(pool.bytes))
            })
            .collect();
        if sizes.is_empty() {
            return Finding::warn(
                CHECK,
                format!(
                    "{place} has none: the switch runs on ordinary pages, pods that ask for hugepages do not start"
                ),
                remedy,
            );
        }
        let found = format!("{place}: {}", sizes.join("; "));
        let free: u64 = pools.iter().map(|pool| pool.free.saturating_mul(pool.bytes)).sum();
        let needed = match (&machine.daemon, &machine.settings) {
            // It has what it takes already.
            (Daemon::Answers(_), _) | (_, Err(_)) => 0,
            (_, Ok(settings)) if !settings.hugepages => 0,
            (_, Ok(settings)) => u64::from(settings.dpdk_memory) << 20,
        };
        if free == 0 {
            Finding::warn(CHECK, format!("{found}: no further pod can have any"), remedy)
        } else if free < needed {
            let less = format!("{found}: less than dpdk.memory, {}", size::exact(needed));
            Finding::warn(CHECK, less, remedy)
        } else {
            Finding::ok(CHECK, found)
        }
    };
    places.iter().map(on_place).collect()
}

fn mounted(machine: &Machine) -> Finding {
    const CHECK: &str = "hugetlbfs";
    let mounts = machine.mounts();
    let points: Vec<String> = mounts
        .iter()
        .filter(|mount| mount.kind == "hugetlbfs")
        .map(|mount| {
            let size = mount.options.split(',').find_map(|option| option.strip_prefix("pagesize="));
            format!("{} ({})", mount.point.display(), size.unwrap_or("default size"))
        })
        .collect();
    if points.is_empty() {
        return Finding::warn(
            CHECK,
            "not mounted: the switch needs no mount, DPDK applications on this node do",
            "mount -t hugetlbfs -o pagesize=2M hugetlbfs /dev/hugepages (systemd: dev-hugepages.mount)",
        );
    }
    Finding::ok(CHECK, format!("mounted on {}", points.join(", ")))
}

fn memfd(machine: &Machine) -> Finding {
    const CHECK: &str = "memfd";
    let text = machine.text("/proc/filesystems").unwrap_or_default();
    let known = text.lines().any(|line| line.split_ascii_whitespace().last() == Some("hugetlbfs"));
    let remedy = "use a kernel with CONFIG_HUGETLBFS and CONFIG_MEMFD_CREATE";
    match &machine.probes.huge_memfd {
        Answer::Refused(reason) => {
            Finding::warn(CHECK, format!("memfd_create with hugepages is refused: {reason}"), remedy)
        }
        Answer::NotAsked if !known => Finding::warn(CHECK, "the kernel has no hugetlbfs", remedy),
        Answer::Granted | Answer::NotAsked => Finding::ok(CHECK, "memory files can be made of hugepages"),
    }
}

/// A container without a hugepage request has a limit of nothing, and DPDK dies where it touches the first page.
fn limit(machine: &Machine) -> Finding {
    const CHECK: &str = "hugepage limit";
    let groups = machine.text("/proc/self/cgroup").unwrap_or_default();
    let mut tightest: Option<(u64, String)> = None;
    for directory in cgroup_directories(&machine.path("/sys/fs/cgroup"), &groups, "hugetlb") {
        for (size, page) in [("2MB", 2_u64 << 20), ("1GB", 1 << 30)] {
            // A pool that the machine does not have needs no limit.
            let pool = format!("{POOLS}/hugepages-{}kB/nr_hugepages", page >> 10);
            let total = machine.number(pool).unwrap_or_default().saturating_mul(page);
            for suffix in ["max", "limit_in_bytes"] {
                let file = directory.join(format!("hugetlb.{size}.{suffix}"));
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let Ok(bytes) = text.trim().parse::<u64>() else { continue };
                if bytes < total && tightest.as_ref().is_none_or(|(least, _)| bytes < *least) {
                    tightest = Some((bytes, file.display().to_string()));
                }
            }
        }
    }
    let remedy = "give the pod limits of hugepages-2Mi, or raise the limit of the control group";
    match tightest {
        Some((0, file)) => {
            Finding::warn(CHECK, format!("{file} is 0: this control group may have none"), remedy)
        }
        Some((bytes, file)) => Finding::ok(CHECK, format!("{file} is {}", size::exact(bytes))),
        None => Finding::ok(CHECK, "none below what the machine has"),
    }
}

fn transparent(machine: &Machine) -> Finding {
    const CHECK: &str = "transparent hugepages";
    let text = machine.text("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    match chosen {
        Some("always") => Finding::warn(
            CHECK,
            "always: the kernel moves pages about while workers run, and memory grows",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (or transparent_hugepage=madvise at boot)",
        ),
        Some(word) => Finding::ok(CHECK, word),
        None => Finding::ok(CHECK, "not in this kernel"),
    }
}

fn locked(machine: &Machine) -> Finding {
    const CHECK: &str = "locked memory";
    let limits = machine.text("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next()).unwrap_or("unknown");
    if soft == "unlimited" {
        return Finding::ok(CHECK, "unlimited");
    }
    if machine.has_capability(CAP_IPC_LOCK) {
        return Finding::ok(CHECK, format!("limit {soft} bytes, which CAP_IPC_LOCK passes over"));
    }
    Finding::warn(
        CHECK,
        format!("limit {soft} bytes: a NIC behind vfio needs all of DPDK's memory locked"),
        "LimitMEMLOCK=infinity in the unit, or the capability IPC_LOCK in the pod",
    )
}
