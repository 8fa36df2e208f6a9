//! Versions of the CNI specification: which we speak, and which verb came with which.
//!
//! The call's version is the configuration's `cniVersion`; the result must have the same.

use std::fmt;

use super::environment::Verb;
use super::failure::{Code, Failure};

/// A version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the numbers")]
pub enum Version {
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The one that an error object carries when the input has none that can be read.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The inverse of [`Self::text`].
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.text() == text)
    }

    /// Whether results have an explicit "4" or "6" with each address.
    #[must_use]
    pub fn has_address_families(self) -> bool {
        self < Self::V1_0_0
    }

    /// The version of a configuration for a verb.
    ///
    /// # Errors
    /// Code 1: one that we do not speak, or one that does not have the verb.
    pub fn of(text: &str, verb: Verb) -> Result<Self, Failure> {
        let all = Self::ALL.map(Self::text).join(", ");
        let version = Self::from_text(text).ok_or_else(|| {
            let msg = format!("incompatible CNI versions: the configuration has \"{text}\"");
            Failure::new(Code::IncompatibleVersion, msg).with(format!("this plugin speaks {all}"))
        })?;
        let since = match verb {
            Verb::Check => Self::V0_4_0,
            Verb::Gc | Verb::Status => Self::V1_1_0,
            Verb::Add | Verb::Del | Verb::Version => Self::V0_3_0,
        };
        if version < since {
            let msg = format!("the configuration's cniVersion {version} has no {verb}, it came with {since}");
            return Err(Failure::new(Code::IncompatibleVersion, msg));
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_first_version() {
        let first = |verb| Version::ALL.into_iter().find(|v| Version::of(v.text(), verb).is_ok());
        assert_eq!(first(Verb::Add), Some(Version::V0_3_0));
        assert_eq!(first(Verb::Del), Some(Version::V0_3_0));
        assert_eq!(first(Verb::Check), Some(Version::V0_4_0));
        assert_eq!(first(Verb::Gc), Some(Version::V1_1_0));
        assert_eq!(first(Verb::Status), Some(Version::V1_1_0));
    }

    #[test]
    fn others_are_code_1() {
        for text in ["", "0.1.0", "0.2.0", "1.2.0", "2", "1.0", "v1.0.0", " 1.0.0"] {
            assert_eq!(Version::of(text, Verb::Add).unwrap_err().code, 1, "{text}");
        }
        assert_eq!(Version::of("1.0.0", Verb::Gc).unwrap_err().code, 1);
    }
}
