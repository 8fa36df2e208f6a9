//! What a person and a program can see: tables, metrics, health, reflection, completions.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::cli::binary;
use crate::support::frame::{Stream, mac};
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Pod, PodSpec};
use crate::support::rpc::Rpc;
use crate::support::switch::{Setup, Switch};

fn scrape(mut stream: impl std::io::Read + std::io::Write) -> String {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

#[test]
fn metrics_count_what_the_pods_sent() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let a = PodSpec::new(&lab, "a", 1, Behind::Captures);
    switch.plug(&a, "net", &["--mac", &a.mac]);
    let mut pod = Pod::launch(&a);
    pod.ready();
    switch.wait_running("a");
    pod.send(&Stream { source: mac(9), ..Stream::between(1, 2) }.frames(7, 100));
    switch.settle();

    let text = scrape(UnixStream::connect(lab.path("metrics.sock")).unwrap());
    let of_a: Vec<&str> =
        text.lines().filter(|line| line.contains("port=\"a\"") && line.contains("network=\"net\"")).collect();
    assert!(of_a.iter().any(|line| line.contains("rx_frames") && line.ends_with(" 7")), "{text}");
    let drop = of_a.iter().find(|line| line.contains("mac_spoofed"));
    assert!(drop.is_some_and(|line| line.ends_with(" 7")), "{text}");
    assert!(of_a.iter().any(|line| line.contains("owner=")), "{text}");
    assert!(
        text.contains("# HELP") && text.contains("# TYPE") && text.trim_end().ends_with("# EOF"),
        "{text}"
    );
}

#[test]
fn metrics_on_loopback() {
    let Some(lab) = Lab::open() else { return };
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::new(&lab, 1);
    setup.config = format!("[metrics]\nlisten = \"{free}\"\n");
    let _switch = Switch::start(&lab, setup);
    assert!(scrape(std::net::TcpStream::connect(free).unwrap()).contains("# TYPE"));
}

#[test]
fn health_and_reflection_are_served() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let rpc = Rpc::connect(&switch.api());
    let services =
        ["PortService", "NetworkService", "NodeService", "StatsService"].map(|s| format!("podswitch.v1.{s}"));
    for service in [&[String::new()], &services[..]].concat() {
        let request = HealthCheckRequest { service: service.clone() };
        let answer = rpc.wait(HealthClient::new(rpc.channel()).check(request)).unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let listed = rpc.wait(async {
        let mut client = ServerReflectionClient::new(rpc.channel());
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
        answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    });
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    for service in services {
        assert!(listed.service.iter().any(|entry| entry.name == service), "{service}: {listed:?}");
    }
}

#[test]
fn tables_for_people() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    let cli = switch.cli();
    cli.ok(&["network", "add", "net"]);
    let a = PodSpec::new(&lab, "a", 1, Behind::Sink);
    switch.plug(&a, "net", &["--mac", &a.mac, "--ip", "10.0.0.1/24"]);

    let shown = cli.ok(&["port", "show", "a"]);
    let socket = a.socket.display().to_string();
    for word in [&a.mac, &socket, "server=1", "net_virtio_user", "waiting"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let last = shown.trim_end().lines().next_back().unwrap();
    assert!(last.contains("application") || last.contains("socket"), "why no traffic flows: {shown}");
    for words in [
        &["status"][..],
        &["network", "list"],
        &["network", "show", "net"],
        &["port", "list"],
        &["port", "stats"],
        &["port", "stats", "a"],
        &["attachment", "list"],
        &["fdb", "show", "net"],
        &["worker", "list"],
        &["drops"],
        &["drops", "--port", "a"],
    ] {
        let text = cli.ok(words);
        assert!(!text.trim().is_empty(), "{words:?}");
        cli.json(words);
    }
    let listed = cli.ok(&["port", "list"]);
    assert!(listed.contains("net") && listed.contains(&a.mac), "{listed}");
    assert!(cli.ok(&["fdb", "show", "net"]).contains(&a.mac));
}

#[test]
fn the_pasted_arguments_work() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let socket = lab.path("a.sock").display().to_string();
    switch.cli().ok(&["port", "add", "a", "--network", "net", "--vhost-user", &socket]);
    let pasted = switch.port("a").status.unwrap().testpmd_args;
    let line = format!(
        "exec dpdk-testpmd --no-pci --in-memory -m 128 --no-telemetry {pasted} -- -i --total-num-mbufs=4096"
    );
    let mut pod = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "sh", "-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    switch.wait_running("a");
    let hint = switch.port("a").status.unwrap().hint;
    assert!(hint.contains("no other port"), "all that is missing is a peer: {hint:?}");
    pod.kill().unwrap();
    pod.wait().unwrap();
}

#[test]
fn stats_are_watched() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    switch.cli().ok(&["port", "add", "a", "--network", "net", "--vhost-user", "/tmp/psw-watched.sock"]);
    let api = format!("unix:{}", switch.api().display());
    let mut child = Command::new(binary("podswitch"))
        .args(["--api", &api, "port", "stats", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(3_500));
    assert!(child.try_wait().unwrap().is_none(), "it watches until it is stopped");
    child.kill().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert!(text.matches('a').count() >= 2, "shown more than once: {text}");
}

#[test]
fn completions_for_shells() {
    let Some(lab) = Lab::open() else { return };
    let cli = crate::support::cli::Cli::new(&lab.path("nobody.sock"));
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.ok(&["completions", shell]);
        assert!(script.contains("podswitch") && script.contains("network"), "{shell}");
    }
}
