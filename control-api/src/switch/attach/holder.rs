//! Whether the owner of an attachment is known to be gone.
//!
//! "Not there" is no proof: the daemon may run without the directory of namespaces mounted. An owner is gone only if the
//! kernel is another since (the boot id differs), or if the daemon itself saw the namespace when it was attached and
//! now sees something else at its path, or nothing there while it does see other namespaces beside it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proto::v1;

/// Most names looked at in a directory of namespaces.
const MOST_LOOKS: usize = 4096;

/// Device and inode of what a path leads to.
pub(in crate::switch) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Whether the daemon sees at the path what the caller says to be there.
pub(in crate::switch) fn sees(owner: &v1::Owner) -> bool {
    owner.netns_ino != 0
        && !owner.netns.is_empty()
        && identity(Path::new(&owner.netns)).is_ok_and(|seen| seen == (owner.netns_dev, owner.netns_ino))
}

/// Whether the owner is known to be gone. An empty boot id, which cannot be read, proves nothing.
pub(in crate::switch) fn is_gone(attachment: &v1::Attachment, boot_id: &str) -> bool {
    of_another_boot(attachment, boot_id) || namespace_gone(attachment)
}

/// Whether it was attached under another kernel.
pub(in crate::switch) fn of_another_boot(attachment: &v1::Attachment, boot_id: &str) -> bool {
    !boot_id.is_empty() && !attachment.boot_id.is_empty() && attachment.boot_id != boot_id
}

/// Whether a namespace that the daemon saw is gone for certain.
pub(in crate::switch) fn namespace_gone(attachment: &v1::Attachment) -> bool {
    let Some(owner) = attachment.spec.as_ref().and_then(|spec| spec.owner.as_ref()) else { return false };
    if !attachment.netns_seen || owner.netns_ino == 0 {
        return false;
    }
    let path = Path::new(&owner.netns);
    match identity(path) {
        Ok(now) => now != (owner.netns_dev, owner.netns_ino),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            sees_others(path, owner.netns_dev)
        }
        Err(_) => false,
    }
}

/// Whether other namespaces are seen where this one was: the directory is the one that it was in.
fn sees_others(path: &Path, device: u64) -> bool {
    if path.starts_with("/proc") {
        return identity(Path::new("/proc/self/ns/net")).is_ok_and(|(dev, _)| dev == device);
    }
    let Some(entries) = path.parent().and_then(|parent| std::fs::read_dir(parent).ok()) else { return false };
    entries
        .take(MOST_LOOKS)
        .flatten()
        .any(|entry| identity(&entry.path()).is_ok_and(|(dev, _)| dev == device))
}

/// The owner in words: pod, container and interface.
pub(in crate::switch) fn words(attachment: &v1::Attachment) -> String {
    let spec = attachment.spec.clone().unwrap_or_default();
    let key = spec.key.unwrap_or_default();
    let owner = spec.owner.unwrap_or_default();
    let pod = if owner.pod.is_empty() {
        String::new()
    } else {
        format!("the pod {}/{}, ", owner.namespace, owner.pod)
    };
    let container: String = key.container_id.chars().take(64).collect();
    format!("{pod}container {container}, interface {}", key.ifname)
}
