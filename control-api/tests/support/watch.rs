//! Looking at a worker from outside: its thread, its page faults, its system calls.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::switch::signal;
use super::wait;

/// The threads of a process whose name begins so, as (thread id, name).
#[must_use]
pub fn threads(pid: u32, prefix: &str) -> Vec<(u32, String)> {
    let directory = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let named = ids.filter_map(|id: u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).ok()?;
        Some((id, name.trim().to_owned()))
    });
    named.filter(|(_, name)| name.starts_with(prefix)).collect()
}

/// Page faults of a thread so far: those that were served from memory, and those that were not.
#[must_use]
pub fn page_faults(pid: u32, thread: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap();
    // Fields are counted after the name, which is in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[7].parse().unwrap(), fields[9].parse().unwrap())
}

/// Open descriptors of a process.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Mappings of a process.
#[must_use]
pub fn mappings(pid: u32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count()
}

/// Threads of a process.
#[must_use]
pub fn thread_count(pid: u32) -> usize {
    threads(pid, "").len()
}

/// A trace of the system calls of one thread.
#[derive(Debug)]
pub struct Trace {
    child: Child,
    output: PathBuf,
}

impl Trace {
    /// Attaches to the thread; returns once it is traced.
    #[must_use]
    pub fn attach(thread: u32, output: &Path) -> Self {
        let child = Command::new("strace")
            .args(["-qq", "-p", &thread.to_string(), "-o"])
            .arg(output)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("strace to attach", || {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim();
            (tracer != "0").then_some(())
        });
        Self { child, output: output.to_path_buf() }
    }

    /// Detaches; gives the calls, a line each.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        signal(self.child.id(), "INT");
        self.child.wait().unwrap();
        let text = std::fs::read_to_string(&self.output).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
