//! Many additions at once in a control group with little memory, as a runtime's shim has it.

use std::path::PathBuf;
use std::process::{Child, Command};

use super::plugin::{Call, Plugin, Verb};
use crate::methods::MethodError;

/// Memory of the control group, bytes.
const MEMORY: u64 = 50 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Additions that were begun at once.
    pub asked: usize,
    /// Of these, those that succeeded.
    pub done: usize,
    /// Most memory that the group ever held, bytes, where the kernel tells.
    pub peak: Option<u64>,
}

/// Makes all calls at once in a control group of 50 MB.
pub(super) fn add(plugin: &Plugin, calls: &[Call]) -> Result<Crowd, MethodError> {
    let group = Group::make().map_err(|(path, source)| MethodError::Directory { path, source })?;
    let mut children: Vec<Child> = Vec::with_capacity(calls.len());
    for call in calls {
        // A shell joins the group and becomes the program.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$1\""]).arg(group.0.join("cgroup.procs"));
        command.arg(&plugin.program);
        plugin.environment(&mut command, Verb::Add, call);
        children.push(plugin.begin(&mut command, call)?);
    }
    let done = children.into_iter().filter_map(|child| child.wait_with_output().ok());
    let done = done.filter(|output| output.status.success()).count();
    Ok(Crowd { asked: calls.len(), done, peak: group.peak() })
}

/// A control group of ours, removed with the value.
struct Group(PathBuf);

impl Group {
    /// In version 1 of control groups or version 2, whichever has the memory controller.
    fn make() -> Result<Self, (PathBuf, std::io::Error)> {
        let name = format!("podswitch-perf-{}", std::process::id());
        let first = PathBuf::from("/sys/fs/cgroup/memory");
        let (parent, limit) = if first.join("memory.limit_in_bytes").exists() {
            (first, "memory.limit_in_bytes")
        } else {
            (PathBuf::from("/sys/fs/cgroup"), "memory.max")
        };
        let at = |path: &PathBuf| {
            let path = path.clone();
            move |source| (path, source)
        };
        if limit == "memory.max" {
            // It may be on already, and then perhaps not be ours to change.
            let _ = std::fs::write(parent.join("cgroup.subtree_control"), "+memory");
        }
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0).map_err(at(&group.0))?;
        let limit = group.0.join(limit);
        std::fs::write(&limit, MEMORY.to_string()).map_err(at(&limit))?;
        Ok(group)
    }

    fn peak(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"];
        let text = files.iter().find_map(|file| std::fs::read_to_string(self.0.join(file)).ok())?;
        text.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
