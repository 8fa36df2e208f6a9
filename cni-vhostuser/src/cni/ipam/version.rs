//! Two versions of CNI meet: which both know, and how our input reads in the other.

use serde::Deserialize;
use serde_json::{Value, json};

/// What we can read the answer of, the newest first.
const READABLE: [&str; 7] = ["1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0", "0.2.0", "0.1.0"];

/// The highest version of those in an answer to VERSION that we can read too.
pub(super) fn highest_common(answer: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Known {
        supported_versions: Vec<String>,
    }
    let known: Known = serde_json::from_slice(answer).ok()?;
    READABLE.into_iter().find(|readable| known.supported_versions.iter().any(|version| version == readable))
}

/// The same input in another version. A `prevResult` is told in the configuration's version, so it changes too.
pub(super) fn spoken(config: &Value, version: &str) -> Value {
    let mut config = config.clone();
    let Some(members) = config.as_object_mut() else { return config };
    members.insert("cniVersion".into(), version.into());
    match version {
        // Had results of another shape and no prevResult.
        "0.1.0" | "0.2.0" => drop(members.remove("prevResult")),
        _ => {
            if let Some(Value::Object(result)) = members.get_mut("prevResult") {
                result.insert("cniVersion".into(), version.into());
                let ips = result.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten();
                for ip in ips.filter_map(Value::as_object_mut) {
                    if version.starts_with("0.") {
                        let six =
                            ip.get("address").and_then(Value::as_str).is_some_and(|text| text.contains(':'));
                        ip.insert("version".into(), json!(if six { "6" } else { "4" }));
                    }
                }
            }
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_both() {
        let answer = br#"{"cniVersion":"1.0.0","supportedVersions":["0.1.0","0.3.1","1.0.0","0.4.0"]}"#;
        assert_eq!(highest_common(answer), Some("1.0.0"));
        assert_eq!(highest_common(br#"{"supportedVersions":["2.0.0"]}"#), None);
        assert_eq!(highest_common(br#"{"supportedVersions":7}"#), None);
        assert_eq!(highest_common(b""), None);
    }

    #[test]
    fn input_is_told_in_the_other_version() {
        let config = json!({"cniVersion": "1.1.0", "name": "n", "prevResult": {
            "cniVersion": "1.1.0",
            "ips": [{"address": "10.0.0.1/24"}, {"address": "fd00::1/64"}],
        }});
        assert_eq!(
            spoken(&config, "0.4.0"),
            json!({"cniVersion": "0.4.0", "name": "n", "prevResult": {
                "cniVersion": "0.4.0",
                "ips": [{"address": "10.0.0.1/24", "version": "4"}, {"address": "fd00::1/64", "version": "6"}],
            }})
        );
        assert_eq!(spoken(&config, "1.0.0")["prevResult"]["ips"][0], json!({"address": "10.0.0.1/24"}));
        assert_eq!(spoken(&config, "0.2.0"), json!({"cniVersion": "0.2.0", "name": "n"}));
        assert_eq!(
            spoken(&json!({"prevResult": 3}), "1.0.0"),
            json!({"prevResult": 3, "cniVersion": "1.0.0"})
        );
    }
}
