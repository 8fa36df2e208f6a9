//! Compares an outcome with what a step expects.

use serde_json::Value;

use super::call::Outcome;
use super::case::Expect;

/// Everything that is not as expected; empty: all of it is. `json` is stdout, if that was one JSON value.
#[must_use]
pub fn mismatches(expect: &Expect, outcome: &Outcome, json: Option<&Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    let failure = expect.fails || !expect.code.is_empty();
    if failure == outcome.succeeded() {
        wrong.push(format!(
            "expected {}, the exit status is {:?}",
            if failure { "a failure" } else { "success" },
            outcome.exit
        ));
    }
    let null = Value::Null;
    let json = json.unwrap_or(&null);
    if !expect.code.is_empty() && !json["code"].as_u64().is_some_and(|code| expect.code.contains(&code)) {
        wrong.push(format!("expected code {:?}, it is {}", expect.code, json["code"]));
    }
    let words = format!(
        "{} {}",
        json["msg"].as_str().unwrap_or_default(),
        json["details"].as_str().unwrap_or_default()
    );
    for word in expect.says.iter().filter(|word| !words.contains(word.as_str())) {
        wrong.push(format!("neither msg nor details says {word:?}"));
    }
    for (pointer, pattern) in &expect.json {
        let found = find(json, pointer);
        if !found.iter().any(|value| matches(pattern, value)) {
            wrong.push(format!("expected {pattern} at {pointer}, there is {}", shown(&found)));
        }
    }
    for pointer in &expect.absent {
        let found = find(json, pointer);
        if !found.is_empty() {
            wrong.push(format!("expected nothing at {pointer}, there is {}", shown(&found)));
        }
    }
    if expect.silent && !outcome.stdout.trim().is_empty() {
        wrong.push("expected nothing on stdout".into());
    }
    for text in expect.prints.iter().filter(|text| !outcome.stdout.contains(text.as_str())) {
        wrong.push(format!("stdout lacks {text:?}"));
    }
    for text in expect.prints_not.iter().filter(|text| outcome.stdout.contains(text.as_str())) {
        wrong.push(format!("stdout has {text:?}"));
    }
    for text in expect.logs.iter().filter(|text| !outcome.stderr.contains(text.as_str())) {
        wrong.push(format!("stderr lacks {text:?}"));
    }
    wrong
}

/// The values at a pointer: one or none, more with a `*` in it, the number of children with `#` at its end.
#[must_use]
pub fn find(json: &Value, pointer: &str) -> Vec<Value> {
    let mut at = vec![json.clone()];
    for segment in pointer.split('/').skip(1) {
        at = at.iter().flat_map(|value| step(value, segment)).collect();
    }
    at
}

fn step(value: &Value, segment: &str) -> Vec<Value> {
    match (value, segment) {
        (Value::Array(all), "#") => vec![all.len().into()],
        (Value::Object(map), "#") => vec![map.len().into()],
        // Absent and empty are the same in CNI's results.
        (Value::Array(all), "*") => all.clone(),
        (Value::Object(map), "*") => map.values().cloned().collect(),
        (Value::Array(all), index) => {
            index.parse().ok().and_then(|n: usize| all.get(n)).cloned().into_iter().collect()
        }
        (Value::Object(map), key) => map.get(key).cloned().into_iter().collect(),
        _ => Vec::new(),
    }
}

fn matches(pattern: &Value, value: &Value) -> bool {
    match (pattern, value) {
        (Value::String(pattern), Value::String(text)) => glob(pattern, text),
        (Value::String(pattern), _) if pattern == "*" => true,
        (Value::Array(patterns), Value::Array(values)) => {
            patterns.len() == values.len() && patterns.iter().zip(values).all(|(p, v)| matches(p, v))
        }
        // Keys that the pattern does not name are free.
        (Value::Object(patterns), Value::Object(values)) => {
            patterns.iter().all(|(key, p)| values.get(key).is_some_and(|v| matches(p, v)))
        }
        _ => pattern == value,
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
    }
    last.map_or(rest.is_empty(), |part| rest.ends_with(part))
}

fn shown(found: &[Value]) -> String {
    match found {
        [] => "nothing".into(),
        [one] => one.to_string(),
        more => Value::Array(more.to_vec()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(exit: i32, stdout: &str) -> Outcome {
        Outcome { exit: Some(exit), signal: None, hung: false, stdout: stdout.into(), stderr: String::new() }
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text) in [("a*c", "abc"), ("*", ""), ("a*b*c", "axxbyyc"), ("abc", "abc"), ("*c", "cc")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "abcd"), ("abc", "abcd"), ("a*b*c", "acb"), ("aa*a", "aa"), ("", "a")]
        {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn every_kind_of_mismatch_is_told() {
        let json = json!({ "code": 4, "msg": "no CNI_NETNS", "list": [1, { "a": "b" }] });
        let good = Expect {
            code: vec![4, 5],
            says: vec!["CNI_NETNS".into()],
            json: [("/list/#".into(), json!(2)), ("/list/*/a".into(), json!("*"))].into(),
            absent: vec!["/list/2".into(), "/other".into()],
            ..Expect::default()
        };
        let text = json.to_string();
        assert_eq!(mismatches(&good, &outcome(1, &text), Some(&json)), Vec::<String>::new());
        let bad = Expect {
            code: vec![5],
            says: vec!["CNI_IFNAME".into()],
            json: [("/list/#".into(), json!(1)), ("/x".into(), json!("*"))].into(),
            absent: vec!["/list/0".into()],
            silent: true,
            prints: vec!["never".into()],
            prints_not: vec!["CNI_NETNS".into()],
            logs: vec!["logged".into()],
            ..Expect::default()
        };
        assert_eq!(mismatches(&bad, &outcome(0, &text), Some(&json)).len(), 10);
        assert_eq!(mismatches(&Expect::default(), &outcome(1, ""), None).len(), 1);
        assert_eq!(mismatches(&Expect { fails: true, ..Expect::default() }, &outcome(0, ""), None).len(), 1);
    }
}
