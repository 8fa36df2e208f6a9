use std::path::Path;
use std::sync::Arc;

use dataplane::report::PortState;
use proto::v1::port_spec::Device;

use super::fake::{Fake, options};
use super::*;
use crate::error::Error;

pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) fake: Arc<Fake>,
    pub(super) switch: Switch,
}

fn switch(directory: &Path, fake: &Arc<Fake>) -> Switch {
    Switch::new(Arc::clone(fake) as Arc<dyn Datapath>, options(), Store::open(directory))
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::default());
        let switch = switch(directory.path(), &fake);
        switch.add_network(Some(v1::NetworkSpec { name: "blue".into(), ..Default::default() })).unwrap();
        fake.calls();
        Self { directory, fake, switch }
    }

    /// The daemon dies without a word and another starts on the same directory.
    pub(super) fn restart(self, refuse: bool) -> Self {
        let Self { directory, switch: old, .. } = self;
        drop(old);
        let fake = Arc::new(Fake::default());
        fake.refuse(refuse);
        let switch = switch(directory.path(), &fake);
        Self { directory, fake, switch }
    }

    fn add(&self, spec: &v1::PortSpec) -> Result<v1::Port, Error> {
        self.switch.add_port(Some(spec.clone()))
    }
}

pub(super) fn vhost(name: &str) -> v1::PortSpec {
    let vhost = v1::VhostUser { path: format!("/run/{name}.sock"), ..v1::VhostUser::default() };
    v1::PortSpec {
        name: name.into(),
        network: "blue".into(),
        device: Some(Device::VhostUser(vhost)),
        ..v1::PortSpec::default()
    }
}

fn dpdk(name: &str, devargs: &str) -> v1::PortSpec {
    let device = Some(Device::Dpdk(v1::DpdkDevice { devargs: devargs.into() }));
    v1::PortSpec { device, ..vhost(name) }
}

fn set(name: &str) -> v1::PortSetRequest {
    v1::PortSetRequest { name: name.into(), ..v1::PortSetRequest::default() }
}

#[test]
fn the_same_request_twice_is_the_same_answer() {
    let bench = Bench::new();
    let first = bench.add(&vhost("a")).unwrap();
    assert_eq!(bench.add(&vhost("a")).unwrap(), first);
    assert_eq!(bench.fake.calls(), ["add port a"]);
    let other = v1::PortSpec { mtu: 1500, ..vhost("a") };
    let Err(Error::Differs { field, has, asked, .. }) = bench.add(&other) else { panic!("it differs") };
    assert_eq!((field.as_str(), has.as_str(), asked.as_str()), ("mtu", "0", "1500"));
    bench.switch.delete_port("a").unwrap();
    bench.switch.delete_port("a").unwrap();
    bench.switch.delete_network("blue").unwrap();
    bench.switch.delete_network("blue").unwrap();
    assert_eq!(bench.fake.calls(), ["remove port a", "remove network blue"]);
}

#[test]
fn a_port_that_a_hanging_worker_holds_goes_when_it_lets_go() {
    let bench = Bench::new();
    bench.add(&vhost("a")).unwrap();
    bench.fake.hang(true);
    bench.switch.delete_port("a").unwrap();
    bench.switch.maintain();
    assert_eq!(bench.fake.ports().len(), 1, "it is still held");
    bench.fake.hang(false);
    bench.switch.maintain();
    assert!(bench.fake.ports().is_empty());
    bench.fake.calls();
    bench.switch.maintain();
    assert!(bench.fake.calls().is_empty(), "once is enough");
}

#[test]
fn everything_comes_back_after_a_crash() {
    let bench = Bench::new();
    bench.add(&vhost("a")).unwrap();
    bench.add(&v1::PortSpec { mac: "02:00:00:00:00:01".into(), ..vhost("b") }).unwrap();
    bench.switch.set_port(&v1::PortSetRequest { mtu: Some(9000), ..set("a") }).unwrap();
    bench.switch.add_network(Some(v1::NetworkSpec { name: "red".into(), ..Default::default() })).unwrap();
    bench.add(&vhost("c")).unwrap();
    bench.switch.delete_port("c").unwrap();
    let wanted: Vec<_> = bench.switch.ports("").unwrap().into_iter().map(|port| port.spec).collect();
    let bench = bench.restart(false);
    assert_eq!(bench.fake.calls(), ["add network blue", "add network red", "add port a", "add port b"]);
    let back: Vec<_> = bench.switch.ports("").unwrap().into_iter().map(|port| port.spec).collect();
    assert_eq!(back, wanted);
    assert_eq!(bench.fake.ports()[0].settings.mtu, Some(9000));
    assert_eq!(bench.fake.ports()[0].settings.mem_limit, 1 << 30);
}

