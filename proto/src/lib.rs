//! The gRPC interface `podswitch.v1` and the types generated from it.
//!
//! Every message is also JSON through serde: the command line's `-o json` and the stored objects are these
//! messages with their snake_case field names, 64-bit numbers as numbers, empty lists present, enumerations as
//! short lower-case words (see [`words`]).

pub mod paths;
pub mod port_file;
pub mod reasons;
pub mod words;

/// Generated from `podswitch/v1/*.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code; the .proto files hold the text"
)]
#[allow(clippy::all, clippy::pedantic, clippy::match_same_arms, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("podswitch.v1");
}

/// The kubelet's interfaces, generated from `kubelet/*.proto`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated code")]
#[allow(clippy::all, clippy::pedantic, clippy::match_same_arms, reason = "generated code")]
pub mod kubelet {
    /// Device plugins, `v1beta1`.
    pub mod device_plugin {
        tonic::include_proto!("v1beta1");
    }
    /// Which pod has which device, `v1`.
    pub mod pod_resources {
        tonic::include_proto!("v1");
    }
}

/// All descriptors, encoded, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use crate::v1;

    #[test]
    fn a_port_is_json_with_short_words() {
        let port = v1::Port {
            spec: Some(v1::PortSpec {
                name: "a".into(),
                network: "n".into(),
                device: Some(v1::port_spec::Device::VhostUser(v1::VhostUser {
                    path: "/run/a.sock".into(),
                    mode: v1::SocketMode::Server as i32,
                    mem_limit: 1 << 60,
                    features_off: vec![],
                })),
                ..v1::PortSpec::default()
            }),
            status: Some(v1::PortStatus {
                state: v1::PortState::Running as i32,
                ..v1::PortStatus::default()
            }),
        };
        let json = serde_json::to_value(&port).unwrap();
        assert_eq!(json["status"]["state"], "running");
        assert_eq!(json["spec"]["vhost_user"]["mode"], "server");
        assert_eq!(json["spec"]["vhost_user"]["mem_limit"], 1_u64 << 60);
        assert_eq!(json["spec"]["ips"], serde_json::json!([]));
        assert!(json["spec"].get("dpdk").is_none());
        assert_eq!(serde_json::from_value::<v1::Port>(json).unwrap(), port);
    }

    #[test]
    fn a_port_without_a_device_round_trips() {
        let spec = v1::PortSpec { name: "a".into(), ..v1::PortSpec::default() };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<v1::PortSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn an_unknown_word_is_refused() {
        let wrong = r#"{"name":"a","vhost_user":{"path":"/a","mode":"sideways"}}"#;
        assert!(serde_json::from_str::<v1::VhostUser>(r#"{"path":"/a","mode":"sideways"}"#).is_err());
        // A flattened optional member that does not parse is absent, which validation then refuses.
        assert!(serde_json::from_str::<v1::PortSpec>(wrong).map_or(true, |s| s.device.is_none()));
    }
}
