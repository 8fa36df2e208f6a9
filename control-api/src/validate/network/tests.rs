use proptest::prelude::*;

use super::*;

fn with(change: impl FnOnce(&mut v1::NetworkSpec)) -> Result<v1::NetworkSpec, Invalid> {
    let mut spec = v1::NetworkSpec { name: "blue".into(), ..Default::default() };
    change(&mut spec);
    network(Some(spec))
}

/// The field at fault; the message names the remedy too.
fn fault(result: Result<v1::NetworkSpec, Invalid>) -> &'static str {
    let invalid = result.unwrap_err();
    assert!(!invalid.why.to_string().is_empty() && !invalid.why.remedy().is_empty());
    invalid.field
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn lists_are_sorted_and_hold_nothing_twice() {
    let spec = with(|s| {
        s.namespaces = strings(&["b", "*", "a-1", "b"]);
        s.ranges = strings(&["fd00::/64", "10.1.0.0/16", "10.0.0.0/16", "10.1.0.0/16", "FD00:0::/64"]);
    })
    .unwrap();
    assert_eq!(spec.namespaces, ["*", "a-1", "b"]);
    assert_eq!(spec.ranges, ["10.0.0.0/16", "10.1.0.0/16", "fd00::/64"]);
    assert_eq!(network(Some(spec.clone())).unwrap(), spec, "the stored form is canonical");
}

#[test]
fn a_namespace_is_a_label() {
    for bad in ["", "A", "a.b", "a_b", "-a", "a-", "**", "a\n", "é", &"a".repeat(64)] {
        assert_eq!(fault(with(|s| s.namespaces = strings(&[bad]))), "namespaces", "{bad:?}");
    }
    for good in ["*", "a", "0", "kube-system", &"a".repeat(63)] {
        assert!(with(|s| s.namespaces = strings(&[good])).is_ok(), "{good}");
    }
    let many = |count: usize| with(|s| s.namespaces = (0..count).map(|n| format!("ns-{n}")).collect());
    assert!(many(256).is_ok());
    assert_eq!(fault(many(257)), "namespaces");
}

#[test]
fn a_range_is_a_prefix() {
    for bad in ["", "10.0.0.0", "10.0.0.1/24", "fd00::1/64", "10.0.0.0/33", "x", "*"] {
        assert_eq!(fault(with(|s| s.ranges = strings(&[bad]))), "ranges", "{bad:?}");
    }
    assert!(with(|s| s.ranges = strings(&["0.0.0.0/0", "::/0", "10.0.0.1/32"])).is_ok());
    assert_eq!(fault(with(|s| s.ranges = strings(&["10.0.0.0/24"; 257]))), "ranges");
    let refused = with(|s| s.ranges = strings(&["10.0.0.1/24"])).unwrap_err();
    assert!(refused.why.remedy().contains("10.0.0.0/24"), "{}", refused.why.remedy());
}

#[test]
fn limits() {
    assert_eq!(fault(with(|s| s.most_queues = 17)), "most_queues");
    for bad in [1, 67, 65_522, u32::MAX] {
        assert_eq!(fault(with(|s| s.most_mtu = bad)), "most_mtu", "{bad}");
    }
    for bad in [1, LEAST_MEMORY - 1] {
        assert_eq!(fault(with(|s| s.most_memory = bad)), "most_memory", "{bad}");
    }
    for (queues, mtu, memory) in [(0, 0, 0), (1, 68, LEAST_MEMORY), (16, 65_521, u64::MAX)] {
        let good = with(|s| (s.most_queues, s.most_mtu, s.most_memory) = (queues, mtu, memory));
        assert!(good.is_ok(), "{good:?}");
    }
    assert_eq!(fault(network(None)), "spec");
    assert_eq!(fault(with(|s| s.name = "A".into())), "name");
}

proptest! {
    /// Whatever text comes: no panic, and what is accepted is a fixed point.
    #[test]
    fn any_text(namespaces in proptest::collection::vec("[a-z0-9*.-]{0,4}", 0..4), range in ".{0,40}") {
        let result = with(|s| {
            s.namespaces = namespaces;
            if !range.is_empty() {
                s.ranges = vec![range];
            }
        });
        if let Ok(good) = result {
            prop_assert_eq!(&network(Some(good.clone())).unwrap(), &good);
        }
    }
}
