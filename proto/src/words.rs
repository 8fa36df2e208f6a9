//! Enumerations as the short lower-case words that JSON, tables and flags use.

use crate::v1::{PortState, SocketMode};

/// Adds `word`, `from_word` and a serde module to an enumeration that prost keeps as `i32`.
macro_rules! words {
    ($module:ident, $enum:ident, $($variant:ident = $word:literal),* $(,)?) => {
        impl $enum {
            /// The short lower-case word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $($enum::$variant => $word,)* }
            }

            /// The inverse of `word`.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($enum::$variant),)* _ => None }
            }
        }

        pub(crate) mod $module {
            use serde::de::Error as _;
            use serde::{Deserialize as _, Deserializer, Serializer};

            use super::$enum;

            pub(crate) fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str($enum::try_from(*value).unwrap_or_default().word())
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
                let word = String::deserialize(from)?;
                $enum::from_word(&word)
                    .map(|value| value as i32)
                    .ok_or_else(|| D::Error::unknown_variant(&word, &[$($word),*]))
            }
        }
    };
}

words!(socket_mode, SocketMode, Unspecified = "", Server = "server", Client = "client");
words!(
    port_state,
    PortState,
    Unspecified = "",
    Waiting = "waiting",
    Connected = "connected",
    Negotiated = "negotiated",
    Running = "running",
    Paused = "paused",
    Faulted = "faulted",
    Gone = "gone",
);
