//! The programs that are copied to nodes and into pods run where there is nothing but themselves.
//!
//! `make static` builds them, and `make test` does so first. Where they were not built this says so.

#![allow(clippy::unwrap_used, reason = "a test whose surroundings break has nothing to show")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAMS: [&str; 3] = ["cni-vhostuser", "podswitch-port", "podswitch-device-plugin"];
/// ELF: a segment with the path of a dynamic loader.
const PT_INTERP: u32 = 3;

/// The static build of a program, if there is one: beside the directory of the build that this test belongs to.
fn program(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_cni-vhostuser")).ancestors().nth(2)?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let file = target.join(triple).join("node").join(name);
    if !file.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is not there", file.display());
        eprintln!("NOT RUN: {} is not there; `make static` builds it", file.display());
        return None;
    }
    Some(file)
}

/// Kinds of the segments of an ELF file of 64 bits.
fn segments(elf: &[u8]) -> Vec<u32> {
    assert_eq!(&elf[..5], b"\x7fELF\x02");
    let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let table = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
    let (size, count) = (half(54), half(56));
    let kind = |number| {
        let at = table + number * size;
        u32::from_le_bytes(elf[at..at + 4].try_into().unwrap())
    };
    (0..count).map(kind).collect()
}

/// Runs a program in a directory that holds nothing else as root directory.
fn alone(name: &str, root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Output> {
    let program = program(name)?;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: needs root, to change the root directory");
        return None;
    }
    fs::copy(program, root.join(name)).unwrap();
    let output = Command::new("chroot")
        .arg(root)
        .arg(format!("/{name}"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output();
    Some(output.unwrap())
}

#[test]
fn no_program_asks_for_a_loader() {
    // What the test looks for is there in a program that is dynamic: this one.
    assert!(segments(&fs::read("/proc/self/exe").unwrap()).contains(&PT_INTERP));
    for program in PROGRAMS.into_iter().filter_map(program) {
        let segments = segments(&fs::read(&program).unwrap());
        assert!(!segments.is_empty() && !segments.contains(&PT_INTERP), "{} is dynamic", program.display());
    }
}

#[test]
fn the_plugin_answers_in_an_empty_root() {
    let root = tempfile::tempdir().unwrap();
    let Some(output) = alone("cni-vhostuser", root.path(), &[], &[("CNI_COMMAND", "VERSION")]) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["supportedVersions"].as_array().unwrap().contains(&"1.1.0".into()), "{answer}");
}

#[test]
fn a_pod_without_a_system_learns_of_its_port() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("run/podswitch/ports/n0-0001");
    fs::create_dir_all(&directory).unwrap();
    let port =
        r#"{"version":1,"ifname":"net1","mode":"client","path":"/run/podswitch/sockets/n0-0001/vhost.sock"}"#;
    fs::write(directory.join("port.json"), port).unwrap();
    let Some(output) = alone("podswitch-port", root.path(), &["net1", "--format", "path"], &[]) else {
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "/run/podswitch/sockets/n0-0001/vhost.sock\n",
        "{output:?}"
    );
    let output = alone("podswitch-port", root.path(), &["net2"], &[]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("net1"), "{said}");
}
