//! Bad input: every refusal has its exit status and one line on standard error that names the field and the remedy.

use tonic_types::StatusExt as _;

use proto::v1::{PortAddRequest, PortSpec as Wanted, SocketMode, VhostUser, port_spec::Device};

use crate::support::cli::refusal;
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::rpc::Rpc;
use crate::support::switch::{Setup, Switch, refused_start};
use crate::support::wait;

#[test]
fn requests() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let cli = switch.cli();
    cli.ok(&["network", "add", "net"]);
    let socket = lab.path("a.sock").display().to_string();
    let port = |name: &'static str, more: &[&'static str]| {
        [&["port", "add", name, "--network", "net", "--vhost-user", "/tmp/psw-never.sock"], more].concat()
    };
    let first =
        ["port", "add", "a", "--network", "net", "--vhost-user", &socket, "--mac", "02:00:00:00:00:01"];
    cli.ok(&first);

    let long = format!("/tmp/{}", "x".repeat(103));
    assert_eq!(long.len(), 108);
    cli.refused(&["port", "add", "b", "--network", "net", "--vhost-user", &long], &["path", "107"]);
    cli.ok(&["port", "add", "b", "--network", "net", "--vhost-user", &long[..107]]);
    cli.ok(&["port", "del", "b"]);
    cli.refused(
        &["port", "add", "b", "--network", "net", "--vhost-user", "relative.sock"],
        &["path", "absolute"],
    );

    for name in ["Upper", "under_score", "sl/ash", "", "-edge", "edge-", "a b", &"x".repeat(64)] {
        cli.refused(&["network", "add", "--", name], &["name", "a-z0-9.-"]);
    }
    cli.refused(&port("Bad_Name", &[]), &["name", "a-z0-9.-"]);
    cli.refused(&port("b", &["--mac", "02:00:00:00:00:01"]), &["mac", "\"a\""]);
    cli.refused(&port("b", &["--mac", "03:00:00:00:00:01"]), &["mac", "03:00:00:00:00:01"]);
    cli.refused(&port("b", &["--mac", "00:00:00:00:00:00"]), &["mac"]);
    cli.refused(&port("b", &["--mac", "no mac"]), &["mac", "no mac"]);
    cli.refused(&port("b", &["--ip", "10.0.0.1/33"]), &["ip", "10.0.0.1/33"]);
    cli.refused(&port("b", &["--ip", "10.0.0"]), &["ip", "10.0.0"]);
    cli.refused(&port("b", &["--allow-source", "10.0.0.0/33"]), &["allow", "10.0.0.0/33"]);
    cli.refused(&port("b", &["--queues", "17"]), &["queues", "16"]);
    cli.refused(&port("b", &["--mtu", "67"]), &["mtu", "68"]);
    cli.refused(&port("b", &["--features-off", "nonsense"]), &["features", "nonsense"]);
    cli.refused(
        &["port", "add", "b", "--network", "none", "--vhost-user", "/tmp/psw-b.sock"],
        &["network", "none"],
    );
    cli.refused(&["port", "add", "b", "--network", "net", "--dpdk", "net_nonsense0"], &["net_nonsense0"]);
    cli.refused(&["port", "add", "b", "--network", "net", "--dpdk", "0000:ff:1f.7"], &["0000:ff:1f.7"]);
    cli.refused(&["port", "show", "nobody"], &["nobody"]);
    cli.refused(&["port", "set", "nobody", "--mtu", "1500"], &["nobody"]);
    cli.refused(&["network", "show", "none"], &["none"]);
    cli.refused(&["network", "del", "net"], &["port"]);
    cli.refused(&["port", "set", "a", "--workers", "999"], &["workers", "999"]);
    cli.refused(&["port", "set", "a", "--mac", "ff:ff:ff:ff:ff:ff"], &["mac"]);

    // The same again is success; with another content the difference is named.
    cli.ok(&first);
    let other =
        ["port", "add", "a", "--network", "net", "--vhost-user", &socket, "--mac", "02:00:00:00:00:02"];
    cli.refused(&other, &["mac", "02:00:00:00:00:01", "02:00:00:00:00:02"]);
    cli.ok(&["network", "add", "net"]);
    cli.ok(&["port", "del", "nobody"]);
    cli.ok(&["network", "del", "nothing"]);
    assert_eq!(switch.all_stats().len(), 1, "a refused port has left something behind");
}

#[test]
fn wrong_usage_is_status_2() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let usage: [&[&str]; 5] = [
        &["prot", "list"],
        &["port", "add", "a"],
        &["port", "list", "--colour"],
        &["-o", "yaml", "status"],
        &[],
    ];
    for words in usage {
        let outcome = switch.cli().run(words);
        assert_eq!(outcome.status, 2, "{words:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty());
    }
}

