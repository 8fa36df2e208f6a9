//! The network namespace of the container: whether it is one, and which.
//!
//! A path says little: another namespace may lie there later. Device and inode say which one it was at ADD; the
//! daemon keeps them, and takes nothing from an owner whose namespace it can still see.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs};

use super::environment::{Environment, shown};
use super::failure::{Code, Failure};

/// Which namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl Identity {
    /// That of the namespace at a path.
    ///
    /// # Errors
    /// Code 8: there is nothing, or no namespace.
    pub fn at(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            let msg = format!("CNI_NETNS \"{}\" {why}", shown(&path.to_string_lossy()));
            Failure::new(Code::InvalidNamespace, msg)
        };
        // What lies there may be anything, a pipe too.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = file.map_err(|e| wrong(&format!("cannot be opened: {e}")))?;
        let system =
            fstatfs(&file).map_err(|e| wrong(&format!("cannot be looked at: {e}")))?.filesystem_type();
        let facts = file.metadata().map_err(|e| wrong(&format!("cannot be looked at: {e}")))?;
        if system != NSFS_MAGIC && !(system == PROC_SUPER_MAGIC && facts.is_file()) {
            return Err(wrong("is not a namespace"));
        }
        Ok(Self { device: facts.dev(), inode: facts.ino() })
    }

    /// That of the namespace that a call is about, which must not be the plugin's own.
    ///
    /// # Errors
    /// Code 8.
    pub fn of(environment: &Environment) -> Result<Self, Failure> {
        let path = environment.netns.as_deref().unwrap_or_default();
        let there = Self::at(Path::new(path))?;
        if there.is_own() && !environment.netns_override {
            let msg = format!("CNI_NETNS \"{}\" is the plugin's own namespace", shown(path));
            return Err(Failure::new(Code::InvalidNamespace, msg).with("CNI_NETNS_OVERRIDE=1 allows it"));
        }
        Ok(there)
    }

    /// Whether this process lives in it.
    #[must_use]
    pub fn is_own(self) -> bool {
        Self::at(Path::new("/proc/self/ns/net")).is_ok_and(|own| own == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_is_known() {
        assert!(Identity::at(Path::new("/proc/self/ns/net")).unwrap().is_own());
        assert!(!Identity::at(Path::new("/proc/self/ns/pid")).unwrap().is_own());
    }

    #[test]
    fn other_things_are_code_8() {
        for path in ["/nonexistent", "/", "/dev/null", "/proc/self/ns"] {
            assert_eq!(Identity::at(Path::new(path)).unwrap_err().code, 8, "{path}");
        }
    }
}
