//! What holds for every call of every plugin, whatever the case.

use serde_json::Value;

use super::call::Outcome;

/// One rule, by the word with which a profile may depart from it.
pub struct Invariant {
    /// In profiles and reports.
    pub name: &'static str,
    /// What is wrong with an outcome, if anything.
    pub broken: fn(&Call<'_>) -> Option<String>,
}

/// A call and its outcome.
pub struct Call<'a> {
    /// CNI_COMMAND; empty if it was not set.
    pub verb: &'a str,
    /// The configuration's `cniVersion`, if the configuration could be read and had one.
    pub version: Option<&'a str>,
    /// What came.
    pub outcome: &'a Outcome,
    /// Its stdout, if that was one JSON value.
    pub json: Option<&'a Value>,
}

/// All of them.
pub const ALL: &[Invariant] = &[
    // A plugin that hangs, dies or panics leaves the runtime without a reason.
    Invariant { name: "ends-by-itself", broken: ends_by_itself },
    Invariant { name: "exit-status", broken: exit_status },
    // Runtimes decode stdout, whole.
    Invariant { name: "stdout-is-json-alone", broken: json_alone },
    Invariant { name: "error-object", broken: error_object },
    Invariant { name: "error-names-its-version", broken: error_version },
    Invariant { name: "result-in-the-version-asked", broken: result_version },
    Invariant { name: "result-shape", broken: result_shape },
];

fn ends_by_itself(call: &Call<'_>) -> Option<String> {
    let outcome = call.outcome;
    if outcome.hung {
        return Some("it did not end".into());
    }
    if let Some(signal) = outcome.signal {
        return Some(format!("signal {signal} ended it"));
    }
    ["panicked at", "panic: ", "goroutine 1 ["]
        .iter()
        .find(|word| outcome.stderr.contains(**word))
        .map(|word| format!("stderr says {word:?}"))
}

fn exit_status(call: &Call<'_>) -> Option<String> {
    let has = |key: &str| call.json.is_some_and(|json| json.get(key).is_some());
    match call.outcome.exit? {
        0 => (has("code") && has("msg")).then(|| "an error object, and exit status 0".into()),
        _ => has("interfaces").then(|| "a result, and exit status not 0".into()),
    }
}

fn json_alone(call: &Call<'_>) -> Option<String> {
    let outcome = call.outcome;
    let must_print = !outcome.succeeded() || matches!(call.verb, "ADD" | "VERSION");
    if call.json.is_some() {
        None
    } else if !outcome.stdout.trim().is_empty() {
        Some("stdout is not one JSON value".into())
    } else {
        must_print.then(|| "nothing on stdout".into())
    }
}

fn error_object(call: &Call<'_>) -> Option<String> {
    let json = call.json.filter(|_| !call.outcome.succeeded())?;
    if json.get("code").and_then(Value::as_u64).is_none_or(|code| code == 0) {
        return Some("the error has no positive `code`".into());
    }
    if json.get("msg").and_then(Value::as_str).is_none_or(|msg| msg.is_empty() || msg.contains('\n')) {
        return Some("the error has no `msg` of one line".into());
    }
    json.get("details").is_some_and(|details| !details.is_string()).then(|| "`details` is no text".into())
}

fn error_version(call: &Call<'_>) -> Option<String> {
    let json = call.json.filter(|_| !call.outcome.succeeded())?;
    match (json.get("cniVersion").and_then(Value::as_str), call.version) {
        (None | Some(""), _) => Some("the error has no `cniVersion`".into()),
        (Some(said), Some(asked)) if said != asked => {
            Some(format!("the error is of cniVersion {said:?}, the configuration of {asked:?}"))
        }
        _ => None,
    }
}

fn result_version(call: &Call<'_>) -> Option<String> {
    let json = call.json.filter(|_| call.outcome.succeeded() && call.verb == "ADD")?;
    let said = json.get("cniVersion").and_then(Value::as_str);
    (said != call.version)
        .then(|| format!("the result is of cniVersion {said:?}, asked was {:?}", call.version))
}

fn result_shape(call: &Call<'_>) -> Option<String> {
    let json = call.json.filter(|_| call.outcome.succeeded() && call.verb == "ADD")?;
    let version = call.version?;
    let interfaces = json.get("interfaces").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for interface in interfaces {
        if !interface.get("name").is_some_and(Value::is_string) {
            return Some("an interface has no `name`".into());
        }
        for newer in ["mtu", "socketPath", "pciID"] {
            if version != "1.1.0" && interface.get(newer).is_some() {
                return Some(format!("`{newer}` came with 1.1.0"));
            }
        }
    }
    for ip in json.get("ips").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        if ip.get("address").and_then(Value::as_str).is_none_or(|address| !address.contains('/')) {
            return Some("an address has no prefix length".into());
        }
        let family = matches!(ip.get("version").and_then(Value::as_str), Some("4" | "6"));
        if version.starts_with("0.") != family {
            return Some(format!("`version` of an address in a result of {version}: {ip}"));
        }
        let index = ip.get("interface").and_then(Value::as_u64);
        if index.is_some_and(|index| index as usize >= interfaces.len()) {
            return Some(format!("an address of interface {index:?}, which is not there"));
        }
    }
    None
}
