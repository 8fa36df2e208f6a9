//! A node that starts anew: the run directory is empty, the state is kept, and the pods of before are gone.

use serde_json::json;

use crate::bed::Bed;
use crate::support::sandbox::Sandbox;

#[test]
fn ports_of_another_boot_are_gone_before_the_first_pod_comes() {
    let Some(mut bed) = Bed::open() else { return };
    bed.network("blue", &[]);
    let devices = ["n0-0000", "n0-0001", "n0-0002"];
    devices.iter().for_each(|id| bed.node.add_device(id));
    let pods: Vec<Sandbox> = devices.iter().map(|id| Sandbox::new("shop", id)).collect();
    let config = |bed: &Bed, device: &str| {
        let mut config = bed.config("blue", device);
        config["mac"] = format!("02:00:00:00:99:{}", &device[5..]).into();
        config["ips"] = json!([format!("10.77.0.1{}/24", &device[6..])]);
        config
    };
    for (pod, id) in pods.iter().zip(devices) {
        bed.node.add(pod, "net1", &config(&bed, id));
    }
    // What the operator added is no pod's, and stays.
    let fixture = bed.lab.path("fixture.sock").display().to_string();
    bed.node.switch.cli().ok(&["port", "add", "fixture", "--network", "blue", "--vhost-user", &fixture]);
    assert_eq!(bed.node.ports().len(), 4);

    // A restart of the daemon alone keeps them all.
    bed.node.switch.kill();
    bed.node.switch.start_again();
    assert_eq!(bed.node.ports().len(), 4);
    assert_eq!(bed.node.attachments().len(), 3);

    bed.node.reboot();
    bed.node.switch.start_again();
    assert_eq!(bed.node.ports(), ["fixture"]);
    assert_eq!(bed.node.attachments().len(), 0);

    // Paths of namespaces are used again, and so are devices and addresses: nobody is in the way.
    devices.iter().for_each(|id| bed.node.add_device(id));
    for (pod, id) in pods.iter().zip(devices) {
        bed.node.add(pod, "net1", &config(&bed, id));
    }
    assert_eq!(bed.node.attachments().len(), 3);
    for (pod, id) in pods.iter().zip(devices) {
        bed.node.del(pod, "net1", &config(&bed, id));
    }
    assert_eq!(bed.node.ports(), ["fixture"]);
    assert_eq!(bed.node.left_behind(), Vec::<std::path::PathBuf>::new());
}
