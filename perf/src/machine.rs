//! What the figures were measured on: a result without it means nothing to anybody else.
//!
//! Read once at the start, on the thread that measures and before it pins itself; [`Steal`] looks at what others took
//! of the CPUs over the run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Debian packages whose versions are reported.
const PACKAGES: [&str; 4] = ["openvswitch-switch-dpdk", "dpdk-dev", "dpdk", "libc6"];
/// The flags of the CPU that matter to copying and to steady clocks.
const FLAGS: [&str; 10] = [
    "sse2",
    "sse4_2",
    "avx",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "erms",
    "constant_tsc",
    "nonstop_tsc",
];

/// The machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// Family, model and stepping, which say more than a cloud's name for it.
    pub cpu_id: String,
    /// Instruction sets that matter here.
    pub flags: Vec<String>,
    /// CPUs that we may use.
    pub cpus: String,
    /// Threads of a core.
    pub threads_per_core: Option<u32>,
    /// It is a guest of this hypervisor; empty: it is not.
    pub hypervisor: String,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's command line, where `isolcpus` and the like would be.
    pub kernel_arguments: String,
    /// The distribution.
    pub system: String,
    /// Megabytes.
    pub memory_mb: Option<u64>,
    /// Hugepages of 2 MB: reserved, and free at the start.
    pub hugepages: Option<(u64, u64)>,
    /// Frequency governor of the first CPU; `None`: the machine does not show one.
    pub governor: Option<String>,
    /// Installed packages and their versions.
    pub packages: BTreeMap<String, String>,
}

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn look() -> Self {
        let info = read("/proc/cpuinfo");
        let field = |name: &str| first_field(&info, name).unwrap_or_default();
        let present = field("flags");
        let has = |flag: &&str| present.split_whitespace().any(|word| word == *flag);
        let memory = read("/proc/meminfo");
        let number = |name: &str| first_field(&memory, name)?.split_whitespace().next()?.parse::<u64>().ok();
        let (total, free) = (hugepages("nr_hugepages"), hugepages("free_hugepages"));
        Self {
            cpu: field("model name"),
            cpu_id: format!(
                "family {} model {} stepping {}",
                field("cpu family"),
                field("model"),
                field("stepping")
            ),
            flags: FLAGS.iter().filter(|flag| has(flag)).map(ToString::to_string).collect(),
            cpus: allowed_cpus(),
            threads_per_core: threads_per_core(),
            hypervisor: if has(&"hypervisor") { vendor() } else { String::new() },
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            kernel_arguments: read("/proc/cmdline").trim().to_owned(),
            system: system(),
            memory_mb: number("MemTotal").map(|kilobytes| kilobytes / 1024),
            hugepages: total.zip(free),
            governor: Some(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned())
                .filter(|text| !text.is_empty()),
            packages: PACKAGES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), package_version(name)?)))
                .collect(),
        }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let guest = if self.hypervisor.is_empty() {
            String::new()
        } else {
            format!(", guest of {}", self.hypervisor)
        };
        let pages = match self.hugepages {
            Some((total, free)) => format!("{free} of {total} hugepages free"),
            None => "no hugepages".into(),
        };
        format!("{} ({}){guest}, CPUs {}, Linux {}, {pages}", self.cpu, self.cpu_id, self.cpus, self.kernel)
    }

    /// What of it makes figures unsteady or low, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.hypervisor.is_empty() {
            warnings.push("the machine is a guest: others may take its CPUs at any time".into());
        }
        if self.hugepages.is_none_or(|(total, _)| total == 0) {
            warnings.push("no hugepages are reserved: DPDK peers cannot run, pods use small pages".into());
        }
        if self.threads_per_core.is_some_and(|threads| threads > 1) {
            warnings.push("CPUs share cores: choose load and switch CPU of different ones".into());
        }
        if self.governor.as_ref().is_some_and(|governor| governor != "performance") {
            warnings.push("the frequency governor is not \"performance\"".into());
        }
        if !["isolcpus=", "nohz_full="].iter().any(|word| self.kernel_arguments.contains(word)) {
            warnings.push(
                "no CPU is isolated (isolcpus, nohz_full): the kernel's own work is in the figures".into(),
            );
        }
        warnings
    }
}

