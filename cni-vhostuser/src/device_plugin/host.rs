//! One thread that lives in the host's mount namespace and does all work on files there.
//!
//! The plugin runs in a container, but what it mounts must be seen by the kubelet, by pods and by the switch, without
//! a privileged container and without mount propagation. A thread with a working directory of its own may enter
//! another mount namespace; the rest of the process stays where it is. Work is handed over as closures, done one
//! after the other, so no two of them touch a directory at once.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::fchdir;
use tokio::sync::oneshot;

const OF_THE_HOST: &str = "/proc/1/ns/mnt";
const OUR_OWN: &str = "/proc/self/ns/mnt";

/// Where directories and mounts are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MountNamespace {
    /// That of process 1, if it is another.
    Auto,
    /// That of this file.
    Path(PathBuf),
    /// The plugin's own.
    None,
}

impl FromStr for MountNamespace {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            path if path.starts_with('/') => Ok(Self::Path(path.into())),
            other => Err(HostError::Word(other.into())),
        }
    }
}

/// Why the namespace is not there.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No such choice.
    #[error("\"{0}\" is no mount namespace; use auto, none or an absolute path")]
    Word(String),
    /// The file of the namespace.
    #[error(
        "cannot look at the mount namespace {path}: {error}; the container needs hostPID and CAP_SYS_PTRACE",
        path = path.display()
    )]
    Look {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// It cannot be entered.
    #[error(
        "cannot enter the mount namespace {path}: {error}; the container needs CAP_SYS_ADMIN and CAP_SYS_CHROOT",
        path = path.display()
    )]
    Enter {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread for the host's directories: {0}")]
    Thread(#[source] io::Error),
    /// The thread ended; a bug.
    #[error("the thread for the host's directories has ended")]
    Gone,
}

/// What the thread itself has.
#[derive(Debug)]
pub(super) struct Here {
    /// `/proc/thread-self/fd` of the plugin's own mount namespace: `/proc` of the host may know this process by
    /// another number.
    descriptors: OwnedFd,
}

impl Here {
    /// Makes the magic links of the thread's descriptors the working directory, so that a call that takes a path alone
    /// can be given a descriptor: its number is then the path.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn among_descriptors(&self) -> io::Result<()> {
        Ok(fchdir(&self.descriptors)?)
    }
}

type Work = Box<dyn FnOnce(&Here) + Send>;

/// The thread; a clone is the same thread.
#[derive(Clone, Debug)]
pub(super) struct Host(mpsc::Sender<Work>);

impl Host {
    /// Starts the thread and waits until it is in its namespace.
    ///
    /// # Errors
    /// The namespace cannot be looked at or entered.
    pub(super) fn enter(namespace: &MountNamespace) -> Result<Self, HostError> {
        let target = match namespace {
            MountNamespace::None => None,
            MountNamespace::Path(path) => Some(path.clone()),
            MountNamespace::Auto => differs()?.then(|| PathBuf::from(OF_THE_HOST)),
        };
        let (work, works) = mpsc::channel::<Work>();
        let (entered, outcome) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("host".into())
            .spawn(move || match go(target.as_deref()) {
                Ok(here) => {
                    let _ = entered.send(Ok(()));
                    works.into_iter().for_each(|work| work(&here));
                }
                Err(error) => {
                    let _ = entered.send(Err(error));
                }
            })
            .map_err(HostError::Thread)?;
        outcome.recv().unwrap_or(Err(HostError::Gone))?;
        Ok(Self(work))
    }

    /// Does `work` on the thread.
    ///
    /// # Errors
    /// [`HostError::Gone`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Here) -> T + Send + 'static,
    ) -> Result<T, HostError> {
        let (done, outcome) = oneshot::channel();
        let work: Work = Box::new(move |here| {
            // A caller that went away does not want it.
            let _ = done.send(work(here));
        });
        self.0.send(work).map_err(|_| HostError::Gone)?;
        outcome.await.map_err(|_| HostError::Gone)
    }
}

/// Whether process 1 lives in another mount namespace than we.
fn differs() -> Result<bool, HostError> {
    let identity = |path: &str| {
        let look = |error| HostError::Look { path: path.into(), error };
        fs::metadata(path).map(|m| (m.dev(), m.ino())).map_err(look)
    };
    Ok(identity(OF_THE_HOST)? != identity(OUR_OWN)?)
}

/// On the thread: a working directory of its own, then the other namespace.
fn go(target: Option<&Path>) -> Result<Here, HostError> {
    unshare(CloneFlags::CLONE_FS).map_err(|e| HostError::Thread(e.into()))?;
    let look = |path: &Path, error: io::Error| HostError::Look { path: path.into(), error };
    let descriptors = Path::new("/proc/thread-self/fd");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here = Here {
        descriptors: open(descriptors, flags, Mode::empty()).map_err(|e| look(descriptors, e.into()))?,
    };
    if let Some(path) = target {
        let namespace = fs::File::open(path).map_err(|e| look(path, e))?;
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS)
            .map_err(|e| HostError::Enter { path: path.into(), error: e.into() })?;
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_option() {
        assert_eq!("auto".parse::<MountNamespace>().unwrap(), MountNamespace::Auto);
        assert_eq!("none".parse::<MountNamespace>().unwrap(), MountNamespace::None);
        let path = "/proc/7/ns/mnt".parse::<MountNamespace>().unwrap();
        assert_eq!(path, MountNamespace::Path("/proc/7/ns/mnt".into()));
        assert!("host".parse::<MountNamespace>().is_err());
    }

    #[tokio::test]
    async fn work_is_done_in_order_on_one_thread() {
        let host = Host::enter(&MountNamespace::None).unwrap();
        let name = host.run(|_| thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("host"));
        // Its working directory is its own.
        let before = std::env::current_dir().unwrap();
        host.run(Here::among_descriptors).await.unwrap().unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let error = Host::enter(&MountNamespace::Path("/nowhere/ns/mnt".into())).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ns/mnt"), "{error}");
        // A file, but no namespace.
        let error = Host::enter(&MountNamespace::Path("/proc/version".into())).unwrap_err();
        assert!(matches!(error, HostError::Enter { .. }), "{error}");
    }
}
