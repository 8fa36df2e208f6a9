use std::fs;

use super::*;

fn port(name: &str, mac: u8) -> Change {
    Change::put_port(&v1::PortSpec {
        name: name.into(),
        network: "blue".into(),
        queues: 1,
        mac: format!("02:00:00:00:00:{mac:02x}"),
        device: Some(v1::port_spec::Device::VhostUser(v1::VhostUser {
            path: format!("/run/{name}.sock"),
            mode: v1::SocketMode::Server.into(),
            ..v1::VhostUser::default()
        })),
        ..v1::PortSpec::default()
    })
}

fn network() -> Change {
    Change::put_network(&v1::NetworkSpec { name: "blue".into(), ..Default::default() })
}

/// A store with a network and three ports, and no copy of the last change.
fn filled(directory: &Path) -> Store {
    let mut store = Store::open(directory);
    store.commit(&[network()]).unwrap();
    for (name, mac) in [("a", 1), ("b", 2), ("c", 3)] {
        store.commit(&[port(name, mac)]).unwrap();
    }
    store
}

fn damaged(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".damaged-")).collect()
}

#[test]
fn a_first_start_is_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    assert!(!store.status().recovered && store.warnings().is_empty());
    assert_eq!(store.contents().objects().unwrap(), Objects::default());
    assert!(!store.contents().instance.is_empty());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    store.commit(&[Change::Delete(Table::Port, "b".into())]).unwrap();
    let contents = store.contents().clone();
    // Nothing of the old one runs: no flush, no close.
    std::mem::forget(store);
    let store = Store::open(directory.path());
    assert_eq!(store.contents(), &contents);
    assert!(!store.status().recovered);
    let names: Vec<_> = store.contents().objects().unwrap().ports.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(store.status().generation, 5);
}

#[test]
fn the_file_is_readable_with_the_tool() {
    let directory = tempfile::tempdir().unwrap();
    let _store = filled(directory.path());
    let connection = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    let sql = "SELECT json_extract(spec, '$.vhost_user.path') FROM port WHERE name = 'a'";
    let path: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(path, "/run/a.sock");
}

/// Every length that a file can be cut to: it is refused, never half believed.
#[test]
fn truncation_at_every_byte_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    drop(filled(directory.path()));
    let whole = fs::read(directory.path().join("state.db")).unwrap();
    let cut = directory.path().join("cut.db");
    fs::write(&cut, &whole).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&cut).unwrap();
    for length in (0..whole.len()).rev() {
        file.set_len(length as u64).unwrap();
        assert!(File::open(&cut).is_err(), "cut to {length} of {} bytes", whole.len());
    }
}

/// A flipped bit is either seen, or in a place that holds nothing.
#[test]
fn flipped_bits_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let contents = filled(directory.path()).contents().clone();
    let whole = fs::read(directory.path().join("state.db")).unwrap();
    let path = directory.path().join("flipped.db");
    let mut seen = 0;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let bit = usize::try_from(random % (whole.len() as u64 * 8)).unwrap();
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        match File::open(&path) {
            Ok((_, found)) => assert_eq!(found, contents, "bit {bit}"),
            Err(_) => seen += 1,
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Whatever is done to the file, the daemon starts, from the newest good copy, and says so.
#[test]
fn every_damage_starts_from_the_newest_good_copy() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        ("empty", |p| fs::write(p, "").unwrap()),
        ("half", |p| fs::OpenOptions::new().write(true).open(p).unwrap().set_len(9000).unwrap()),
        ("text", |p| fs::write(p, "not a database, and long enough to be looked at".repeat(100)).unwrap()),
        ("missing", |p| fs::remove_file(p).unwrap()),
        ("directory", |p| {
            fs::remove_file(p).unwrap();
            fs::create_dir(p).unwrap();
        }),
        ("link", |p| {
            fs::remove_file(p).unwrap();
            std::os::unix::fs::symlink("/dev/zero", p).unwrap();
        }),
        ("version", |p| {
            let connection = rusqlite::Connection::open(p).unwrap();
            connection.pragma_update(None, "user_version", 99).unwrap();
        }),
        ("row", |p| {
            let connection = rusqlite::Connection::open(p).unwrap();
            connection.execute("UPDATE port SET spec = replace(spec, ':01', ':09')", []).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let mut store = filled(directory.path());
        store.copy_if_due(true);
        let contents = store.contents().clone();
        drop(store);
        damage(&path);
        let mut store = Store::open(directory.path());
        assert_eq!(store.contents(), &contents, "{name}");
        let status = store.status();
        assert!(
            status.recovered && status.note.contains("generation 4 was loaded"),
            "{name}: {}",
            status.note
        );
        assert!(store.warnings()[0].contains("damaged"), "{name}");
        assert_eq!(damaged(directory.path()).len(), usize::from(name != "missing"), "{name}");
        // It is a whole store again: changes are kept, and the next start is quiet.
        store.commit(&[port("d", 4)]).unwrap();
        drop(store);
        let store = Store::open(directory.path());
        assert!(!store.status().recovered, "{name}");
        assert_eq!(store.contents().objects().unwrap().ports.len(), 4, "{name}");
    }
}

#[test]
fn damaged_copies_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    store.copy_if_due(true);
    store.commit(&[port("d", 4)]).unwrap();
    store.copied_at = Instant::now();
    store.copy(true);
    drop(store);
    fs::write(directory.path().join("state.db"), "x").unwrap();
    fs::write(directory.path().join("state.db.1"), "x").unwrap();
    let store = Store::open(directory.path());
    assert!(store.status().note.contains("generation 4 was loaded from"), "{}", store.status().note);
    assert_eq!(store.contents().objects().unwrap().ports.len(), 3);
}

