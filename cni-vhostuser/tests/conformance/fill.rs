//! Variables: `{name}` in texts of cases and profiles.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A text with a variable that nobody set.
#[derive(Debug, thiserror::Error)]
#[error("there is no variable {{{name}}} (in {text:?})")]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub text: String,
}

/// Variables of one run of a case.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, Value>);

impl Variables {
    /// Sets one to a text.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.into(), Value::String(value.into()));
    }

    /// Sets one to a JSON value, such as a result that goes back as `prevResult`.
    pub fn keep(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// The text with every `{name}` replaced; other braces stay, so JSON may stand there as it is.
    pub fn text(&self, text: &str) -> Result<String, Unset> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let after = &rest[at + 1..];
            let length = after.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(after.len());
            if length == 0 || !after[length..].starts_with('}') {
                filled.push_str(&rest[..=at]);
                rest = after;
                continue;
            }
            let name = &after[..length];
            let value = self.0.get(name).ok_or_else(|| Unset { name: name.into(), text: text.into() })?;
            filled.push_str(&rest[..at]);
            match value {
                Value::String(value) => filled.push_str(value),
                other => filled.push_str(&other.to_string()),
            }
            rest = &after[length + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// A JSON value with its texts and keys filled in. A text that is one variable alone becomes that variable's value.
    pub fn value(&self, value: &Value) -> Result<Value, Unset> {
        Ok(match value {
            Value::String(text) => match self.alone(text) {
                Some(value) => value.clone(),
                None => Value::String(self.text(text)?),
            },
            Value::Array(all) => {
                Value::Array(all.iter().map(|one| self.value(one)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Value::Object(self.map(map)?),
            other => other.clone(),
        })
    }

    /// The same for the keys and values of an object.
    pub fn map(&self, map: &Map<String, Value>) -> Result<Map<String, Value>, Unset> {
        map.iter().map(|(key, value)| Ok((self.text(key)?, self.value(value)?))).collect()
    }

    /// The same for a table of texts.
    pub fn table(&self, table: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Unset> {
        table.iter().map(|(key, value)| Ok((key.clone(), self.text(value)?))).collect()
    }

    fn alone(&self, text: &str) -> Option<&Value> {
        self.0.get(text.strip_prefix('{')?.strip_suffix('}')?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_are_filled_in_and_other_braces_stay() {
        let mut variables = Variables::default();
        variables.set("tmp", "/x");
        variables.keep("result", json!({ "ips": [] }));
        assert_eq!(variables.text(r#"{"a":"{tmp}/b{","c":{}}"#).unwrap(), r#"{"a":"/x/b{","c":{}}"#);
        assert_eq!(variables.text("{result}").unwrap(), r#"{"ips":[]}"#);
        assert_eq!(
            variables.value(&json!({ "prevResult": "{result}", "n": 1, "{tmp}": ["{tmp}"] })).unwrap(),
            json!({ "prevResult": { "ips": [] }, "n": 1, "/x": ["/x"] })
        );
        assert!(variables.text("{nobody}").unwrap_err().to_string().contains("{nobody}"));
    }
}
