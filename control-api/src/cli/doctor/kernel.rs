//! What the kernel must offer, and what it may.

use super::finding::Finding;
use super::machine::{Answer, Machine};

/// First kernel whose asynchronous polls the notifier can use.
const OLDEST: (u32, u32) = (4, 19);
/// First kernel with userfaultfd for user mode alone.
const WANTED: (u32, u32) = (5, 11);
/// Contexts that one daemon takes are small; this many events must be left.
const EVENTS: u64 = 256;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    vec![version(machine), userfaultfd(machine), notification(machine), packet(machine), xdp(machine)]
}

fn version(machine: &Machine) -> Finding {
    const CHECK: &str = "kernel";
    let release = machine.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Finding::warn(
            CHECK,
            format!("\"{release}\" is no version"),
            "run podswitch on Linux 5.11 or later",
        );
    };
    let remedy = "use Linux 5.11 or later";
    if (major, minor) < OLDEST {
        Finding::fail(CHECK, format!("{release}: guests cannot be notified without blocking"), remedy)
    } else if (major, minor) < WANTED {
        Finding::warn(CHECK, format!("{release}: no userfaultfd for user mode alone"), remedy)
    } else {
        Finding::ok(CHECK, release)
    }
}

fn userfaultfd(machine: &Machine) -> Finding {
    const CHECK: &str = "userfaultfd";
    let without = "a pod's memory with holes costs the switch pages instead of faulting the pod's port";
    let remedy = "use a kernel with CONFIG_USERFAULTFD, and a seccomp profile that allows userfaultfd";
    match &machine.probes.userfaultfd {
        Answer::Refused(reason) => Finding::warn(CHECK, format!("refused ({reason}): {without}"), remedy),
        Answer::NotAsked if !machine.there("/proc/sys/vm/unprivileged_userfaultfd") => {
            Finding::warn(CHECK, format!("not in this kernel: {without}"), remedy)
        }
        Answer::Granted | Answer::NotAsked => {
            Finding::ok(CHECK, "holes in guests' memory are faults of their ports")
        }
    }
}

/// The notifier's only way to a guest: without it podswitchd does not start.
fn notification(machine: &Machine) -> Finding {
    const CHECK: &str = "io_submit";
    let taken = machine.number("/proc/sys/fs/aio-nr").unwrap_or_default();
    let most = machine.number("/proc/sys/fs/aio-max-nr").unwrap_or_default();
    let found = format!("{taken} of {most} events are taken (fs.aio-max-nr)");
    let remedy = "use a kernel with CONFIG_AIO, and a seccomp profile that allows io_setup and io_submit";
    let more = "sysctl -w fs.aio-max-nr=1048576";
    match &machine.probes.aio {
        Answer::Refused(reason) => {
            let remedy = if most > 0 && taken + EVENTS > most { more } else { remedy };
            Finding::fail(CHECK, format!("refused ({reason}); {found}"), remedy)
        }
        Answer::NotAsked if most == 0 => {
            Finding::fail(CHECK, "not in this kernel: guests cannot be notified", remedy)
        }
        Answer::Granted | Answer::NotAsked if taken + EVENTS > most => Finding::warn(CHECK, found, more),
        Answer::Granted | Answer::NotAsked => Finding::ok(CHECK, found),
    }
}

fn packet(machine: &Machine) -> Finding {
    family(
        machine,
        "AF_PACKET",
        &machine.probes.packet,
        "PACKET",
        "ports on Linux interfaces (net_af_packet) cannot be added",
        "modprobe af_packet, and the capability NET_RAW",
    )
}

fn xdp(machine: &Machine) -> Finding {
    family(
        machine,
        "AF_XDP",
        &machine.probes.xdp,
        "XDP",
        "ports on AF_XDP sockets (net_af_xdp) cannot be added",
        "use a kernel with CONFIG_XDP_SOCKETS, and the capability NET_RAW",
    )
}

fn family(
    machine: &Machine,
    check: &'static str,
    answer: &Answer,
    protocol: &str,
    without: &str,
    remedy: &str,
) -> Finding {
    let protocols = machine.text("/proc/net/protocols").unwrap_or_default();
    let known = protocols.lines().any(|line| line.split_ascii_whitespace().next() == Some(protocol));
    match answer {
        Answer::Refused(reason) => Finding::warn(check, format!("refused ({reason}): {without}"), remedy),
        Answer::NotAsked if !known => Finding::warn(check, format!("not in this kernel: {without}"), remedy),
        Answer::Granted | Answer::NotAsked => Finding::ok(check, "sockets can be had"),
    }
}