#[test]
fn without_a_good_copy_it_starts_empty_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.db"), "x").unwrap();
    let store = Store::open(directory.path());
    assert!(store.status().recovered && store.status().note.contains("started empty"));
    assert_eq!(store.contents().objects().unwrap(), Objects::default());
}

/// The file is removed, replaced or overwritten while the daemon runs: the next change puts it right.
#[test]
fn a_file_that_changes_under_us_is_put_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut store = filled(directory.path());
    fs::remove_file(&path).unwrap();
    store.commit(&[port("d", 4)]).unwrap();
    assert_eq!(Store::open(directory.path()).contents(), store.contents());
    fs::write(directory.path().join("other"), "x").unwrap();
    fs::rename(directory.path().join("other"), &path).unwrap();
    store.commit(&[port("e", 5)]).unwrap();
    assert_eq!(damaged(directory.path()).len(), 1);
    let again = Store::open(directory.path());
    assert_eq!(again.contents(), store.contents());
    assert!(!again.status().recovered);
}

#[test]
fn a_change_that_is_not_on_disk_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    let before = store.contents().clone();
    let holder = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(store.commit(&[port("d", 4)]).is_err());
    assert_eq!(store.contents(), &before);
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(damaged(directory.path()).is_empty(), "a lock is no damage");
    store.commit(&[port("d", 4)]).unwrap();
    assert!(store.warnings().is_empty(), "{:?}", store.warnings());
}

#[test]
fn copies_follow_changes_but_not_each() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    let copy = directory.path().join("state.db.1");
    let generation = || File::open(&copy).unwrap().1.generation;
    assert_eq!(generation(), 0, "made at the start");
    store.copy_if_due(false);
    assert_eq!(generation(), 0, "too soon");
    store.copied_at = Instant::now().checked_sub(COPY_EVERY).unwrap();
    store.copy_if_due(false);
    assert_eq!(generation(), 4);
    assert!(!directory.path().join("state.db.2").exists(), "copies of the same hour replace each other");
    drop(store);
    let mut store = Store::open(directory.path());
    store.commit(&[port("d", 4)]).unwrap();
    drop(store);
    let _store = Store::open(directory.path());
    assert_eq!(generation(), 5);
    assert_eq!(File::open(&directory.path().join("state.db.2")).unwrap().1.generation, 4);
}

/// As the version before wrote it: without attachments.
fn make_layout_1(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("DROP TABLE attachment").unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
}

fn layout(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn attachment(port: &str) -> Change {
    let key = v1::AttachmentKey { network: "n".into(), container_id: "c".into(), ifname: "i".into() };
    let spec = v1::AttachRequest { key: Some(key), ..v1::AttachRequest::default() };
    Change::put_attachment(&v1::Attachment {
        spec: Some(spec),
        port: port.into(),
        ..v1::Attachment::default()
    })
}

#[test]
fn a_file_of_the_layout_before_is_read_and_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let contents = filled(directory.path()).contents().clone();
    make_layout_1(&path);
    let mut store = Store::open(directory.path());
    assert_eq!(store.contents(), &contents);
    assert!(!store.status().recovered && damaged(directory.path()).is_empty());
    assert_eq!(layout(&path), 2);
    store.commit(&[attachment("a")]).unwrap();
    drop(store);
    let store = Store::open(directory.path());
    assert_eq!(store.contents().objects().unwrap().attachments.len(), 1);
    assert!(!store.status().recovered);
}

#[test]
fn a_copy_of_the_layout_before_is_good_to_start_from() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    store.copy_if_due(true);
    let contents = store.contents().clone();
    drop(store);
    make_layout_1(&directory.path().join("state.db.1"));
    fs::write(directory.path().join("state.db"), "x").unwrap();
    let mut store = Store::open(directory.path());
    assert_eq!(store.contents(), &contents);
    assert_eq!(layout(&directory.path().join("state.db.1")), 1, "a copy stays as it was");
    store.commit(&[attachment("a")]).unwrap();
}

#[test]
fn an_attachment_and_its_port_belong_together() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    store.commit(&[attachment("a")]).unwrap();
    assert_eq!(store.contents().objects().unwrap().attachments[0].port, "a");
    store.commit(&[Change::Delete(Table::Port, "a".into())]).unwrap();
    assert!(matches!(store.contents().objects(), Err(Wrong::WithoutPort { .. })));
}