#[test]
fn what_the_dataplane_refuses_is_not_stored() {
    let bench = Bench::new();
    bench.fake.refuse(true);
    assert!(matches!(bench.add(&vhost("a")), Err(Error::Port(_))));
    bench.fake.refuse(false);
    bench.add(&vhost("b")).unwrap();
    bench.fake.refuse(true);
    let request = v1::PortSetRequest { mtu: Some(1400), ..set("b") };
    assert!(matches!(bench.switch.set_port(&request), Err(Error::Port(_))));
    let bench = bench.restart(false);
    let names: Vec<_> = bench.fake.ports().into_iter().map(|port| (port.name, port.settings.mtu)).collect();
    assert_eq!(names, [("b".to_owned(), None)]);
}

#[test]
fn what_cannot_be_applied_after_a_restart_waits_and_is_tried_again() {
    let bench = Bench::new();
    bench.add(&dpdk("nic", "0000:01:00.0")).unwrap();
    let bench = bench.restart(true);
    let status = bench.switch.port("nic").unwrap().status.unwrap();
    assert_eq!(status.state(), v1::PortState::Waiting);
    assert!(status.reason.contains("no such device"), "{status:?}");
    assert!(status.hint.contains("tried again"), "{status:?}");
    assert!(bench.switch.status().warnings.iter().any(|line| line.contains("port nic")));
    // It can be changed meanwhile, and the change is what is applied in the end.
    bench.switch.set_port(&v1::PortSetRequest { trusted: Some(true), ..set("nic") }).unwrap();
    bench.switch.maintain();
    assert!(bench.fake.ports().is_empty());
    bench.fake.refuse(false);
    bench.switch.maintain();
    assert!(bench.fake.ports()[0].settings.trusted);
    assert_eq!(bench.switch.port("nic").unwrap().status.unwrap().state(), v1::PortState::Running);
    bench.fake.calls();
    bench.switch.maintain();
    assert!(bench.fake.calls().is_empty(), "what is applied is left alone");
}

#[test]
fn what_others_have_is_refused() {
    let bench = Bench::new();
    let mac = v1::PortSpec { mac: "02:00:00:00:00:01".into(), ..vhost("a") };
    bench.add(&mac).unwrap();
    assert!(matches!(
        bench.add(&v1::PortSpec { name: "b".into(), ..mac.clone() }),
        Err(Error::MacTaken { .. })
    ));
    let Some(Device::VhostUser(path)) = vhost("a").device else { panic!("a vhost-user port") };
    let same_path = v1::PortSpec { device: Some(Device::VhostUser(path)), ..vhost("b") };
    assert!(matches!(bench.add(&same_path), Err(Error::PathTaken { .. })));
    let own = v1::VhostUser { path: "/run/podswitch/api.sock".into(), ..v1::VhostUser::default() };
    let own = v1::PortSpec { device: Some(Device::VhostUser(own)), ..vhost("b") };
    assert!(matches!(bench.add(&own), Err(Error::PathTaken { .. })));
    bench.add(&dpdk("d", "net_null0,size=64")).unwrap();
    assert!(matches!(bench.add(&dpdk("e", "net_null0")), Err(Error::DeviceTaken { .. })));
    let nowhere = v1::PortSpec { network: "none".into(), ..vhost("b") };
    assert!(matches!(bench.add(&nowhere), Err(Error::UnknownNetwork(_))));
    let worker = v1::PortSpec { workers: "0-1".into(), ..vhost("b") };
    assert!(matches!(bench.add(&worker), Err(Error::NoSuchWorker { .. })));
    let Err(Error::NotEmpty { ports, .. }) = bench.switch.delete_network("blue") else {
        panic!("it has ports")
    };
    assert_eq!(ports, "the ports a, d");
    // The same address in another network is another matter.
    bench.switch.add_network(Some(v1::NetworkSpec { name: "red".into(), ..Default::default() })).unwrap();
    bench.add(&v1::PortSpec { network: "red".into(), mac: mac.mac, ..vhost("r") }).unwrap();
    // And a port does not stand in its own way.
    bench.switch.set_port(&v1::PortSetRequest { mtu: Some(1500), ..set("a") }).unwrap();
}

