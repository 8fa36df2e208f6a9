//! A port as arguments of a DPDK application.
//!
//! The same rules as those by which the switch's command line prints arguments. What DPDK could misread is refused: its
//! device arguments are separated by commas and know no quotes.

use std::path::Path;

use proto::port_file::PortFile;

use super::PortError;

/// Most queue pairs of a virtio device.
const MOST_QUEUES: u32 = 0x8000;
/// Features that virtio-user lets an application leave out.
const FEATURES: [&str; 2] = ["mrg_rxbuf", "in_order"];

/// The socket's path. `file` is what an error names.
pub(super) fn path<'a>(file: &Path, port: &'a PortFile) -> Result<&'a str, PortError> {
    let odd = |c: char| c.is_control() || c == ',';
    if port.path.starts_with('/') && !port.path.contains(odd) {
        Ok(&port.path)
    } else {
        Err(invalid(file, "path", &port.path))
    }
}

/// The value of `--vdev`.
pub(super) fn virtio_user(file: &Path, port: &PortFile, index: u32) -> Result<String, PortError> {
    let mut device = format!("net_virtio_user{index},path={}", path(file, port)?);
    let plain = |b: u8| b.is_ascii_hexdigit() || b == b':';
    match port.mac.as_str() {
        "" => {}
        mac if mac.len() == 17 && mac.bytes().all(plain) => device.push_str(&format!(",mac={mac}")),
        mac => return Err(invalid(file, "mac", mac)),
    }
    match port.mode.as_str() {
        "server" => device.push_str(",server=1"),
        "client" => {}
        mode => return Err(invalid(file, "mode", mode)),
    }
    if !(1..=MOST_QUEUES).contains(&port.queues) {
        return Err(invalid(file, "queues", &port.queues.to_string()));
    }
    device.push_str(&format!(",queues={}", port.queues));
    for feature in FEATURES {
        if port.features_off.iter().any(|off| off == feature) {
            device.push_str(&format!(",{feature}=0"));
        }
    }
    Ok(device)
}

/// What a shell can put behind `dpdk-testpmd`.
pub(super) fn testpmd(file: &Path, port: &PortFile, index: u32) -> Result<String, PortError> {
    let device = quoted(&format!("--vdev={}", virtio_user(file, port, index)?));
    // One file for all memory: virtio-user hands over at most eight.
    Ok(format!("{device} --single-file-segments"))
}

fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=,./:".contains(&b);
    if text.bytes().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn invalid(file: &Path, what: &'static str, value: &str) -> PortError {
    PortError::Invalid { file: file.into(), what, value: value.into() }
}
