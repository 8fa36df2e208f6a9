//! `CNI_ARGS`: `KEY=VALUE` pairs, separated by semicolons.

use super::super::failure::{Code, Failure};
use super::shown;

/// The arguments that we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Kubernetes namespace, name and UID of the pod; empty where not given.
    pub namespace: String,
    /// See `namespace`.
    pub pod: String,
    /// See `namespace`.
    pub pod_uid: String,
    /// `MAC`; `None`: not given, or empty.
    pub mac: Option<String>,
    /// `IP`: addresses, separated by commas.
    pub ips: Vec<String>,
    /// `GATEWAY`: of each family one, separated by commas.
    pub gateways: Vec<String>,
}

impl Arguments {
    /// Takes a value of `CNI_ARGS` apart. A value may hold '='; of a key that comes twice the last counts.
    ///
    /// # Errors
    /// Code 4: a pair without '=', or a key that we do not know without `IgnoreUnknown=true`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |msg: String| Failure::new(Code::InvalidEnvironment, msg);
        let mut arguments = Self::default();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(wrong(format!("CNI_ARGS: \"{}\" is not KEY=VALUE", shown(pair))));
            };
            match key {
                "IgnoreUnknown" => {
                    ignore_unknown = match value.to_ascii_lowercase().as_str() {
                        "1" | "true" => true,
                        "0" | "false" => false,
                        _ => {
                            let value = shown(value);
                            return Err(wrong(format!(
                                "CNI_ARGS: IgnoreUnknown is true or false, not \"{value}\""
                            )));
                        }
                    }
                }
                "K8S_POD_NAMESPACE" => value.clone_into(&mut arguments.namespace),
                "K8S_POD_NAME" => value.clone_into(&mut arguments.pod),
                "K8S_POD_UID" => value.clone_into(&mut arguments.pod_uid),
                // The sandbox's id, which CNI_CONTAINERID is already.
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                "MAC" => arguments.mac = Some(value.to_owned()).filter(|mac| !mac.is_empty()),
                "IP" => arguments.ips = list(value),
                "GATEWAY" => arguments.gateways = list(value),
                other => unknown.push(format!("{}={}", shown(other), shown(value))),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(wrong(format!("CNI_ARGS: unknown arguments: {}", unknown.join(", ")))
                .with("IgnoreUnknown=true passes over them"));
        }
        Ok(arguments)
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_multus_sends() {
        let text = "IgnoreUnknown=true;K8S_POD_NAMESPACE=a;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=;K8S_POD_UID=u=1";
        let arguments = Arguments::parse(text).unwrap();
        assert_eq!((arguments.namespace.as_str(), arguments.pod.as_str()), ("a", "p"));
        assert_eq!(arguments.pod_uid, "u=1");
    }

    #[test]
    fn addresses() {
        let arguments =
            Arguments::parse("MAC=02:00:00:00:00:01;IP=10.0.0.1/24, fd00::1/64;GATEWAY=10.0.0.254").unwrap();
        assert_eq!(arguments.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(arguments.ips, ["10.0.0.1/24", "fd00::1/64"]);
        assert_eq!(arguments.gateways, ["10.0.0.254"]);
    }

    #[test]
    fn unknown_keys_need_leave() {
        for text in ["A=b", "A=b;IgnoreUnknown=false", "IgnoreUnknown=0;A=b"] {
            let failure = Arguments::parse(text).unwrap_err();
            assert_eq!(failure.code, 4, "{text}");
            assert!(failure.msg.contains("A=b"), "{}", failure.msg);
        }
        for text in ["A=b;IgnoreUnknown=1", "IgnoreUnknown=TRUE;A=b=c;;", ""] {
            assert_eq!(Arguments::parse(text).unwrap(), Arguments::default(), "{text}");
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in ["K8S_POD_NAME", "IgnoreUnknown=true;x", "IgnoreUnknown=perhaps", "=;x"] {
            assert_eq!(Arguments::parse(text).unwrap_err().code, 4, "{text}");
        }
    }
}
