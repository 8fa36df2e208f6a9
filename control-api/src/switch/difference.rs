//! What differs between an object that exists and one that is asked for under its name.

use serde::Serialize;
use serde_json::Value;

/// The first field that differs: its name, what is there, what is asked for. The order of a list does not count.
pub(super) fn difference<T: Serialize>(has: &T, asked: &T) -> Option<(String, String, String)> {
    let json = |spec: &T| serde_json::to_value(spec).expect("the messages have string keys only");
    first("", &json(has), &json(asked))
}

fn first(path: &str, has: &Value, asked: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(a), Value::Object(b)) = (has, asked) {
        return a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).find_map(|key| {
            let deeper = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            first(&deeper, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
        });
    }
    let same = match (has, asked) {
        (Value::Array(a), Value::Array(b)) => sorted(a) == sorted(b),
        _ => has == asked,
    };
    (!same).then(|| (path.to_owned(), shown(has), shown(asked)))
}

fn sorted(list: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = list.iter().map(shown).collect();
    texts.sort_unstable();
    texts
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "nothing".into(),
        Value::String(text) => text.clone(),
        Value::Null => "nothing".into(),
        Value::Array(list) if list.is_empty() => "nothing".into(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{DpdkDevice, PortSpec, VhostUser, port_spec::Device};

    use super::*;

    #[test]
    fn the_field_is_named() {
        let a = PortSpec {
            device: Some(Device::VhostUser(VhostUser { path: "/a".into(), ..VhostUser::default() })),
            ips: vec!["10.0.0.1/24".into(), "10.0.0.2/24".into()],
            ..PortSpec::default()
        };
        let mut b = a.clone();
        b.ips.reverse();
        assert_eq!(difference(&a, &b), None);
        b.mac = "02:00:00:00:00:01".into();
        assert_eq!(difference(&a, &b), Some(("mac".into(), "nothing".into(), "02:00:00:00:00:01".into())));
        b = a.clone();
        b.device = Some(Device::VhostUser(VhostUser { path: "/b".into(), ..VhostUser::default() }));
        assert_eq!(difference(&a, &b), Some(("vhost_user.path".into(), "/a".into(), "/b".into())));
        b.device = Some(Device::Dpdk(DpdkDevice { devargs: "x".into() }));
        assert!(difference(&a, &b).is_some());
        b = a.clone();
        b.labels.insert("owner".into(), "x".into());
        assert_eq!(difference(&a, &b), Some(("labels.owner".into(), "nothing".into(), "x".into())));
    }
}
