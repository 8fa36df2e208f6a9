//! A machine on which all is well, and for every check what makes it warn or fail: one line of the table each.

use std::fs;

use tempfile::TempDir;

use super::*;
use machine::Answer;

/// Files of the machine on which all is well.
const WELL: [(&str, &str); 34] = [
    ("etc/podswitch/podswitchd.toml", "[workers]\ncpus = \"1\"\n"),
    ("proc/self/status", "Name:\tpodswitch\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n"),
    ("proc/self/limits", "Limit Soft Hard Units\nMax locked memory         unlimited unlimited bytes\n"),
    ("proc/self/cgroup", "0::/pod\n"),
    (
        "proc/self/mountinfo",
        "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
         22 20 0:20 / /run rw,nosuid,nodev,noexec shared:5 - tmpfs tmpfs rw,size=100k\n\
         30 20 0:30 / /dev/hugepages rw shared:6 - hugetlbfs hugetlbfs rw,pagesize=2M\n",
    ),
    ("proc/filesystems", "nodev\tsysfs\nnodev\thugetlbfs\n\text4\n"),
    ("proc/net/protocols", "protocol  size\nPACKET  1472\nXDP  960\n"),
    ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
    ("proc/sys/vm/unprivileged_userfaultfd", "0\n"),
    ("proc/sys/fs/aio-nr", "64\n"),
    ("proc/sys/fs/aio-max-nr", "65536\n"),
    ("sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_throttled 0\n"),
    ("sys/fs/cgroup/pod/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/pod/cpu.stat", "nr_throttled 0\n"),
    ("sys/fs/cgroup/pod/hugetlb.2MB.max", "max\n"),
    ("sys/devices/system/node/online", "0-1\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
    ("sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "256\n"),
    // A node that we have no CPU of does not count.
    ("sys/devices/system/node/node1/cpulist", "4-7\n"),
    ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "0\n"),
    ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/isolated", "1-3\n"),
    ("sys/devices/system/cpu/nohz_full", "1-3\n"),
    ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,5\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
    ("sys/kernel/iommu_groups/7/type", "DMA\n"),
    ("sys/bus/pci/drivers/vfio-pci/0000:03:00.0", ""),
    ("dev/vfio/vfio", ""),
    ("var/lib/kubelet/pod-resources/kubelet.sock", ""),
    ("run/netns/cni-1", ""),
];

fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in WELL {
        put(root.path(), path, text);
    }
    root
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn answers() -> Daemon {
    let worker = v1::WorkerStatus { cpu: 1, ..v1::WorkerStatus::default() };
    Daemon::Answers(Box::new(v1::NodeStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        workers: vec![worker],
        ..v1::NodeStatus::default()
    }))
}