#[test]
fn a_set_changes_what_it_names_alone() {
    let bench = Bench::new();
    let spec = v1::PortSpec {
        mac: "02:00:00:00:00:01".into(),
        ips: vec!["10.0.0.1/24".into()],
        mtu: 1500,
        ..vhost("a")
    };
    bench.add(&spec).unwrap();
    let request = v1::PortSetRequest {
        mac: Some(String::new()),
        ips: Some(v1::Strings { values: vec!["10.0.0.9/24".into()] }),
        workers: Some("1".into()),
        mem_limit: Some(1 << 20),
        admin_down: Some(true),
        ..set("a")
    };
    let port = bench.switch.set_port(&request).unwrap().spec.unwrap();
    assert_eq!((port.mac.as_str(), port.mtu, port.workers.as_str()), ("", 1500, "1"));
    assert_eq!(port.ips, ["10.0.0.9/24"]);
    let applied = &bench.fake.ports()[0].settings;
    assert_eq!((applied.mac, applied.mem_limit, applied.admin_up), (None, 1 << 20, false));
    bench.fake.calls();
    bench.switch.set_port(&request).unwrap();
    assert!(bench.fake.calls().is_empty(), "nothing changed, nothing is touched");
    assert!(matches!(bench.switch.set_port(&set("z")), Err(Error::NoPort(_))));
    bench.fake.set_guest_memory(4096);
    let less = v1::PortSetRequest { mem_limit: Some(100), ..set("a") };
    let refused = bench.switch.set_port(&less).unwrap_err();
    assert!(matches!(refused, Error::GuestMemory { shared: 4096, limit: 100 }));
    bench.add(&dpdk("d", "net_null0")).unwrap();
    let limit = v1::PortSetRequest { mem_limit: Some(100), ..set("d") };
    assert!(matches!(bench.switch.set_port(&limit), Err(Error::NotVhostUser(_))));
}

#[test]
fn the_hint_says_why_no_traffic_flows() {
    let bench = Bench::new();
    bench.add(&vhost("a")).unwrap();
    let hint = |name: &str| bench.switch.port(name).unwrap().status.unwrap().hint;
    assert_eq!(hint("a"), "no other port of the network blue is running");
    bench.add(&vhost("b")).unwrap();
    assert_eq!(hint("a"), "");
    bench.fake.set_state("b", PortState::Waiting);
    assert!(hint("a").contains("no other port"));
    assert!(hint("b").contains("has not created the socket /run/b.sock"), "{}", hint("b"));
    let listed: Vec<_> = bench.switch.ports("blue").unwrap();
    let listed: Vec<_> = listed.into_iter().map(|port| port.status.unwrap().hint).collect();
    assert_eq!(listed, [hint("a"), hint("b")]);
    bench.switch.set_port(&v1::PortSetRequest { admin_down: Some(true), ..set("a") }).unwrap();
    assert!(hint("a").contains("--admin up"));
}

#[test]
fn counters_and_tables_name_ports() {
    let bench = Bench::new();
    bench.add(&v1::PortSpec { mac: "02:00:00:00:00:01".into(), ..vhost("a") }).unwrap();
    let stats = bench.switch.port_stats("").unwrap();
    assert_eq!((stats[0].rx_frames, stats[0].tx_bytes, stats[0].dropped), (20, 896, 3));
    assert_eq!(bench.switch.drops("a").unwrap()[0].reason, "mac_spoofed");
    assert!(matches!(bench.switch.drops("z"), Err(Error::NoPort(_))));
    let workers = bench.switch.worker_stats();
    assert_eq!((workers.workers[0].queues[0].as_str(), workers.workers[0].longest_turn_ns), ("a/0", 1000));
    let fdb = bench.switch.fdb("blue").unwrap();
    assert_eq!((fdb[0].port.as_str(), fdb[0].kind.as_str()), ("a", "declared"));
    assert!(matches!(bench.switch.fdb("z"), Err(Error::NoNetwork(_))));
    let status = bench.switch.status();
    assert_eq!((status.networks, status.ports, status.ports_running), (1, 1, 1));
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    assert!(status.memory.unwrap().private_bytes > 0);
}

#[test]
fn a_disk_that_refuses_changes_nothing() {
    let bench = Bench::new();
    bench.add(&vhost("a")).unwrap();
    bench.fake.calls();
    // The directory is gone: nothing can be written there, by root neither.
    std::fs::rename(bench.directory.path(), bench.directory.path().with_extension("away")).unwrap();
    assert!(matches!(bench.add(&vhost("b")), Err(Error::Store(_))));
    assert!(matches!(bench.switch.delete_port("a"), Err(Error::Store(_))));
    let request = v1::PortSetRequest { mtu: Some(1400), ..set("a") };
    assert!(matches!(bench.switch.set_port(&request), Err(Error::Store(_))));
    assert!(bench.fake.calls().is_empty());
    assert_eq!(bench.switch.ports("").unwrap().len(), 1);
    assert!(bench.switch.status().warnings.iter().any(|line| line.contains("cannot be written")));
    std::fs::rename(bench.directory.path().with_extension("away"), bench.directory.path()).unwrap();
    bench.add(&vhost("b")).unwrap();
    assert!(bench.switch.status().warnings.is_empty());
}

#[test]
fn many_clients_at_once() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let switch = &bench.switch;
            scope.spawn(move || {
                for round in 0..10 {
                    let name = format!("p{}", (client + round) % 4);
                    switch.add_port(Some(vhost(&name))).unwrap();
                    switch.delete_port(&name).unwrap();
                }
            });
        }
    });
    assert!(bench.switch.ports("").unwrap().is_empty());
    assert!(bench.fake.ports().is_empty());
}
