//! The benchmark's own command: what it writes, and what it says where nothing can be measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `podswitch-perf bench --smoke` on some CPUs; gives what it printed, and `latest.json`.
fn bench(cpus: &str, more: &[&str]) -> (Output, Value) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("taskset")
        .args(["-c", cpus, env!("CARGO_BIN_EXE_podswitch-perf"), "bench", "--smoke", "--out"])
        .arg(directory.path())
        .args(more)
        .output()
        .unwrap();
    let json = std::fs::read_to_string(directory.path().join("latest.json"));
    let json = json.unwrap_or_else(|_| panic!("{output:?}"));
    (output, serde_json::from_str(&json).unwrap())
}

fn daemon() -> std::path::PathBuf {
    Path::new(env!("CARGO_BIN_EXE_podswitch-perf")).with_file_name("podswitchd")
}

#[test]
fn one_cpu_is_said_and_every_result_stays_empty() {
    let first = perf::peers::parse_list(&perf::machine::allowed_cpus())[0];
    let (output, result) = bench(&first.to_string(), &[]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("nothing was measured") && table.contains("two different ones"), "{table}");
    let ratios = result["ratios"].as_object().unwrap();
    assert_eq!(ratios.len(), 13);
    assert!(ratios.values().all(Value::is_null), "{ratios:?}");
    assert!(result["rows"].as_array().unwrap().iter().all(|row| row["met"].is_null()));
}

/// Everything once, on two CPUs. What the figures are is not asserted: the machine may be slow and shared.
#[test]
fn the_whole_benchmark_leaves_a_figure_for_all_that_it_can_measure() {
    let cpus = perf::peers::parse_list(&perf::machine::allowed_cpus());
    let missing = [
        (cpus.len() < 2, "two CPUs"),
        (perf::machine::free_hugepages().unwrap_or(0) < 400, "400 free hugepages"),
        (!daemon().is_file(), "podswitchd beside podswitch-perf (cargo build -p control-api)"),
        (!rustix::process::geteuid().is_root(), "root"),
        (perf::methods::attach::beside_us().is_none(), "the CNI plugin (make static)"),
    ];
    let missing: Vec<&str> = missing.iter().filter(|(missing, _)| *missing).map(|(_, what)| *what).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "missing: {missing:?}");
        // Past the test harness, which shows nothing of a test that passes.
        let _ = std::fs::write("/dev/tty", format!("NOT TESTED, benchmark: missing {missing:?}\n"));
        return;
    }
    let (load, switch) = (cpus[0].to_string(), cpus[1].to_string());
    let (output, result) =
        bench(&format!("{load},{switch}"), &["--load-cpu", &load, "--switch-cpu", &switch]);
    assert!(output.status.success(), "{output:?}");
    let ratio = |key: &str| result["ratios"][key].as_f64();
    for key in [
        "onecopy_1500_vs_twocopy",
        "onecopy_9000_vs_twocopy",
        "flows_1m_vs_1",
        "ports_64_vs_2",
        "reconfig_lost_frames",
        "empty_switch_mb",
        "port_mb",
    ] {
        assert!(ratio(key).is_some(), "{key}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(ratio("reconfig_lost_frames"), Some(0.0), "{result}");
    assert!(ratio("empty_switch_mb").unwrap() > 1.0);
    let figure = |key: &str| result["figures"].as_array().unwrap().iter().find(|figure| figure["key"] == key);
    for key in ["attach_add_p50", "attach_add_p99", "attach_del_p50", "attach_start", "attach_peak"] {
        let value = figure(key).and_then(|figure| figure["median"].as_f64());
        assert!(value.is_some_and(|value| value > 0.0), "{key}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // A peer that is not there leaves null and a reason.
    if perf::peers::process::find("ovs-vsctl").is_none() {
        assert!(result["ratios"]["v2v_64_vs_ovs"].is_null());
        assert!(result["switches"]["ovs"]["failures"][0].as_str().unwrap().contains("missing"));
    }
}
