use super::*;

fn variables(verb: &str) -> Variables {
    let pairs = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c"),
        ("CNI_NETNS", "/nonexistent/netns"),
        ("CNI_IFNAME", "net1"),
        ("CNI_PATH", "/nonexistent"),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn call(verb: &str, input: &str) -> (bool, Value) {
    let outcome = run(&variables(verb), |_| Ok(input.as_bytes().to_vec()));
    let output =
        if outcome.output.is_empty() { Value::Null } else { serde_json::from_str(&outcome.output).unwrap() };
    (outcome.success, output)
}

#[test]
fn versions_are_told() {
    let (success, answer) = call("VERSION", r#"{"cniVersion": "0.4.0"}"#);
    assert!(success);
    assert_eq!(answer["cniVersion"], "0.4.0");
    assert_eq!(answer["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    assert_eq!(call("VERSION", "").1["cniVersion"], "1.1.0");
}

#[test]
fn without_a_command_it_says_what_it_is() {
    let outcome = run(&Variables::new(), |_| panic!("standard input is not read"));
    assert!(outcome.success && outcome.output.is_empty() && outcome.about.unwrap().contains("1.1.0"));
}

#[test]
fn an_error_object_echoes_the_version() {
    let (success, error) = call("ADD", r#"{"cniVersion": "0.3.1", "name": "n"}"#);
    assert!(!success);
    assert_eq!((&error["cniVersion"], &error["code"]), (&json!("0.3.1"), &json!(8)));
    let (_, error) = call("JUMP", r#"{"cniVersion": "0.4.0"}"#);
    assert_eq!((&error["cniVersion"], &error["code"]), (&json!("0.4.0"), &json!(4)));
    let (_, error) = call("ADD", "{");
    assert_eq!((&error["cniVersion"], &error["code"]), (&json!("1.1.0"), &json!(6)));
    let (_, error) = call("ADD", r#"{"cniVersion": "3.0.0", "name": "n"}"#);
    assert_eq!((&error["cniVersion"], &error["code"]), (&json!("3.0.0"), &json!(1)));
    assert_eq!(call("CHECK", r#"{"cniVersion": "0.3.1", "name": "n"}"#).1["code"], 1);
    assert_eq!(call("DEL", r#"{"cniVersion": "1.0.0"}"#).1["code"], 7);
}

#[test]
fn a_del_that_nobody_answers_leaves_a_tombstone() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("api.sock");
    let input =
        json!({"cniVersion": "1.0.0", "name": "n", "socket": socket, "prevResult": 5, "mut": 1}).to_string();
    assert_eq!(call("DEL", &input), (true, Value::Null));
    assert_eq!(std::fs::read_dir(root.path().join("tombstones")).unwrap().count(), 1);
    assert_eq!(call("STATUS", &input.replace("1.0.0", "1.1.0")).1["code"], 50);
    assert_eq!(call("GC", &input.replace("1.0.0", "1.1.0")).1["code"], 11);
}

#[test]
fn too_much_input_is_refused() {
    assert_eq!(read_all(&b"abc"[..]).unwrap(), b"abc");
    assert!(read_all(std::io::repeat(b' ')).is_err());
}
