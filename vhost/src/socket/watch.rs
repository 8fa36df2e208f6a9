//! Watching directories, so that a socket is connected as soon as it appears.
//!
//! One inotify instance for all ports; several ports may watch one directory. A watch stands only while its port
//! looks for a socket: a tenant can make files in its directory as fast as it likes. Without inotify (limits of
//! the node), timers alone find the socket, a little later.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Events read at one visit at most.
const VISIT: usize = 64;

/// A port's watch: where, and for which name.
#[derive(Debug, Clone)]
pub struct Watch {
    id: i32,
    name: OsString,
}

/// All watches. `K` says whose they are.
#[derive(Debug)]
pub struct Watches<K> {
    inotify: OwnedFd,
    owners: HashMap<i32, Vec<(OsString, K)>>,
}

impl<K: Copy + PartialEq> Watches<K> {
    /// No watch yet.
    ///
    /// # Errors
    /// If the kernel gives no inotify instance (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, owners: HashMap::new() })
    }

    /// Watches the directory of `path` for the name of `path`; `None` if that cannot be done now. `before` is
    /// the watch that the owner had: it goes on if the path still leads to the same directory, and ends if not (a
    /// directory that was removed lives on as long as a socket in it is open).
    pub fn renew(&mut self, before: Option<Watch>, path: &Path, owner: K) -> Option<Watch> {
        let now = self.begin(path);
        match (before, &now) {
            (Some(before), Some(now)) if before.id == now.id && self.stands(&before) => return Some(before),
            (Some(before), _) => self.remove(&before, owner),
            (None, _) => {}
        }
        let now = now?;
        self.owners.entry(now.id).or_default().push((now.name.clone(), owner));
        Some(now)
    }

    fn begin(&self, path: &Path) -> Option<Watch> {
        let (dir, name) = (path.parent()?, path.file_name()?);
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
        let id = inotify::add_watch(&self.inotify, dir, flags).ok()?;
        Some(Watch { id, name: name.into() })
    }

    /// Ends a watch.
    pub fn remove(&mut self, watch: &Watch, owner: K) {
        let Some(owners) = self.owners.get_mut(&watch.id) else { return };
        if let Some(at) = owners.iter().position(|(name, who)| *who == owner && *name == watch.name) {
            owners.swap_remove(at);
        }
        if owners.is_empty() {
            self.owners.remove(&watch.id);
            let _ = inotify::remove_watch(&self.inotify, watch.id);
        }
    }

    /// Whether a watch still stands: it ends with its directory.
    #[must_use]
    pub fn stands(&self, watch: &Watch) -> bool {
        self.owners.contains_key(&watch.id)
    }

    /// Takes events, a bounded number of them, and hands the owners concerned to `each`.
    pub fn take(&mut self, mut each: impl FnMut(K)) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        for _ in 0..VISIT {
            let Ok(event) = reader.next() else { return };
            if event.events().contains(ReadFlags::IGNORED) {
                // The directory is gone, or we have ended the watch and forgotten it already.
                for (_, owner) in self.owners.remove(&event.wd()).unwrap_or_default() {
                    each(owner);
                }
                continue;
            }
            let overflow = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let file = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            for (id, owners) in &self.owners {
                let its = |name: &OsString| overflow || (*id == event.wd() && file.as_ref() == Some(name));
                owners.iter().filter(|(name, _)| its(name)).for_each(|(_, owner)| each(*owner));
            }
        }
    }
}

impl<K> AsFd for Watches<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
