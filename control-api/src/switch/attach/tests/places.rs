use std::os::unix::fs::{PermissionsExt as _, symlink};

use proto::reasons;

use super::super::place::empty;
use super::*;

#[test]
fn made_directories_have_their_modes() {
    let bench = Bench::new();
    let made = v1::AttachRequest { network: "open".into(), ..bench.pod("x", "") };
    let directory = bench.path("run/devices").join(bench.attach(&made).unwrap().directory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&directory.join("socket")), 0o2770);
    assert_eq!((mode(&directory), mode(&directory.join("port"))), (0o755, 0o755));
    assert_eq!(mode(&directory.join("port/port.json")), 0o644);
}

/// What a hostile pod may leave: links, trees, odd names, the names that emptying itself uses.
fn plant(directory: &Path, outside: &Path) {
    symlink(outside, directory.join("vhost.sock")).unwrap();
    symlink(outside.parent().unwrap(), directory.join("up")).unwrap();
    fs::write(directory.join("\u{1}odd\n"), "").unwrap();
    fs::write(directory.join(".podswitch-moved-1"), "").unwrap();
    fs::create_dir_all(directory.join(".podswitch-moved-2/full/of")).unwrap();
    let mut deep = directory.join("deep");
    // Deeper than a path can be long.
    for _ in 0..40 {
        fs::create_dir(&deep).unwrap();
        symlink(outside, deep.join("link")).unwrap();
        deep = deep.join("d".repeat(90));
    }
}

#[test]
fn planted_links_are_removed_and_never_followed() {
    let bench = Bench::new();
    let outside = bench.path("precious");
    fs::write(&outside, "precious").unwrap();
    let socket = bench.socket_directory("n0-0001");
    plant(&socket, &outside);
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    assert_eq!(entries(&socket), 0, "emptied before the new owner");
    plant(&socket, &outside);
    bench.detach("a1");
    assert_eq!(entries(&socket), 0, "emptied after the old one");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    // The directory itself as a link, or as something else.
    fs::remove_dir(&socket).unwrap();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::write(bench.path("elsewhere/file"), "").unwrap();
    symlink(bench.path("elsewhere"), &socket).unwrap();
    assert_eq!(reason(bench.attach(&bench.pod("a2", "n0-0001"))).0, reasons::NO_DIRECTORY);
    assert!(empty(&socket).is_err());
    assert_eq!(entries(&bench.path("elsewhere")), 1);
    assert!(bench.switch.attachments("").is_empty());
}

#[test]
fn a_filled_directory_stops_neither_deletion_nor_the_next() {
    let bench = Bench::new();
    let socket = bench.socket_directory("n0-0001");
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    for n in 0..2000 {
        fs::write(socket.join(format!("file-{n}")), "").unwrap();
    }
    assert!(bench.detach("a1"));
    assert_eq!(entries(&socket), 0);
    fs::create_dir(socket.join("x")).unwrap();
    bench.attach(&bench.pod("a2", "n0-0001")).unwrap();
    assert_eq!(entries(&socket), 0);
}

#[test]
fn a_small_tmpfs_without_an_inode_left_is_emptied() {
    let bench = Bench::new();
    let socket = bench.socket_directory("n0-0001");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=16,nosuid,nodev,noexec", "tmpfs"])
        .arg(&socket)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no tmpfs can be mounted here");
        return;
    }
    bench.attach(&bench.pod("a1", "n0-0001")).unwrap();
    let mut made = 0;
    let mut deep = socket.clone();
    while fs::create_dir(deep.join("d")).is_ok() {
        deep = deep.join("d");
        made += 1;
    }
    assert!(made > 5 && fs::write(socket.join("more"), "").is_err(), "it is full");
    let detached = bench.detach("a1");
    let left = entries(&socket);
    let again = bench.attach(&bench.pod("a2", "n0-0001")).map(drop);
    let unmounted = std::process::Command::new("umount").arg(&socket).status();
    assert!(detached && left == 0, "{left} names are left");
    again.unwrap();
    assert!(unmounted.is_ok_and(|status| status.success()));
}

#[test]
fn a_damaged_port_file_is_written_anew() {
    let bench = Bench::new();
    let request = bench.pod("a1", "n0-0001");
    bench.attach(&request).unwrap();
    let file = bench.path("run/devices/n0-0001/port/port.json");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    bench.attach(&request).unwrap();
    assert_eq!(fs::read(&file).unwrap(), good);
    assert_eq!(entries(file.parent().unwrap()), 1, "no passing name is left");
}