/// CPUs that this thread may use, as a list. To be asked before it pins itself.
#[must_use]
pub fn allowed_cpus() -> String {
    first_field(&read("/proc/self/status"), "Cpus_allowed_list").unwrap_or_default()
}

/// The version of an installed Debian package.
#[must_use]
pub fn package_version(name: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Version}", name])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).strip_prefix("installed ").map(str::to_owned)
}

/// Hugepages of 2 MB that nobody has taken.
#[must_use]
pub fn free_hugepages() -> Option<u64> {
    hugepages("free_hugepages")
}

/// What others took of some CPUs since [`Steal::begin`].
#[derive(Clone, Debug)]
pub struct Steal {
    cpus: Vec<u32>,
    before: Vec<(u64, u64)>,
}

impl Steal {
    /// Begins to watch these CPUs.
    #[must_use]
    pub fn begin(cpus: &[u32]) -> Self {
        Self { cpus: cpus.to_vec(), before: ticks(cpus, &read("/proc/stat")) }
    }

    /// The share of the time since then that the hypervisor gave to others, in percent, for each CPU.
    #[must_use]
    pub fn percent(&self) -> Vec<Option<f64>> {
        self.until(&read("/proc/stat"))
    }

    fn until(&self, text: &str) -> Vec<Option<f64>> {
        let after = ticks(&self.cpus, text);
        let share = |(before, after): (&(u64, u64), &(u64, u64))| {
            let all = after.1.checked_sub(before.1).filter(|all| *all > 0)?;
            Some(100.0 * after.0.saturating_sub(before.0) as f64 / all as f64)
        };
        self.before.iter().zip(&after).map(share).collect()
    }
}

/// Stolen ticks and all ticks of each CPU.
fn ticks(cpus: &[u32], text: &str) -> Vec<(u64, u64)> {
    let of = |cpu: &u32| {
        let name = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        let fields: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        (fields.get(7).copied().unwrap_or(0), fields.iter().sum())
    };
    cpus.iter().map(of).collect()
}

fn hugepages(file: &str) -> Option<u64> {
    read(format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{file}")).trim().parse().ok()
}

fn threads_per_core() -> Option<u32> {
    let siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
    let count = crate::peers::parse_list(&siblings).len();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

fn vendor() -> String {
    let name = read("/sys/class/dmi/id/sys_vendor").trim().to_owned();
    if name.is_empty() { "a hypervisor".into() } else { name }
}

fn system() -> String {
    let text = read("/etc/os-release");
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `name: value` or `name\t: value` line.
fn first_field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_what_every_machine_has() {
        let machine = Machine::look();
        assert!(!machine.kernel.is_empty());
        assert!(!crate::peers::parse_list(&machine.cpus).is_empty());
        assert!(machine.memory_mb.is_some_and(|mb| mb > 0));
        assert!(machine.line().contains(&machine.kernel));
    }

    #[test]
    fn what_disturbs_is_said() {
        let mut machine = Machine { hugepages: Some((512, 512)), ..Machine::default() };
        machine.kernel_arguments = "isolcpus=1".into();
        assert_eq!(machine.warnings(), Vec::<String>::new());
        machine.hugepages = Some((0, 0));
        machine.governor = Some("powersave".into());
        assert_eq!(machine.warnings().len(), 2);
    }

    #[test]
    fn steal_is_a_share_of_the_time_that_passed() {
        let before = "cpu  1 1 1 1 1 1 1 1\ncpu0 100 0 0 100 0 0 0 10 5 0\ncpu1 0 0 0 50 0 0 0 0 0 0\n";
        let after = "cpu0 140 0 0 140 0 0 0 30 9 0\ncpu1 0 0 0 50 0 0 0 0 0 0\n";
        let steal = Steal { cpus: vec![0, 1], before: ticks(&[0, 1], before) };
        assert_eq!(steal.until(after), [Some(20.0), None]);
    }

    #[test]
    fn a_package_that_is_not_installed_has_no_version() {
        assert_eq!(package_version("no-such-package-anywhere"), None);
    }
}
