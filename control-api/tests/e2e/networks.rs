//! Who may attach to a network, and with what: said on the command line, changed in place, kept.

use proto::v1::{Network, NetworkSpec};

use crate::support::lab::Lab;
use crate::support::switch::{Setup, Switch};

fn shown(switch: &Switch, name: &str) -> NetworkSpec {
    let network: Network = switch.cli().get(&["network", "show", name]);
    network.spec.unwrap()
}

#[test]
fn a_policy_is_added_changed_and_kept() {
    let Some(lab) = Lab::open() else { return };
    let mut switch = Switch::start(&lab, Setup::new(&lab, 1));
    let cli = switch.cli();
    let add =
        ["network", "add", "red", "--namespace", "team-b", "--namespace", "team-a", "--range", "10.0.0.0/16"];
    let add = [&add[..], &["--max-queues", "2", "--max-mtu", "1500", "--max-memory", "1G", "--allow-source"]]
        .concat();
    cli.ok(&add);
    cli.ok(&add);
    let mut wanted = NetworkSpec {
        name: "red".into(),
        namespaces: vec!["team-a".into(), "team-b".into()],
        ranges: vec!["10.0.0.0/16".into()],
        most_queues: 2,
        most_mtu: 1500,
        most_memory: 1 << 30,
        allow_trusted: false,
        allow_source: true,
        without_device: false,
    };
    assert_eq!(shown(&switch, "red"), wanted);
    // With another policy, or none, it is another network: nothing is opened or closed in passing.
    cli.refused(&["network", "add", "red"], &["network \"red\"", "podswitch network set red"]);
    cli.refused(&[&add[..], &["--without-device"]].concat(), &["without_device", "network set"]);

    let change =
        ["network", "set", "red", "--namespace", "none", "--max-mtu", "none", "--allow-source", "off"];
    cli.ok(
        &[&change[..], &["--range", "fd00::/64", "--range", "10.1.0.0/16", "--allow-trusted", "on"]].concat()
    );
    wanted.namespaces.clear();
    wanted.ranges = vec!["10.1.0.0/16".into(), "fd00::/64".into()];
    (wanted.most_mtu, wanted.allow_source, wanted.allow_trusted) = (0, false, true);
    assert_eq!(shown(&switch, "red"), wanted);
    let listed = cli.ok(&["network", "list"]);
    assert!(listed.contains("10.1.0.0/16, fd00::/64") && listed.contains("2 queues, 1G"), "{listed}");

    switch.kill();
    switch.start_again();
    assert_eq!(shown(&switch, "red"), wanted);

    // As a list of networks is followed: what a line no longer says is no longer so.
    switch.cli().ok(&["network", "add", "red", "--namespace", "team-c", "--replace"]);
    let only =
        NetworkSpec { name: "red".into(), namespaces: vec!["team-c".into()], ..NetworkSpec::default() };
    assert_eq!(shown(&switch, "red"), only);
}

#[test]
fn a_policy_that_cannot_be_is_refused_with_what_to_do() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let cli = switch.cli();
    cli.ok(&["network", "add", "net"]);
    let before = shown(&switch, "net");
    let refusals: [(&[&str], &[&str]); 7] = [
        (&["--namespace", "Team_A"], &["namespaces: ", "Team_A", "a-z0-9-"]),
        (&["--namespace", ""], &["namespaces: "]),
        (&["--range", "10.0.0.1/24"], &["ranges: ", "write 10.0.0.0/24"]),
        (&["--range", "10.0.0"], &["ranges: ", "10.0.0", "fd00::/64"]),
        (&["--max-queues", "17"], &["most_queues: ", "use 1 to 16"]),
        (&["--max-mtu", "67"], &["most_mtu: ", "68 to 65521"]),
        (&["--max-memory", "1K"], &["most_memory: ", "1024", "1048576"]),
    ];
    for (words, said) in refusals {
        cli.refused(&[&["network", "add", "other"], words].concat(), said);
        cli.refused(&[&["network", "set", "net"], words].concat(), said);
    }
    cli.refused(&["network", "set", "nowhere", "--max-mtu", "1500"], &["name: ", "nowhere", "network list"]);
    cli.refused(&["network", "show", "other"], &["other"]);
    assert_eq!(shown(&switch, "net"), before, "what was refused has changed nothing");
}
