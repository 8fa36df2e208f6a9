//! `podswitch doctor` and `podswitch support` as programs: exit status, output, files. No daemon runs.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn podswitch(directory: &Path, arguments: &[&str]) -> Output {
    let api = format!("unix:{}/none.sock", directory.display());
    Command::new(env!("CARGO_BIN_EXE_podswitch"))
        .current_dir(directory)
        .env("PODSWITCH_API", api)
        .args(arguments)
        .output()
        .unwrap()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn the_exit_status_is_the_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    put(&root, "proc/sys/fs/aio-max-nr", "65536\n");
    put(&root, "proc/self/status", "Cpus_allowed_list:\t0-3\n");
    put(&root, "sys/devices/system/cpu/online", "0-3\n");
    let root_path = root.display().to_string();
    let doctor =
        |more: &[&str]| podswitch(directory.path(), &[&["doctor", "--root", &root_path], more].concat());

    // Little is known of this machine, and nothing bad enough.
    let warned = doctor(&[]);
    let text = String::from_utf8(warned.stdout).unwrap();
    assert_eq!(warned.status.code(), Some(0), "{text}");
    assert!(text.contains("\nwarn  IOMMU") && text.trim_end().ends_with("0 failures"), "{text}");
    assert_eq!(doctor(&["--strict"]).status.code(), Some(1));

    let json = doctor(&["-o", "json"]);
    assert_eq!(json.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["verdict"], "warn");
    let first = &report["checks"][0];
    for member in ["check", "verdict", "found", "remedy"] {
        assert!(first[member].is_string(), "{first}");
    }

    put(&root, "etc/podswitch/podswitchd.toml", "[workers]\ncpus = \"7\"\n");
    let failed = doctor(&[]);
    let text = String::from_utf8(failed.stdout).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{text}");
    assert!(text.contains("FAIL  CPU set") && text.contains("-> "), "{text}");
    assert_eq!(doctor(&["-o", "json"]).status.code(), Some(1));
    assert_eq!(doctor(&["--no-such-word"]).status.code(), Some(2));
}

#[test]
fn an_archive_without_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let made = podswitch(directory.path(), &["support"]);
    let text = String::from_utf8(made.stdout).unwrap();
    assert_eq!(made.status.code(), Some(0), "{text}");
    assert!(
        text.contains("without status.json, networks.json, ports.json, ")
            && text.contains("cannot be reached"),
        "{text}"
    );
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].file_name().into_string().unwrap();
    assert!(name.starts_with("podswitch-support-") && name.ends_with(".tar.gz"), "{name}");
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    // What everybody has reads it.
    let listed = Command::new("tar").arg("tzf").arg(files[0].path()).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let inner = name.strip_suffix(".tar.gz").unwrap();
    assert!(listed.lines().all(|line| line.starts_with(inner)), "{listed}");
    assert!(listed.contains(&format!("{inner}/MANIFEST\n")), "{listed}");

    // Out of a container whose files nobody can write.
    let piped = podswitch(directory.path(), &["support", "--file", "-"]);
    assert_eq!(piped.status.code(), Some(0));
    assert!(String::from_utf8(piped.stderr).unwrap().contains("without status.json"));
    let copy = directory.path().join("copy");
    fs::write(&copy, piped.stdout).unwrap();
    let listed = Command::new("tar").arg("tzf").arg(&copy).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("/MANIFEST\n"));

    let again = podswitch(directory.path(), &["support", "--file", &name]);
    assert_eq!(again.status.code(), Some(1));
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains(&name) && error.lines().count() == 1, "{error}");
}
