//! What a pod leaves in the one directory that it may write to.

use std::path::Path;

use serde_json::json;

use crate::bed::Bed;
use crate::support::sandbox::{Container, Sandbox};
use crate::support::wait;

const SOCKETS: &str = "/run/podswitch/sockets/n0-0000";

/// A pod puts links where the socket should be, to a file that only root may touch and to one that is not there, and a
/// link to a directory beside it. Another pod gets the device next.
#[test]
fn links_lead_nowhere() {
    let Some(bed) = Bed::open() else { return };
    bed.network("blue", &[]);
    bed.node.add_device("n0-0000");
    let precious = bed.lab.path("precious");
    std::fs::create_dir(&precious).unwrap();
    let (file, absent) = (precious.join("file"), precious.join("absent"));
    std::fs::write(&file, "precious").unwrap();
    let (old, new) = (Sandbox::new("shop", "evil"), Sandbox::new("bank", "good"));
    for (mode, target) in [("server", &file), ("client", &absent), ("client", &file), ("server", &absent)] {
        let mut config = bed.config("blue", "n0-0000");
        config["mode"] = mode.into();
        let first = bed.node.add(&old, "net1", &config);
        let container = Container::new(&bed.node, &old, &["n0-0000"]);
        plant(&container, target, &precious);
        // The same call again, as a runtime does that did not hear the answer.
        assert_eq!(bed.node.add(&old, "net1", &config), first);
        plant(&container, target, &precious);
        bed.node.del(&old, "net1", &config);
        assert_eq!(bed.node.left_behind(), Vec::<std::path::PathBuf>::new());

        // Again, and this time its owner vanishes without a deletion being heard of: the next owner finds nothing.
        bed.node.add(&old, "net1", &config);
        plant(&container, target, &precious);
        bed.node.del(&old, "net1", &config);
        plant(&container, target, &precious);
        config["mode"] = "client".into();
        bed.node.add(&new, "net1", &config);
        let seen = Container::new(&bed.node, &new, &["n0-0000"]);
        wait::until("the switch's socket alone", || {
            let names = seen.run(&["find", SOCKETS, "-mindepth", "1", "-printf", "%P %y\n"]);
            (names.stdout == b"vhost.sock s\n").then_some(())
        });
        bed.node.del(&new, "net1", &config);
        bed.nothing_left();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(&precious).unwrap().count(), 1, "something was made through a link");
    }
}

fn plant(container: &Container, target: &Path, directory: &Path) {
    let script = "cd $0; rm -f vhost.sock; ln -s $1 vhost.sock; ln -sfn $2 way; mkdir -p deep/er; ln -sfn $2 deep/er/way";
    let (target, directory) = (target.display().to_string(), directory.display().to_string());
    container.ok(&["sh", "-ec", script, SOCKETS, &target, &directory]);
}

/// A pod uses up its directory, bytes and names; nobody else notices, and its successor starts with an empty one.
#[test]
fn a_full_directory_is_its_owners_trouble() {
    let Some(bed) = Bed::open() else { return };
    bed.network("blue", &[]);
    bed.node.add_device("n0-0000");
    bed.node.add_device("n0-0001");
    let (evil, good) = (Sandbox::new("shop", "evil"), Sandbox::new("bank", "good"));
    for mode in ["server", "client"] {
        let mut config = bed.config("blue", "n0-0000");
        config["mode"] = mode.into();
        let result = bed.node.add(&evil, "net1", &config);
        let mut container = Container::new(&bed.node, &evil, &["n0-0000"]);
        container.umask = "077";
        let fill = "cd $0; mkdir -p a/b; n=0; while : >a/b/$n; do n=$((n+1)); done; \
                    cat /dev/zero >a/b/0; chmod 0 a/b a; :";
        let filled = container.run(&["sh", "-c", fill, SOCKETS]);
        assert!(String::from_utf8_lossy(&filled.stderr).contains("No space"), "{filled:?}");
        // Another's socket has room, and the facts of the full one's owner, which it cannot touch, are whole.
        let mut other = bed.config("blue", "n0-0001");
        other["mode"] = "client".into();
        bed.node.add(&good, "net1", &other);
        bed.node.del(&good, "net1", &other);
        assert_eq!(bed.node.add(&evil, "net1", &config), result);
        let facts = container.ok(&["/run/podswitch/bin/podswitch-port", "net1", "--format", "json"]);
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        assert_eq!(facts["mac"], result["interfaces"][0]["mac"]);
        bed.node.del(&evil, "net1", &config);
        bed.nothing_left();

        config["mode"] = json!("client");
        bed.node.add(&good, "net1", &config);
        let seen = Container::new(&bed.node, &good, &["n0-0000"]);
        wait::until("the switch's socket", || {
            seen.run(&["test", "-S", &format!("{SOCKETS}/vhost.sock")]).status.success().then_some(())
        });
        bed.node.del(&good, "net1", &config);
        bed.nothing_left();
    }
}