/// What is different from the machine on which all is well.
enum But {
    /// A file has this text.
    File(&'static str, &'static str),
    /// A file or directory is not there.
    Without(&'static str),
    /// The kernel or the daemon answers otherwise.
    Says(fn(&mut Machine)),
}
use But::{File, Says, Without};

fn refused() -> Answer {
    Answer::Refused("Operation not permitted".into())
}

fn status(machine: &mut Machine, change: fn(&mut v1::NodeStatus)) {
    if let Daemon::Answers(status) = &mut machine.daemon {
        change(status);
    }
}

/// Check, verdict, a word of what was found, and what is different.
const CASES: &[(&str, Verdict, &str, &[But])] = {
    use Verdict::{Fail, Ok, Warn};
    const FREE: &str = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages";
    const RESERVED: &str = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages";
    const MOUNTS: &str = "proc/self/mountinfo";
    const CONFIG: &str = "etc/podswitch/podswitchd.toml";
    &[
        ("hugepages", Warn, "NUMA node 0 has none", &[File(RESERVED, "0")]),
        ("hugepages", Warn, "no further pod", &[File(FREE, "0")]),
        (
            "hugepages",
            Warn,
            "less than dpdk.memory, 64M",
            &[File(FREE, "31"), Says(|m| m.daemon = Daemon::Absent)],
        ),
        // Who does not want them misses nothing.
        (
            "hugepages",
            Ok,
            "31 free",
            &[
                File(FREE, "31"),
                File(CONFIG, "[dpdk]\nhugepages = false\n"),
                Says(|m| m.daemon = Daemon::Absent),
            ],
        ),
        (
            "hugepages",
            Warn,
            "this machine has none",
            &[
                Without("sys/devices/system/node"),
                File("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0"),
            ],
        ),
        (
            "hugepages",
            Warn,
            "this machine has none",
            &[Without("sys/devices/system/node"), Without("sys/kernel/mm/hugepages")],
        ),
        (
            "hugetlbfs",
            Warn,
            "not mounted",
            &[File(MOUNTS, "22 1 0:20 / /run rw shared:5 - tmpfs tmpfs rw\n")],
        ),
        ("hugetlbfs", Ok, "/dev/hugepages (2M)", &[]),
        ("memfd", Warn, "no hugetlbfs", &[File("proc/filesystems", "nodev\tsysfs\n")]),
        ("memfd", Warn, "not permitted", &[Says(|m| m.probes.huge_memfd = refused())]),
        ("hugepage limit", Warn, "hugetlb.2MB.max is 0", &[File("sys/fs/cgroup/pod/hugetlb.2MB.max", "0\n")]),
        ("hugepage limit", Ok, "512M", &[File("sys/fs/cgroup/pod/hugetlb.2MB.max", "536870912\n")]),
        (
            "hugepage limit",
            Warn,
            "limit_in_bytes is 0",
            &[
                File("proc/self/cgroup", "3:hugetlb:/pod\n"),
                File("sys/fs/cgroup/hugetlb/pod/hugetlb.2MB.limit_in_bytes", "0"),
            ],
        ),
        (
            "transparent hugepages",
            Warn,
            "always",
            &[File("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never")],
        ),
        (
            "transparent hugepages",
            Ok,
            "never",
            &[File("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]")],
        ),
        ("transparent hugepages", Ok, "not in", &[Without("sys/kernel/mm/transparent_hugepage")]),
        (
            "locked memory",
            Warn,
            "8388608",
            &[File("proc/self/limits", "Max locked memory         8388608 8388608 bytes\n")],
        ),
        (
            "locked memory",
            Ok,
            "CAP_IPC_LOCK",
            &[
                File("proc/self/limits", "Max locked memory         8388608 8388608 bytes\n"),
                File("proc/self/status", "CapEff:\t0000000000004000\nCpus_allowed_list:\t0-3\n"),
            ],
        ),
        ("CPU set", Ok, "0-3 of 0-3 may be used, workers on 1", &[]),
        (
            "CPU set",
            Fail,
            "CPU 9 does not exist",
            &[File(CONFIG, "[workers]\ncpus = \"9\"\n"), Says(|m| m.daemon = Daemon::Absent)],
        ),
        (
            "CPU set",
            Fail,
            "may use 2-3",
            &[
                File("proc/self/status", "CapEff:\t0\nCpus_allowed_list:\t2-3\n"),
                Says(|m| m.daemon = Daemon::Absent),
            ],
        ),
        ("CPU set", Warn, "nothing is left", &[File("proc/self/status", "Cpus_allowed_list:\t1\n")]),
        ("CPU isolation", Ok, "CPU 1", &[]),
        ("CPU isolation", Warn, "isolcpus", &[File("sys/devices/system/cpu/isolated", "\n")]),
        ("CPU isolation", Warn, "nohz_full", &[File("sys/devices/system/cpu/nohz_full", "(null)\n")]),
        ("CPU isolation", Warn, "CPU 1", &[Without("sys/devices/system/cpu/isolated")]),
        ("CPU quota", Ok, "none", &[]),
        ("CPU quota", Warn, "allows 1.50 CPUs of 4", &[File("sys/fs/cgroup/pod/cpu.max", "150000 100000\n")]),
        ("CPU quota", Ok, "4.00", &[File("sys/fs/cgroup/pod/cpu.max", "400000 100000\n")]),
        (
            "CPU quota",
            Warn,
            "cpu.cfs_quota_us allows 0.50",
            &[
                File("proc/self/cgroup", "4:cpu,cpuacct:/pod\n"),
                File("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "50000\n"),
                File("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n"),
            ],
        ),
        (
            "throttling",
            Warn,
            "in 7 periods",
            &[File("sys/fs/cgroup/cpu.stat", "nr_periods 9\nnr_throttled 7\n")],
        ),
        (
            "CPU governor",
            Warn,
            "powersave on CPU 1",
            &[File("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave")],
        ),
        ("CPU governor", Ok, "does not set", &[Without("sys/devices/system/cpu/cpu1/cpufreq")]),
        (
            "SMT",
            Warn,
            "shares its core with CPU 3",
            &[File("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n")],
        ),
        // CPU 5 is offline.
        ("SMT", Ok, "core of its own", &[]),
        ("IOMMU", Warn, "no groups", &[Without("sys/kernel/iommu_groups")]),
        ("IOMMU", Ok, "1 groups", &[]),
        ("vfio", Warn, "not loaded", &[Without("sys/bus/pci")]),
        ("vfio", Warn, "/dev/vfio/vfio", &[Without("dev/vfio")]),
        ("vfio", Ok, "0000:03:00.0", &[File("sys/bus/pci/drivers/vfio-pci/new_id", "")]),
        ("kernel", Fail, "4.18.0", &[File("proc/sys/kernel/osrelease", "4.18.0-553.el8\n")]),
        ("kernel", Warn, "5.10.0", &[File("proc/sys/kernel/osrelease", "5.10.0\n")]),
        ("kernel", Ok, "5.11", &[File("proc/sys/kernel/osrelease", "5.11\n")]),
        ("kernel", Warn, "no version", &[File("proc/sys/kernel/osrelease", "strange\n")]),
        ("userfaultfd", Warn, "not in this kernel", &[Without("proc/sys/vm")]),
        ("userfaultfd", Warn, "not permitted", &[Says(|m| m.probes.userfaultfd = refused())]),
        ("io_submit", Fail, "not in this kernel", &[Without("proc/sys/fs")]),
        ("io_submit", Fail, "not permitted", &[Says(|m| m.probes.aio = refused())]),
        ("io_submit", Warn, "65500 of 65536", &[File("proc/sys/fs/aio-nr", "65500\n")]),
        ("AF_PACKET", Warn, "not in this kernel", &[File("proc/net/protocols", "XDP 960\n")]),
        ("AF_PACKET", Warn, "not permitted", &[Says(|m| m.probes.packet = refused())]),
        ("AF_XDP", Warn, "not in this kernel", &[File("proc/net/protocols", "PACKET 960\n")]),
        ("AF_XDP", Warn, "not permitted", &[Says(|m| m.probes.xdp = refused())]),
        ("configuration", Fail, "line 1", &[File(CONFIG, "[wrokers]\n")]),
        ("configuration", Fail, "dpdk.memory", &[File(CONFIG, "[dpdk]\nmemory = 1\n")]),
        ("configuration", Ok, "every key", &[Without("etc")]),
        ("podswitchd", Warn, "not running", &[Says(|m| m.daemon = Daemon::Absent)]),
        ("podswitchd", Fail, "refused", &[Says(|m| m.daemon = Daemon::Silent("connection refused".into()))]),
        (
            "podswitchd",
            Warn,
            "one thing (1 more)",
            &[Says(|m| {
                status(m, |status| status.warnings = vec!["one thing".into(), "another".into()]);
            })],
        ),
        (
            "podswitchd",
            Warn,
            "version 0.0.9",
            &[Says(|m| status(m, |status| status.version = "0.0.9".into()))],
        ),
        ("run directory", Ok, "is on /run (tmpfs), writable, noexec", &[]),
        (
            "run directory",
            Fail,
            "read-only",
            &[File(MOUNTS, "22 1 0:20 / /run ro shared:5 - tmpfs tmpfs rw\n")],
        ),
        (
            "run directory",
            Warn,
            "survives a reboot",
            &[File(MOUNTS, "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n")],
        ),
        (
            "run directory",
            Warn,
            "do not appear",
            &[File(
                MOUNTS,
                "22 1 0:20 / /run rw shared:5 - tmpfs tmpfs rw\n23 22 0:20 /p /run/podswitch rw - tmpfs tmpfs rw\n",
            )],
        ),
        (
            "run directory",
            Ok,
            "is on /run/podswitch",
            &[File(
                MOUNTS,
                "22 1 0:20 / /run rw - tmpfs tmpfs rw\n23 22 0:20 /p /run/podswitch rw master:2 - tmpfs tmpfs rw\n",
            )],
        ),
        ("run directory", Warn, "does not say", &[Without(MOUNTS)]),
        ("kubelet", Ok, "can be seen", &[]),
        ("kubelet", Warn, "kubelet.sock is not there", &[Without("var/lib/kubelet/pod-resources")]),
        ("kubelet", Warn, "/run/netns is not there", &[Without("run/netns")]),
    ]
};

fn apply(root: &Path, but: &[But]) -> Machine {
    for one in but {
        match one {
            File(path, text) => put(root, path, text),
            Without(path) => {
                let path = root.join(path);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
            Says(_) => {}
        }
    }
    let mut machine = Machine::new(root, None, Probes::none(), answers());
    for one in but {
        if let Says(change) = one {
            change(&mut machine);
        }
    }
    machine
}

#[test]
fn all_is_well() {
    let root = tree();
    let report = examine(&apply(root.path(), &[]));
    let bad: Vec<_> = report.checks.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.verdict, Verdict::Ok);
}

#[test]
fn each_check_by_itself() {
    for (check, verdict, word, but) in CASES {
        let root = tree();
        let report = examine(&apply(root.path(), but));
        let finding = report
            .checks
            .iter()
            .find(|finding| finding.check == *check)
            .unwrap_or_else(|| panic!("{check}, {word}: no answer"));
        assert_eq!(finding.verdict, *verdict, "{check}, {word}: {finding:?}");
        assert!(finding.found.contains(word), "{check}: \"{word}\" is not in {finding:?}");
        assert_eq!(finding.remedy.is_empty(), *verdict == Verdict::Ok, "{check}, {word}: {finding:?}");
    }
}

#[test]
fn every_check_can_be_bad() {
    let root = tree();
    for finding in examine(&apply(root.path(), &[])).checks {
        let bad = CASES.iter().any(|(check, verdict, ..)| *check == finding.check && *verdict != Verdict::Ok);
        assert!(bad, "no case in which {} is not well", finding.check);
    }
}

#[test]
fn a_machine_without_a_kubelet_is_not_asked_for_one() {
    let root = tree();
    let report = examine(&apply(root.path(), &[Without("var/lib/kubelet")]));
    assert!(report.checks.iter().all(|finding| finding.check != "kubelet"));
}

#[test]
fn an_empty_tree_gives_answers_and_no_panic() {
    let root = tempfile::tempdir().unwrap();
    let report = examine(&Machine::new(root.path(), None, Probes::none(), Daemon::Absent));
    assert!(report.checks.len() > 15, "{report:#?}");
    assert_eq!(report.verdict, Verdict::Fail);
}

#[test]
fn this_machine_is_examined_too() {
    let report = examine(&Machine::new(Path::new("/"), None, Probes::ask(), Daemon::Absent));
    let of = |check: &str| report.checks.iter().find(|finding| finding.check == check).unwrap();
    // The tests of the switch itself need these.
    assert_eq!(of("io_submit").verdict, Verdict::Ok, "{:?}", of("io_submit"));
    assert_ne!(of("kernel").verdict, Verdict::Fail, "{:?}", of("kernel"));
}

#[test]
fn the_page_names_every_check() {
    let page = include_str!("../../../../docs/doctor.md");
    let root = tree();
    for finding in examine(&apply(root.path(), &[])).checks {
        assert!(
            page.contains(&format!("| {} |", finding.check)),
            "docs/doctor.md has no row for {}",
            finding.check
        );
    }
}

#[test]
fn the_report_is_read_by_people_and_programs() {
    let root = tree();
    let report = examine(&apply(root.path(), &[Without("sys/kernel/iommu_groups")]));
    let text = report.text();
    assert!(text.contains("\nwarn  IOMMU"), "{text}");
    assert!(text.contains("-> switch VT-d"), "{text}");
    assert!(text.ends_with("1 warnings, 0 failures"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "warn");
    assert_eq!(json["checks"].as_array().unwrap().len(), report.checks.len());
    assert_eq!(json["checks"][0]["check"], "hugepages");
}
