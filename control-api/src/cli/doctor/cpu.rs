//! CPUs: which of them workers have, and what else takes their time.

use dataplane::ids::CoreId;

use super::finding::Finding;
use super::machine::{Daemon, Machine};
use crate::cpus::list;
use crate::system::cgroup_directories;

const CPUS: &str = "/sys/devices/system/cpu";

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let workers = machine.workers();
    vec![
        set(machine, &workers),
        isolation(machine, &workers),
        quota(machine),
        throttling(machine),
        governor(machine, &workers),
        siblings(machine, &workers),
    ]
}

fn set(machine: &Machine, workers: &[CoreId]) -> Finding {
    const CHECK: &str = "CPU set";
    let allowed = machine.allowed();
    let online = machine.cpus(format!("{CPUS}/online"));
    if let (Daemon::Absent | Daemon::Silent(_), Ok(settings)) = (&machine.daemon, &machine.settings)
        && let Err(e) = settings.workers.choose(&allowed, &online)
    {
        return Finding::fail(
            CHECK,
            format!("podswitchd would not start: {e}"),
            "change workers.cpus, or the set",
        );
    }
    let others = allowed.iter().filter(|cpu| !workers.contains(cpu)).count();
    let found = format!("{} of {} may be used, workers on {}", list(&allowed), list(&online), list(workers));
    if others == 0 {
        return Finding::warn(
            CHECK,
            format!("{found}: nothing is left to the control threads"),
            "let the process use one CPU more than there are workers",
        );
    }
    Finding::ok(CHECK, found)
}

fn isolation(machine: &Machine, workers: &[CoreId]) -> Finding {
    const CHECK: &str = "CPU isolation";
    let isolated = machine.cpus(format!("{CPUS}/isolated"));
    let quiet = machine.cpus(format!("{CPUS}/nohz_full"));
    let without = |set: &[CoreId]| -> Vec<CoreId> {
        workers.iter().copied().filter(|cpu| !set.contains(cpu)).collect()
    };
    let (shared, ticking) = (without(&isolated), without(&quiet));
    let mut found = Vec::new();
    if !shared.is_empty() {
        found.push(format!("other threads may run on CPU {} (isolcpus)", list(&shared)));
    }
    if !ticking.is_empty() {
        found.push(format!("the timer ticks on CPU {} (nohz_full)", list(&ticking)));
    }
    if found.is_empty() {
        return Finding::ok(CHECK, format!("CPU {} is the workers' alone", list(workers)));
    }
    let remedy = format!(
        "isolcpus=managed_irq,domain,{cpus} nohz_full={cpus} rcu_nocbs={cpus} on the kernel's command line; \
         in Kubernetes at least whole CPUs and the static CPU manager",
        cpus = list(workers)
    );
    Finding::warn(CHECK, found.join(", "), remedy)
}

/// The tightest limit of our control groups, in CPUs.
fn quota(machine: &Machine) -> Finding {
    const CHECK: &str = "CPU quota";
    let mut tightest: Option<(f64, String)> = None;
    for directory in groups(machine) {
        let text = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        let (file, quota, period) = match text("cpu.max").split_once(' ') {
            Some((quota, period)) => ("cpu.max", quota.to_owned(), period.to_owned()),
            None => ("cpu.cfs_quota_us", text("cpu.cfs_quota_us"), text("cpu.cfs_period_us")),
        };
        // "max" and -1 are no limit.
        let (Ok(quota), Ok(period)) = (quota.trim().parse::<u64>(), period.trim().parse::<u64>()) else {
            continue;
        };
        let cpus = quota as f64 / period.max(1) as f64;
        if tightest.as_ref().is_none_or(|(least, _)| cpus < *least) {
            tightest = Some((cpus, directory.join(file).display().to_string()));
        }
    }
    let Some((cpus, file)) = tightest else { return Finding::ok(CHECK, "none") };
    let allowed = machine.allowed().len();
    let found = format!("{file} allows {cpus:.2} CPUs of {allowed}");
    if cpus >= allowed as f64 {
        return Finding::ok(CHECK, found);
    }
    Finding::warn(
        CHECK,
        format!("{found}: workers that poll will be throttled"),
        "CPUQuota= (empty) in the unit; in Kubernetes whole CPUs as request and limit, with the static CPU manager",
    )
}

fn throttling(machine: &Machine) -> Finding {
    const CHECK: &str = "throttling";
    let throttled: u64 = groups(machine)
        .iter()
        .filter_map(|directory| std::fs::read_to_string(directory.join("cpu.stat")).ok())
        .filter_map(|stat| {
            stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse::<u64>().ok())
        })
        .sum();
    if throttled == 0 {
        return Finding::ok(CHECK, "never since this control group was made");
    }
    Finding::warn(
        CHECK,
        format!("throttled in {throttled} periods: frames waited each time"),
        "raise or remove the CPU limit of the control group; see the check CPU quota",
    )
}

fn groups(machine: &Machine) -> Vec<std::path::PathBuf> {
    let text = machine.text("/proc/self/cgroup").unwrap_or_default();
    cgroup_directories(&machine.path("/sys/fs/cgroup"), &text, "cpu")
}

fn governor(machine: &Machine, workers: &[CoreId]) -> Finding {
    const CHECK: &str = "CPU governor";
    let of = |cpu: &CoreId| {
        let word = machine.text(format!("{CPUS}/cpu{}/cpufreq/scaling_governor", cpu.0))?;
        Some((*cpu, word))
    };
    let governors: Vec<(CoreId, String)> = workers.iter().filter_map(of).collect();
    if governors.is_empty() {
        return Finding::ok(CHECK, "the kernel does not set the frequency here");
    }
    let slow: Vec<CoreId> =
        governors.iter().filter(|(_, word)| word != "performance").map(|(cpu, _)| *cpu).collect();
    let Some((_, word)) = governors.iter().find(|(_, word)| word != "performance") else {
        return Finding::ok(CHECK, "performance");
    };
    Finding::warn(
        CHECK,
        format!("{word} on CPU {}: a worker that sleeps wakes up slow", list(&slow)),
        format!("cpupower -c {} frequency-set -g performance", list(&slow)),
    )
}

fn siblings(machine: &Machine, workers: &[CoreId]) -> Finding {
    const CHECK: &str = "SMT";
    let online = machine.cpus(format!("{CPUS}/online"));
    let mut shared = Vec::new();
    for worker in workers {
        let siblings = machine.cpus(format!("{CPUS}/cpu{}/topology/thread_siblings_list", worker.0));
        let others: Vec<CoreId> =
            siblings.into_iter().filter(|cpu| cpu != worker && online.contains(cpu)).collect();
        if !others.is_empty() {
            shared.push(format!("the worker on CPU {worker} shares its core with CPU {}", list(&others)));
        }
    }
    if shared.is_empty() {
        return Finding::ok(CHECK, "each worker has a core of its own");
    }
    Finding::warn(
        CHECK,
        shared.join("; "),
        "keep the siblings idle (isolate them, or the kubelet's full-pcpus-only), or take them offline",
    )
}
