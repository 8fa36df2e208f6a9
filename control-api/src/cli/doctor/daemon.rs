//! The daemon, its configuration, and the directories that it shares with pods.

use std::path::Path;

use super::finding::Finding;
use super::machine::{Daemon, Machine};

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![configuration(machine), api(machine), run(machine)];
    findings.extend(kubernetes(machine));
    findings
}

fn configuration(machine: &Machine) -> Finding {
    const CHECK: &str = "configuration";
    match &machine.settings {
        Ok(_) => Finding::ok(CHECK, "every key is known and every value is possible"),
        Err(e) => Finding::fail(
            CHECK,
            e.to_string(),
            "correct the file; `podswitchd` refuses it with the same words",
        ),
    }
}

fn api(machine: &Machine) -> Finding {
    const CHECK: &str = "podswitchd";
    match &machine.daemon {
        Daemon::Absent => Finding::warn(
            CHECK,
            "not running: there is no API socket",
            "systemctl start podswitchd, or apply the manifests; --api names another socket",
        ),
        Daemon::Silent(reason) => Finding::fail(
            CHECK,
            format!("the API socket is there, but nobody answers: {reason}"),
            "run this as root; then see the journal of podswitchd, and restart it",
        ),
        Daemon::Answers(status) => {
            let found = format!(
                "version {}, process {}, for {:.0} s, {} ports",
                status.version, status.pid, status.uptime_seconds, status.ports
            );
            let ours = env!("CARGO_PKG_VERSION");
            if let Some(first) = status.warnings.first() {
                let more = status.warnings.len() - 1;
                Finding::warn(
                    CHECK,
                    format!("{found}; it warns: {first} ({more} more)"),
                    "see `podswitch status`",
                )
            } else if status.version != ours {
                let other = format!("{found}; this program is of version {ours}");
                Finding::warn(CHECK, other, "finish the upgrade: replace the older of the two")
            } else {
                Finding::ok(CHECK, found)
            }
        }
    }
}

/// The filesystem that sockets and port files lie on.
fn run(machine: &Machine) -> Finding {
    const CHECK: &str = "run directory";
    let directory = match &machine.settings {
        Ok(settings) => settings.attachments.directory.clone(),
        Err(_) => proto::paths::ROOT.into(),
    };
    let mounts = machine.mounts();
    // Of mounts on the same place the last one is on top.
    let mount = mounts
        .iter()
        .filter(|mount| directory.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len());
    let Some(mount) = mount else {
        return Finding::warn(CHECK, "the kernel does not say what is mounted", "mount /proc");
    };
    let found = format!("{} is on {} ({})", directory.display(), mount.point.display(), mount.kind);
    if mount.has("ro") {
        return Finding::fail(
            CHECK,
            format!("{found}, which is read-only"),
            format!("mount -o remount,rw {}", mount.point.display()),
        );
    }
    if mount.point == directory && !mount.receives {
        return Finding::warn(
            CHECK,
            format!("{found}, where later mounts of the device plugin do not appear"),
            "mountPropagation: HostToContainer for that volume",
        );
    }
    if mount.kind != "tmpfs" {
        return Finding::warn(
            CHECK,
            format!("{found}: what lies there survives a reboot, its owners do not"),
            "mount a tmpfs on /run",
        );
    }
    let noexec = if mount.has("noexec") { ", noexec, which is no harm" } else { "" };
    Finding::ok(CHECK, format!("{found}, writable{noexec}"))
}

/// What the daemon looks at to find pods that are gone without a word; nothing to say on a machine without a kubelet.
fn kubernetes(machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "kubelet";
    let Ok(settings) = &machine.settings else { return None };
    let socket = settings.attachments.kubelet.as_ref()?;
    if !machine.there(socket.parent().and_then(Path::parent)?) {
        return None;
    }
    let mut missing = Vec::new();
    if !machine.there(socket) {
        missing.push(format!("{} is not there", socket.display()));
    }
    if !machine.there("/run/netns") {
        missing.push("/run/netns is not there".to_owned());
    }
    if missing.is_empty() {
        return Some(Finding::ok(CHECK, "its list of devices and the pods' namespaces can be seen"));
    }
    Some(Finding::warn(
        CHECK,
        format!("{}: ports of pods that are gone may stay", missing.join(", ")),
        "give podswitchd the host's /var/lib/kubelet/pod-resources and /run/netns (see deploy/kubernetes)",
    ))
}
