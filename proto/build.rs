//! Compiles podswitch/v1/*.proto without protoc, and keeps the descriptor set for gRPC reflection.

use std::path::{Path, PathBuf};

use prost::Message as _;

const FILES: [&str; 5] = [
    "podswitch/v1/port.proto",
    "podswitch/v1/network.proto",
    "podswitch/v1/node.proto",
    "podswitch/v1/stats.proto",
    "podswitch/v1/attachment.proto",
];

/// What the kubelet speaks: the part of its interfaces that we use.
const KUBELET: [&str; 2] = ["kubelet/device_plugin.proto", "kubelet/pod_resources.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]")
        // The JSON of a `oneof` is the member that is set, beside the other fields.
        .enum_attribute(
            ".podswitch.v1.PortSpec.device",
            "#[derive(serde::Serialize, serde::Deserialize)] #[serde(rename_all = \"snake_case\")]",
        )
        // prost keeps enumerations as numbers; in JSON they are words.
        .field_attribute(".podswitch.v1.VhostUser.mode", "#[serde(with = \"crate::words::socket_mode\")]")
        .field_attribute(".podswitch.v1.PortStatus.state", "#[serde(with = \"crate::words::port_state\")]")
        .field_attribute(".podswitch.v1.AttachRequest.mode", "#[serde(with = \"crate::words::socket_mode\")]")
        .compile_fds(descriptors)?;
    tonic_prost_build::configure().btree_map(".").compile_fds(protox::compile(KUBELET, ["."])?)?;
    flatten(&out.join("podswitch.v1.rs"))?;
    for file in FILES.iter().chain(&KUBELET) {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(())
}

/// Marks the `oneof` member as part of its message's JSON. (A field attribute by path would reach the variants too,
/// which serde refuses.)
fn flatten(generated: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const MEMBER: &str = "pub device: ::core::option::Option<port_spec::Device>";
    let text = std::fs::read_to_string(generated)?;
    if text.matches(MEMBER).count() != 1 {
        return Err("the generated PortSpec does not look as expected".into());
    }
    Ok(std::fs::write(generated, text.replace(MEMBER, &format!("#[serde(flatten)] {MEMBER}")))?)
}
