//! Work inside another network namespace, in a thread that does nothing else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::StubError;

/// What `work` answers, done in the network namespace at `path`. The thread that entered it ends with the work, so no
/// other can find itself there.
pub(super) fn within<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StubError> + Send,
) -> Result<T, StubError> {
    let namespace = open(path)?;
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".into()).spawn_scoped(scope, move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|error| failed("enter the network namespace", path, error.into()))?;
            work()
        });
        let worker = worker.map_err(|error| StubError::system("start a thread", error))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The namespace's file. A path where nothing, or nothing of this kind, is mounted any more names no namespace.
fn open(path: &Path) -> Result<File, StubError> {
    let gone = || StubError::NoNamespace(PathBuf::from(path));
    // Non-blocking: a pipe in its place must not hold us up.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
    {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(gone());
        }
        Err(error) => return Err(failed("open the network namespace", path, error)),
    };
    let facts =
        fstatfs(&file).map_err(|error| failed("look at the network namespace", path, error.into()))?;
    if facts.filesystem_type() == NSFS_MAGIC { Ok(file) } else { Err(gone()) }
}

/// Switches IPv6 on for a link of the namespace that the calling thread is in: container runtimes like to switch it off
/// for new ones, and the kernel then refuses addresses.
pub(super) fn allow_ipv6(ifname: &str) -> Result<(), StubError> {
    let switch = Path::new("/proc/sys/net/ipv6/conf").join(ifname).join("disable_ipv6");
    // Not there: no IPv6 in this kernel, which adding the address will tell.
    match fs::read_to_string(&switch) {
        Ok(text) if text.trim() == "1" => {
            fs::write(&switch, "0").map_err(|error| failed("switch IPv6 on by", &switch, error))
        }
        _ => Ok(()),
    }
}

fn failed(doing: &str, path: &Path, source: io::Error) -> StubError {
    StubError::system(format!("{doing} {}", path.display()), source)
}
