//! A damaged store never stops the daemon from starting.

use std::path::Path;

use proto::v1::{NetworkListResponse, NodeStatus};

use crate::support::lab::Lab;
use crate::support::switch::{Setup, Switch};

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 5] = [
    ("empty", |file| std::fs::write(file, b"").unwrap()),
    ("garbage", |file| std::fs::write(file, vec![0xa5; 20_000]).unwrap()),
    ("cut in half", |file| {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("bits flipped", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.iter_mut().skip(50).step_by(97).for_each(|byte| *byte ^= 0x55);
        std::fs::write(file, &bytes).unwrap();
    }),
    ("a directory instead", |file| {
        std::fs::remove_file(file).unwrap();
        std::fs::create_dir(file).unwrap();
    }),
];

#[test]
fn a_damaged_store_is_set_aside_and_the_newest_good_copy_loaded() {
    for (name, damage) in DAMAGES {
        let Some(lab) = Lab::open() else { return };
        let mut switch = Switch::start(&lab, Setup::new(&lab, 1));
        for network in ["one", "two", "three"] {
            switch.cli().ok(&["network", "add", network]);
        }
        let status: NodeStatus = switch.cli().get(&["status"]);
        let file = status.store.unwrap().path;
        // A start keeps a copy at once; while the daemon runs, a copy is at most some seconds behind.
        switch.terminate();
        switch.start_again();
        switch.kill();
        // What the log of changes holds would mend the file before anyone sees the damage.
        for tail in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{file}{tail}"));
        }
        damage(Path::new(&file));

        switch.start_again();
        let status: NodeStatus = switch.cli().get(&["status"]);
        let store = status.store.unwrap();
        assert!(store.recovered, "{name}: {store:?}");
        assert!(
            !store.note.is_empty() && !status.warnings.is_empty(),
            "{name}: said loudly: {:?}",
            status.warnings
        );
        let text = switch.cli().ok(&["status"]);
        assert!(text.contains(&store.note), "{name}: people see it too: {text}");
        let networks: NetworkListResponse = switch.cli().get(&["network", "list"]);
        assert_eq!(networks.networks.len(), 3, "{name}: {networks:?}");
        // And it works again.
        switch.cli().ok(&["network", "add", "four"]);
        switch.terminate();
        switch.start_again();
        let again: NetworkListResponse = switch.cli().get(&["network", "list"]);
        assert_eq!(again.networks.len(), 4, "{name}");
    }
}