#[test]
fn no_daemon_is_one_line() {
    let Some(lab) = Lab::open() else { return };
    let nobody = crate::support::cli::Cli::new(&lab.path("nobody.sock"));
    nobody.refused(&["status"], &["nobody.sock"]);
}

#[test]
fn refusals_carry_details_for_programs() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let rpc = Rpc::connect(&switch.api());
    let device =
        VhostUser { path: "/tmp/psw-x.sock".into(), mode: SocketMode::Server.into(), ..VhostUser::default() };
    let spec = Wanted {
        name: "a".into(),
        network: "net".into(),
        device: Some(Device::VhostUser(device)),
        mac: "01:00:5e:00:00:01".into(),
        ..Wanted::default()
    };
    let status = rpc.wait(rpc.ports().add(PortAddRequest { spec: Some(spec) })).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let fields = status.get_details_bad_request().expect("details").field_violations;
    assert_eq!(fields.len(), 1);
    assert!(fields[0].field.contains("mac"), "{fields:?}");
    assert!(!fields[0].description.is_empty());
}

#[test]
fn a_dpdk_port_that_does_not_fit_is_refused_with_figures() {
    let Some(lab) = Lab::open() else { return };
    let mut setup = Setup::new(&lab, 1);
    setup.config = "[dpdk]\nmemory = 16\n".into();
    let switch = Switch::start(&lab, setup);
    switch.cli().ok(&["network", "add", "net"]);
    let line = switch.cli().refused(
        &["port", "add", "n", "--network", "net", "--dpdk", "net_null0", "--queues", "16", "--trusted"],
        &["dpdk.memory"],
    );
    assert!(line.chars().filter(char::is_ascii_digit).count() >= 2, "no figures: {line}");
}

#[test]
fn memory_over_the_limit_is_a_fault_with_both_figures() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let spec = PodSpec::new(&lab, "a", 1, Behind::Sink);
    switch.plug(&spec, "net", &["--mem-limit", "4M"]);
    let mut pod = Pod::launch(&spec);
    let status = wait::until("the port to refuse the pod's memory", || {
        let status = switch.port("a").status?;
        (status.reason.contains("limit") || status.hint.contains("limit")).then_some(status)
    });
    let said = format!("{} {}", status.reason, status.hint);
    assert!(said.contains('4'), "the limit is named: {said}");
    // The hint is the last line that a person sees.
    let shown = switch.cli().ok(&["port", "show", "a"]);
    assert!(shown.lines().next_back().is_some_and(|line| line.contains("limit")), "{shown}");
    // It can be raised in place; the application was refused and asks again when it starts again.
    switch.cli().ok(&["port", "set", "a", "--mem-limit", "1G"]);
    pod.kill();
    let _pod = Pod::launch(&spec);
    switch.wait_running("a");
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let api = format!("unix:{}", switch.api().display());
    let state = switch.state().display().to_string();
    let cpu = lab.cpu(0).to_string();
    let other_api = format!("unix:{}", lab.path("other.sock").display());
    let other_state = lab.path("other").display().to_string();
    let start = |api: &str, state: &str, workers: &str, words: &[&str]| {
        let arguments = ["--api", api, "--state", state, "--workers", workers, "--no-huge"];
        let outcome = refused_start(&arguments);
        refusal(&format!("{arguments:?}"), &outcome, 1, words)
    };
    start(&api, &other_state, &cpu, &["api.sock"]);
    start(&other_api, &state, &cpu, &["state"]);
    start("unix:/tmp/psw-missing-directory/api.sock", &other_state, &cpu, &["psw-missing-directory"]);
    start("tcp:1.2.3.4:5", &other_state, &cpu, &["unix:"]);
    let both_sets = start(&other_api, &other_state, "4095", &["4095"]);
    assert!(both_sets.contains(&cpu), "the set that may be used is named: {both_sets}");
    assert_eq!(switch.cli().run(&["status"]).status, 0, "the first daemon was disturbed");

    let config = lab.path("wrong.toml");
    for (text, word) in
        [("[workers]\ncolour = 1\n", "colour"), ("[[", "wrong.toml"), ("[workers]\ncpus = \"x\"\n", "cpus")]
    {
        std::fs::write(&config, text).unwrap();
        let path = config.display().to_string();
        let outcome = refused_start(&["--config", &path, "--api", &other_api, "--state", &other_state]);
        refusal(text, &outcome, 1, &[word]);
    }
}
