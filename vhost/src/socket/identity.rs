//! Which file a path led to.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io;

/// One file, told apart from one that was made later with the same name and, as happens at once on tmpfs, the same
/// inode number: by the time of its creation, or, where the file system does not keep that, of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

/// A file's kind, owner and permissions beside its identity.
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) is_socket: bool,
    pub(super) owner: u32,
    pub(super) permissions: u32,
}

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

impl Seen {
    /// The file behind a descriptor, which may be one of `O_PATH`.
    pub(super) fn open(fd: impl AsFd) -> io::Result<Self> {
        Self::from_statx(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, FIELDS)?)
    }

    /// The file of a name in a directory; a symbolic link is not followed.
    pub(super) fn named(dir: impl AsFd, name: &std::ffi::OsStr) -> io::Result<Self> {
        Self::from_statx(rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, FIELDS)?)
    }

    fn from_statx(it: Statx) -> io::Result<Self> {
        let has_birth = it.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = if has_birth { it.stx_btime } else { it.stx_ctime };
        let identity = Identity {
            device: (it.stx_dev_major, it.stx_dev_minor),
            inode: it.stx_ino,
            born: (born.tv_sec, born.tv_nsec),
        };
        Ok(Self {
            identity,
            is_socket: it.stx_mode & S_IFMT == S_IFSOCK,
            owner: it.stx_uid,
            permissions: u32::from(it.stx_mode & !S_IFMT),
        })
    }
}

const FIELDS: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::UID)
    .union(StatxFlags::INO)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::BTIME);
