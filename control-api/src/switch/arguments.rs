//! Ready-to-paste arguments for the application at the other end of a vhost-user port.

use proto::v1::port_spec::Device;
use proto::v1::{PortSpec, SocketMode, VhostUser};

/// For `dpdk-testpmd` with virtio-user; empty for a port without a socket.
pub(super) fn testpmd(spec: &PortSpec) -> String {
    let Some(vhost) = vhost_user(spec) else { return String::new() };
    let mut device = format!("--vdev=net_virtio_user0,path={}", vhost.path);
    if !spec.mac.is_empty() {
        device.push_str(&format!(",mac={}", spec.mac));
    }
    if application_creates(vhost) {
        device.push_str(",server=1");
    }
    device.push_str(&format!(",queues={}", spec.queues));
    for feature in ["mrg_rxbuf", "in_order"] {
        if vhost.features_off.iter().any(|off| off == feature) {
            device.push_str(&format!(",{feature}=0"));
        }
    }
    // One file for all memory: virtio-user hands over at most eight.
    format!("{} --single-file-segments", quoted(&device))
}

/// For QEMU; `SIZE` stands for the guest's memory, which QEMU must share.
pub(super) fn qemu(spec: &PortSpec) -> String {
    let Some(vhost) = vhost_user(spec) else { return String::new() };
    let name = &spec.name;
    let way = if application_creates(vhost) { "server=on,wait=off" } else { "reconnect=1" };
    let mut device = format!("virtio-net-pci,netdev=n-{name}");
    if !spec.mac.is_empty() {
        device.push_str(&format!(",mac={}", spec.mac));
    }
    let mut queues = String::new();
    if spec.queues > 1 {
        queues = format!(",queues={}", spec.queues);
        device.push_str(&format!(",mq=on,vectors={}", 2 * spec.queues + 2));
    }
    format!(
        "-object memory-backend-memfd,id=mem,size=SIZE,share=on -numa node,memdev=mem -chardev {} -netdev \
         vhost-user,id=n-{name},chardev=c-{name}{queues} -device {device}",
        quoted(&format!("socket,id=c-{name},path={},{way}", vhost.path)),
    )
}

fn vhost_user(spec: &PortSpec) -> Option<&VhostUser> {
    match &spec.device {
        Some(Device::VhostUser(vhost)) => Some(vhost),
        _ => None,
    }
}

fn application_creates(vhost: &VhostUser) -> bool {
    vhost.mode() != SocketMode::Client
}

/// For a shell: paths may hold anything but control characters.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=,./:".contains(&b);
    if text.bytes().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(path: &str, mode: SocketMode) -> PortSpec {
        let vhost = VhostUser { path: path.into(), mode: mode.into(), ..VhostUser::default() };
        PortSpec {
            name: "a".into(),
            queues: 1,
            mac: "02:00:00:00:00:01".into(),
            device: Some(Device::VhostUser(vhost)),
            ..PortSpec::default()
        }
    }

    #[test]
    fn who_creates_the_socket() {
        let server = spec("/run/a.sock", SocketMode::Server);
        assert_eq!(
            testpmd(&server),
            "--vdev=net_virtio_user0,path=/run/a.sock,mac=02:00:00:00:00:01,server=1,queues=1 \
             --single-file-segments"
        );
        assert!(qemu(&server).contains("path=/run/a.sock,server=on,wait=off"));
        let client = spec("/run/a.sock", SocketMode::Client);
        assert!(!testpmd(&client).contains("server="));
        assert!(qemu(&client).contains("path=/run/a.sock,reconnect=1"));
    }

    #[test]
    fn odd_paths_survive_a_shell() {
        assert!(
            testpmd(&spec("/run/a b'c", SocketMode::Server))
                .starts_with(r"'--vdev=net_virtio_user0,path=/run/a b'\''c")
        );
        assert_eq!(testpmd(&PortSpec::default()), "");
    }
}
