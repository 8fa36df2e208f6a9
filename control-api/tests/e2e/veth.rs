//! Linux on both sides: two `net_af_packet` ports over veth pairs into namespaces.

use std::process::Stdio;

use crate::support::lab::Lab;
use crate::support::netns::Netns;
use crate::support::switch::{Setup, Switch};
use crate::support::wait;

#[test]
fn ping_and_iperf_through_the_switch() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 1));
    switch.cli().ok(&["network", "add", "net"]);
    let (left, right) = (Netns::new("10.7.0.1/24"), Netns::new("10.7.0.2/24"));
    for (number, (name, end)) in [("left", &left), ("right", &right)].into_iter().enumerate() {
        let device = format!("net_af_packet{number},iface={}", end.outside);
        switch.cli().ok(&["port", "add", name, "--network", "net", "--dpdk", &device]);
    }
    wait::until("the first ping through", || {
        left.run(&["ping", "-c", "1", "-W", "1", "10.7.0.2"]).status.success().then_some(())
    });
    let ping = left.run(&["ping", "-c", "20", "-i", "0.05", "-W", "2", "-s", "1400", "10.7.0.2"]);
    let text = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!(text.contains(" 0% packet loss"), "{text}");

    let mut server = right.command(&["iperf3", "-s"]).stdout(Stdio::null()).spawn().unwrap();
    let rate = wait::attempt(wait::PATIENCE, || {
        let output = left.run(&["iperf3", "-c", "10.7.0.2", "-t", "3", "-J"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        report["end"]["sum_received"]["bits_per_second"].as_f64()
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let rate = rate.expect("iperf3 through the switch");
    eprintln!("iperf3 through the switch: {:.0} Mbit/s", rate / 1e6);
    assert!(rate > 1e6, "{rate}");
    let (left, right) = (switch.stats("left"), switch.stats("right"));
    assert!(left.rx_frames > 100 && right.tx_frames > 100, "{left:?} {right:?}");
}
