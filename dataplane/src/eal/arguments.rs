//! The argument list for EAL: a pure function of the configuration and the machine.

use std::fs;

use super::{EalConfig, MemoryKind};

/// A PCI address that no device has. An allow-list that names only this one keeps EAL from taking every
/// device it finds at start; devices that are opened later are added to the list one by one.
const NO_DEVICE: &str = "ffff:ff:1f.7";

/// The arguments for `config`, program name first.
pub(super) fn list(config: &EalConfig, kind: MemoryKind) -> Vec<String> {
    build(config, kind, &allowed_cpus(), numa_nodes(), std::process::id())
}

fn build(config: &EalConfig, kind: MemoryKind, cpus: &str, nodes: u32, process: u32) -> Vec<String> {
    let mut arguments = vec!["podswitch".to_owned()];
    // One lcore, for EAL's own thread, which may run wherever the process may: no thread per CPU.
    arguments.push(format!("--lcores=0@({cpus})"));
    match kind {
        MemoryKind::HugePages => {
            arguments.push("--in-memory".into());
            arguments.extend(memory(config.memory_mb, nodes));
        }
        // 22.11 refuses --in-memory together with --no-huge; without shared configuration there are no
        // files either.
        MemoryKind::OrdinaryAsked | MemoryKind::OrdinaryFallback { .. } => {
            arguments.push("--no-huge".into());
            arguments.push("--no-shconf".into());
            arguments.extend(["-m".into(), config.memory_mb.to_string()]);
        }
    }
    arguments.push("--no-telemetry".into());
    let prefix = config.file_prefix.clone().unwrap_or_else(|| format!("podswitch-{process}"));
    arguments.push(format!("--file-prefix={prefix}"));
    if config.pci {
        arguments.extend(["-a".into(), NO_DEVICE.into()]);
    } else {
        arguments.push("--no-pci".into());
    }
    arguments.extend(config.extra.iter().cloned());
    arguments
}

/// All memory at start and none later: EAL swaps the process's SIGBUS handler whenever it adds hugepages, and
/// ours must stand while workers run.
fn memory(megabytes: u32, nodes: u32) -> Vec<String> {
    if nodes <= 1 {
        let limit = format!("--socket-limit={megabytes}");
        return vec!["-m".into(), megabytes.to_string(), limit];
    }
    let each = megabytes.div_ceil(nodes).to_string();
    let shares = vec![each; nodes as usize].join(",");
    vec![format!("--socket-mem={shares}"), format!("--socket-limit={shares}")]
}

/// The CPUs that this process may run on, as EAL writes a set: `0-3,8`.
fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(str::trim)
        .filter(|list| !list.is_empty())
        .unwrap_or("0")
        .to_owned()
}

fn numa_nodes() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
    count(online.trim()).max(1)
}

/// How many numbers a kernel list such as `0-1,3` holds.
fn count(list: &str) -> u32 {
    list.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            Some((last + 1).saturating_sub(first))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EalConfig {
        EalConfig { memory_mb: 48, ..EalConfig::default() }
    }

    #[test]
    fn hugepages_are_taken_at_start_and_capped() {
        let list = build(&config(), MemoryKind::HugePages, "0-1", 1, 7).join(" ");
        assert_eq!(
            list,
            "podswitch --lcores=0@(0-1) --in-memory -m 48 --socket-limit=48 --no-telemetry \
             --file-prefix=podswitch-7 -a ffff:ff:1f.7"
        );
    }

    #[test]
    fn several_nodes_share_the_memory() {
        let list = build(&config(), MemoryKind::HugePages, "0-63", 2, 7).join(" ");
        assert!(list.contains("--socket-mem=24,24 --socket-limit=24,24"), "{list}");
        assert!(!list.contains("-m 48"), "{list}");
    }

    #[test]
    fn ordinary_memory_has_no_shared_configuration_and_extra_arguments_come_last() {
        let config = EalConfig { pci: false, extra: vec!["--log-level=7".into()], ..config() };
        let list = build(&config, MemoryKind::OrdinaryAsked, "3", 2, 7).join(" ");
        assert_eq!(
            list,
            "podswitch --lcores=0@(3) --no-huge --no-shconf -m 48 --no-telemetry \
             --file-prefix=podswitch-7 --no-pci --log-level=7"
        );
    }

    #[test]
    fn kernel_lists_are_counted() {
        assert_eq!((count("0"), count("0-1"), count("0-1,4,6-7"), count("")), (1, 2, 5, 0));
    }
}
