//! GC: attachments of this network that the runtime does not know any more go.
//!
//! A runtime that gives no list has said nothing about any of them; one that gives an empty list has said that none
//! lives. A list that cannot be read is no list: what it would have named may live.

use proto::v1::{AttachmentKey, CollectRequest};
use serde_json::Value;

use super::super::call::{Call, log};
use super::super::failure::Failure;

/// Lists of attachments that live, the specification's first.
const LISTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// Collects, here and at the IPAM plugin, each whatever becomes of the other.
///
/// # Errors
/// The daemon cannot be asked, or the IPAM plugin failed; both are told.
pub fn gc(call: &Call<'_>) -> Result<(), Failure> {
    let valid = living(&call.base.whole, &call.base.name);
    let request = CollectRequest {
        network: call.base.name.clone(),
        have_list: valid.is_some(),
        valid: valid.unwrap_or_default(),
    };
    let collected = call.client().and_then(|mut client| client.collect(request));
    let collected = collected.map_err(|refusal| refusal.into_failure(proto::paths::RESOURCE));
    for key in collected.as_ref().map(Vec::as_slice).unwrap_or_default() {
        log(format_args!("deleted {} of container {}", key.ifname, key.container_id));
    }
    let ipam = call.with_ipam(|ipam| ipam.gc()).unwrap_or(Ok(()));
    match (collected, ipam) {
        (Err(first), Err(second)) => {
            let details = [first.details.clone(), second.to_string()].join("; ");
            Err(first.with(details.trim_start_matches("; ")))
        }
        (collected, ipam) => collected.map(drop).and(ipam),
    }
}

/// The attachments that live; `None`: nothing is known.
fn living(config: &Value, network: &str) -> Option<Vec<AttachmentKey>> {
    let list = LISTS.iter().find_map(|key| config.get(key).filter(|value| !value.is_null()))?;
    let key = |entry: &Value| {
        let text = |name: &str| entry.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(AttachmentKey {
            network: network.to_owned(),
            container_id: text("containerID")?,
            ifname: text("ifname")?,
        })
    };
    let keys = list.as_array().and_then(|list| list.iter().map(key).collect());
    if keys.is_none() {
        log("the list of living attachments cannot be read: only what is provably dead is deleted");
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_list_and_an_empty_list_are_two_things() {
        assert_eq!(living(&json!({}), "n"), None);
        assert_eq!(living(&json!({"cni.dev/valid-attachments": null}), "n"), None);
        assert_eq!(living(&json!({"cni.dev/valid-attachments": []}), "n"), Some(vec![]));
        let entry = json!([{"containerID": "c", "ifname": "net1"}]);
        let key = AttachmentKey { network: "n".into(), container_id: "c".into(), ifname: "net1".into() };
        for name in LISTS {
            assert_eq!(living(&json!({name: entry}), "n"), Some(vec![key.clone()]), "{name}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_none() {
        for list in [
            json!("x"),
            json!({}),
            json!([1]),
            json!([{"containerID": "c"}]),
            json!([{"containerID": "", "ifname": "i"}]),
        ] {
            assert_eq!(living(&json!({"cni.dev/valid-attachments": list}), "n"), None, "{list}");
        }
    }
}
