use proto::v1;

use crate::error::Error;
use crate::switch::tests::{Bench, vhost};

fn tight() -> v1::NetworkSpec {
    v1::NetworkSpec {
        name: "red".into(),
        namespaces: vec!["team-b".into(), "team-a".into(), "team-b".into()],
        ranges: vec!["10.0.0.0/16".into()],
        most_queues: 2,
        most_mtu: 1500,
        most_memory: 1 << 30,
        allow_trusted: false,
        allow_source: true,
        without_device: false,
    }
}

fn set(name: &str) -> v1::NetworkSetRequest {
    v1::NetworkSetRequest { name: name.into(), ..v1::NetworkSetRequest::default() }
}

fn strings(words: &[&str]) -> Option<v1::Strings> {
    Some(v1::Strings { values: words.iter().map(|&word| word.to_owned()).collect() })
}

#[test]
fn the_same_network_twice_is_the_same_answer() {
    let bench = Bench::new();
    let first = bench.switch.add_network(Some(tight())).unwrap();
    assert_eq!(first.spec.as_ref().unwrap().namespaces, ["team-a", "team-b"]);
    let sorted = v1::NetworkSpec { namespaces: vec!["team-a".into(), "team-b".into()], ..tight() };
    assert_eq!(bench.switch.add_network(Some(sorted)).unwrap(), first);
    assert_eq!(bench.fake.calls(), ["add network red"]);
    let other = v1::NetworkSpec { most_mtu: 9000, ..tight() };
    let Err(Error::Differs { kind, name, field, has, asked }) = bench.switch.add_network(Some(other)) else {
        panic!("it differs")
    };
    assert_eq!((kind, name.as_str()), ("network", "red"));
    assert_eq!((field.as_str(), has.as_str(), asked.as_str()), ("most_mtu", "1500", "9000"));
    // Without a policy it is another network too: an old script must not open what was closed, nor close it.
    let bare = v1::NetworkSpec { name: "red".into(), ..Default::default() };
    let refused = bench.switch.add_network(Some(bare)).unwrap_err();
    assert!(refused.line().contains("podswitch network set red"), "{}", refused.line());
    assert_eq!(bench.switch.network("red").unwrap(), first);
}

#[test]
fn a_set_changes_what_it_names_alone() {
    let bench = Bench::new();
    bench.switch.add_network(Some(tight())).unwrap();
    bench.switch.add_port(Some(v1::PortSpec { network: "red".into(), ..vhost("a") })).unwrap();
    bench.fake.calls();
    let request = v1::NetworkSetRequest {
        namespaces: strings(&["team-c"]),
        ranges: strings(&[]),
        most_queues: Some(0),
        allow_trusted: Some(true),
        allow_source: Some(false),
        ..set("red")
    };
    let network = bench.switch.set_network(request.clone()).unwrap();
    let wanted = v1::NetworkSpec {
        namespaces: vec!["team-c".into()],
        ranges: vec![],
        most_queues: 0,
        allow_trusted: true,
        allow_source: false,
        ..tight()
    };
    assert_eq!(network.spec.as_ref(), Some(&wanted));
    assert_eq!(network.ports, ["a"], "what is attached stays");
    assert!(bench.fake.calls().is_empty(), "the dataplane does not know of policies");
    let generation = bench.switch.status().store.unwrap().generation;
    bench.switch.set_network(request).unwrap();
    bench.switch.set_network(set("red")).unwrap();
    assert_eq!(bench.switch.status().store.unwrap().generation, generation, "nothing changed");
    assert!(matches!(bench.switch.set_network(set("green")), Err(Error::NoNetwork(_))));
    let bad = v1::NetworkSetRequest { most_queues: Some(17), ..set("red") };
    assert!(matches!(bench.switch.set_network(bad), Err(Error::Invalid(e)) if e.field == "most_queues"));
    assert_eq!(bench.switch.network("red").unwrap().spec, Some(wanted));
}

#[test]
fn policies_come_back_after_a_crash() {
    let bench = Bench::new();
    bench.switch.add_network(Some(tight())).unwrap();
    bench.switch.set_network(v1::NetworkSetRequest { most_mtu: Some(9000), ..set("red") }).unwrap();
    let wanted: Vec<_> = bench.switch.networks().into_iter().map(|network| network.spec).collect();
    assert_eq!(wanted.len(), 2);
    let bench = bench.restart(false);
    let back: Vec<_> = bench.switch.networks().into_iter().map(|network| network.spec).collect();
    assert_eq!(back, wanted);
    assert_eq!(back[1].as_ref().unwrap().most_mtu, 9000);
}

#[test]
fn a_disk_that_refuses_changes_no_policy() {
    let bench = Bench::new();
    bench.switch.add_network(Some(tight())).unwrap();
    let before = bench.switch.network("red").unwrap();
    std::fs::rename(bench.directory.path(), bench.directory.path().with_extension("away")).unwrap();
    let request = v1::NetworkSetRequest { namespaces: strings(&["*"]), ..set("red") };
    assert!(matches!(bench.switch.set_network(request), Err(Error::Store(_))));
    std::fs::rename(bench.directory.path().with_extension("away"), bench.directory.path()).unwrap();
    assert_eq!(bench.switch.network("red").unwrap(), before);
}
