use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use flate2::read::GzDecoder;

use super::*;
use pieces::LIST;

/// Names and texts in an archive; every one lies in `directory`.
fn read(path: &Path, directory: &str) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut found = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let name = entry.path().unwrap().strip_prefix(directory).unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert!(found.insert(name.clone(), text).is_none(), "{name} twice");
    }
    found
}

#[tokio::test]
async fn the_archive_has_what_is_listed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.tar.gz");
    let config = directory.path().join("c.toml");
    std::fs::write(&config, "[dpdk]\nmemory = 77\n").unwrap();
    let api: ApiAddress = format!("unix:{}/none.sock", directory.path().display()).parse().unwrap();
    let command = Support { file: Some(file.clone()), config: Some(config) };
    run(&command, &api, &Output::new(super::super::args::Format::Table)).await.unwrap();

    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let mut tar = tar::Archive::new(GzDecoder::new(std::fs::File::open(&file).unwrap()));
    let entry = tar.entries().unwrap().next().unwrap().unwrap();
    let first = entry.path().unwrap().into_owned();
    let inner = first.parent().unwrap().to_str().unwrap().to_owned();
    assert!(inner.starts_with("podswitch-support-"), "{inner}");
    let found = read(&file, &inner);

    let manifest = &found["MANIFEST"];
    for name in found.keys().filter(|name| *name != "MANIFEST") {
        assert!(LIST.iter().any(|(listed, _)| listed == name), "{name} is not on the list");
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(&format!(" {} bytes", found[name].len())), "{line}");
    }
    for (name, _) in LIST {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert_eq!(line.contains("NOT INSIDE"), !found.contains_key(name), "{line}");
    }
    // The daemon is down: its part is missing and says why, all else is there.
    for name in ["status.json", "ports.json", "attachments.json", "workers.json"] {
        assert!(!found.contains_key(name), "{name}");
        let line = manifest.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("cannot be reached"), "{line}");
    }
    assert_eq!(found["config.toml"], "[dpdk]\nmemory = 77\n");
    assert!(found["doctor.txt"].contains("podswitchd"), "{}", found["doctor.txt"]);
    assert!(found["meminfo.txt"].contains("HugePages_Total"));
    assert!(found["cpuinfo.txt"].starts_with("CPUs: "));
    assert!(found["version.txt"].contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_piece_is_gathered_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let unreachable = Error::Unreachable { address: "unix:/x".into(), reason: "no".into() };
    let mut names = vec!["version.txt", "doctor.txt"];
    names.extend(runtime.block_on(pieces::of_daemon(Err(unreachable))).iter().map(|piece| piece.name));
    names.extend(pieces::of_machine(Some(Path::new("/dev/null"))).iter().map(|piece| piece.name));
    names.sort_unstable();
    let mut listed = LIST.map(|(name, _)| name);
    listed.sort_unstable();
    assert_eq!(names, listed);
}

#[test]
fn nothing_is_overwritten_and_no_link_followed() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let there = directory.path().join("there");
    std::fs::write(&there, "mine").unwrap();
    let link = directory.path().join("link");
    symlink(directory.path().join("elsewhere"), &link).unwrap();
    for path in [&there, &link] {
        let e = archive::write(path, "d", now, &[]).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::AlreadyExists, "{}", path.display());
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
    assert!(!directory.path().join("elsewhere").exists());
}
