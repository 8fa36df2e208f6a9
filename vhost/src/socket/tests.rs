use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::*;

#[test]
fn what_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(connect(&dir.path().join("s")), Err(SocketError::Missing(_))));
    assert!(matches!(connect(&dir.path().join("no/s")), Err(SocketError::Missing(_))));
    std::fs::write(dir.path().join("f"), "").unwrap();
    assert!(matches!(connect(&dir.path().join("f")), Err(SocketError::NotSocket(_))));
    assert!(matches!(connect(dir.path()), Err(SocketError::NotSocket(_))));
}

#[test]
fn a_link_to_a_socket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    assert!(matches!(connect(&dir.path().join("link")), Err(SocketError::NotSocket(_))));
    connect(&dir.path().join("real")).unwrap();
}

#[test]
fn a_full_backlog_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut held = Vec::new();
    let before = Instant::now();
    let error = loop {
        match connect(&path) {
            Ok(connected) => held.push(connected),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SocketError::Busy(_)), "{error}");
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn only_the_same_stale_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let identity = connect(&path).unwrap().identity;
    drop(listener);
    // The name now belongs to a new file, perhaps with the same inode number.
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    assert!(!remove_stale(&path, identity));
    assert!(path.exists());
    let identity = connect(&path).unwrap().identity;
    drop(listener);
    match connect(&path) {
        Err(SocketError::Refused { identity: found, .. }) => assert_eq!(found, identity),
        other => panic!("{other:?}"),
    }
    assert!(remove_stale(&path, identity));
    assert!(!path.exists());
}

#[test]
fn a_listener_replaces_only_a_dead_socket_and_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&path).unwrap();
    assert!(matches!(Listener::bind(&path), Err(SocketError::InUse(_))));
    let _client = UnixStream::connect(&path).unwrap();
    assert!(listener.is_reachable());
    // The second bind above tried a connection, too.
    assert!(listener.accept().unwrap().is_some());
    assert!(listener.accept().unwrap().is_some());
    assert!(listener.accept().unwrap().is_none());
    drop(listener);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Listener::bind(&path), Err(SocketError::NotSocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

/// The umask belongs to the process, and so to all tests: a process of its own tries each.
#[test]
fn a_listeners_file_is_open_to_the_directorys_group_whatever_the_umask() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    const INNER: &str = "PODSWITCH_TEST_BIND";
    if let Some(path) = std::env::var_os(INNER) {
        let path = PathBuf::from(path);
        let _listener = Listener::bind(&path).unwrap();
        let file = std::fs::symlink_metadata(&path).unwrap();
        let group = std::fs::metadata(path.parent().unwrap()).unwrap().gid();
        println!("mode={:o} group={}", file.mode() & 0o7777, file.gid() == group);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), None, Some(2107)).unwrap();
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2770)).unwrap();
    let this = "socket::tests::a_listeners_file_is_open_to_the_directorys_group_whatever_the_umask";
    for umask in ["000", "022", "077", "777"] {
        let output = std::process::Command::new("sh")
            .args(["-c", "umask $0 && exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(INNER, dir.path().join(umask))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("mode=660 group=true"), "umask {umask}: {text}");
    }
}

#[test]
fn a_listener_leaves_what_replaced_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = Listener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(!listener.is_reachable());
    let _other = UnixListener::bind(&path).unwrap();
    assert!(!listener.is_reachable());
    drop(listener);
    assert!(path.exists());
}

#[test]
fn a_watch_tells_of_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut watches = Watches::new().unwrap();
    let first = watches.renew(None, &dir.path().join("a"), 1).unwrap();
    let second = watches.renew(None, &dir.path().join("b"), 2).unwrap();
    assert!(watches.renew(None, &dir.path().join("missing/c"), 3).is_none());
    let listener = UnixListener::bind(dir.path().join("b")).unwrap();
    let mut seen = Vec::new();
    watches.take(|owner| seen.push(owner));
    seen.dedup();
    assert_eq!(seen, [2]);
    watches.remove(&second, 2);
    assert!(watches.stands(&first));
    let path = dir.path().join("a");
    // The open socket keeps the directory's inode alive, though not its name: the next renewal finds out.
    dir.close().unwrap();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let renewed = watches.renew(Some(first.clone()), &path, 1).unwrap();
    assert!(!watches.stands(&first));
    drop(listener);
    std::fs::remove_dir(path.parent().unwrap()).unwrap();
    let mut seen = Vec::new();
    watches.take(|owner| seen.push(owner));
    assert_eq!(seen, [1], "the end of {} was not told", path.display());
    assert!(!watches.stands(&renewed));
}
