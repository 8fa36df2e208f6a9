//! Network namespaces of cases.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A named network namespace, gone with its value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A fresh one. Needs root and iproute2.
    pub fn new() -> std::io::Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("cni-{}-{number}", std::process::id());
        let output = Command::new("ip").args(["netns", "add", &name]).output()?;
        if output.status.success() {
            Ok(Self { name })
        } else {
            Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }

    /// What `ip -n` calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What CNI_NETNS says.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A case may have deleted it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
