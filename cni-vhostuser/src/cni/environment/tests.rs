use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn add(container_id: &str, ifname: &str) -> Environment {
    let pairs = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", container_id),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", ifname),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    Environment::read(&variables(&pairs)).unwrap().unwrap()
}

#[test]
fn no_command_is_no_call() {
    assert!(Environment::read(&variables(&[])).unwrap().is_none());
    assert!(Environment::read(&variables(&[("CNI_COMMAND", "")])).unwrap().is_none());
}

#[test]
fn all_missing_variables_are_named() {
    let failure = |pairs: &[(&str, &str)]| Environment::read(&variables(pairs)).unwrap_err();
    let none = failure(&[("CNI_COMMAND", "ADD")]);
    assert_eq!(none.code, 4);
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
        assert!(none.msg.contains(name), "{}", none.msg);
    }
    let del = failure(&[("CNI_COMMAND", "DEL"), ("CNI_IFNAME", "net1"), ("CNI_PATH", "")]);
    assert!(del.msg.contains("CNI_CONTAINERID") && del.msg.contains("CNI_PATH"), "{}", del.msg);
    assert!(!del.msg.contains("CNI_NETNS") && !del.msg.contains("CNI_IFNAME"), "{}", del.msg);
    assert_eq!(failure(&[("CNI_COMMAND", "STATUS"), ("CNI_PATH", "")]).code, 4);
    assert_eq!(failure(&[("CNI_COMMAND", "add")]).code, 4);
}

#[test]
fn a_del_needs_no_namespace() {
    let mut pairs =
        vec![("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "net1"), ("CNI_PATH", "/x")];
    assert_eq!(Environment::read(&variables(&pairs)).unwrap().unwrap().netns, None);
    pairs.push(("CNI_NETNS", ""));
    assert_eq!(Environment::read(&variables(&pairs)).unwrap().unwrap().netns, None);
}

#[test]
fn container_ids_have_any_length() {
    for id in ["a", "0", "a_.-B", &"a".repeat(500)] {
        add(id, "net1").check_names().unwrap();
    }
    for id in ["-a", ".", "..", "_a", "a/b", "a b", "ä", "a\n"] {
        assert_eq!(add(id, "net1").check_names().unwrap_err().code, 4, "{id}");
    }
}

#[test]
fn interface_names_are_the_kernels() {
    for name in ["n", "net1", "a-b_c.d", "fifteen-bytes-x"] {
        add("c", name).check_names().unwrap();
    }
    for name in [".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-bytes-xx", "a\u{7}"] {
        assert_eq!(add("c", name).check_names().unwrap_err().code, 4, "{name:?}");
    }
}

#[test]
fn the_override_is_a_word() {
    let read = |value: &str| {
        let pairs = [("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/x"), ("CNI_NETNS_OVERRIDE", value)];
        Environment::read(&variables(&pairs)).unwrap().unwrap().netns_override
    };
    assert!(read("1") && read("true") && read("TRUE"));
    assert!(!read("") && !read("0") && !read("yes"));
}

#[test]
fn a_shown_value_is_one_short_line() {
    assert_eq!(shown("a\nb\"c"), "a\\nb\\\"c");
    assert_eq!(shown(&"x".repeat(1000)).chars().count(), 101);
}
