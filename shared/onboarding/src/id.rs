//! Names of partners, clients, channels and tenants, checked on the way in.
//!
//! An id ends up in item keys, in paths of the Partner API and in names of secrets,
//! so a value of one of these types can only exist if it is harmless in all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest id of a partner, client or channel that is accepted, in characters.
const ID_MAX: usize = 64;

/// Longest tenant name that is accepted, in characters (not bytes).
const TENANT_MAX: usize = 128;

/// Why a text is no id. The text itself is not repeated: it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("it is empty: give at least one character")]
    Empty,
    /// The text is longer than `max` characters.
    #[error("it is too long: give at most {max} characters")]
    TooLong {
        /// The most characters that are accepted.
        max: usize,
    },
    /// The text holds a character outside `[A-Za-z0-9_-]`.
    #[error("it holds a character that no id has: use only letters, digits, '_' and '-'")]
    ForeignCharacter,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, as it came in.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// A partner's hub on 360dialog, such as `aAbBcCPA`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`. A company with several hubs has several of these.
    PartnerId, check_id
}

checked_text! {
    /// A partner's customer on 360dialog, such as `oaY9LLfUCL`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`; the usual ending `CL` is not relied on.
    ClientId, check_id
}

checked_text! {
    /// One WhatsApp number on 360dialog, such as `y9MiLoCH`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`; the usual ending `CH` is not relied on.
    ChannelId, check_id
}

checked_text! {
    /// One customer of the partner's own application, as that application names it.
    ///
    /// 1 to 128 characters of any kind: it is never part of a path or a link.
    Tenant, check_tenant
}

fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.chars().count() > ID_MAX {
        return Err(IdError::TooLong { max: ID_MAX });
    }
    if !text.bytes().all(is_id_byte) {
        return Err(IdError::ForeignCharacter);
    }
    Ok(())
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn check_tenant(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.chars().count() > TENANT_MAX {
        return Err(IdError::TooLong { max: TENANT_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_ids_are_accepted() {
        assert_eq!(
            "aAbBcCPA".parse::<PartnerId>().unwrap().as_str(),
            "aAbBcCPA"
        );
        assert_eq!(
            "oaY9LLfUCL".parse::<ClientId>().unwrap().to_string(),
            "oaY9LLfUCL"
        );
        assert_eq!(
            "y9MiLoCH".parse::<ChannelId>().unwrap().as_ref(),
            "y9MiLoCH"
        );
    }

    #[test]
    fn an_empty_id_is_refused() {
        assert_eq!("".parse::<ChannelId>(), Err(IdError::Empty));
        assert_eq!("".parse::<Tenant>(), Err(IdError::Empty));
    }

    #[test]
    fn an_id_has_at_most_64_characters() {
        assert!("a".repeat(64).parse::<ChannelId>().is_ok());
        assert_eq!(
            "a".repeat(65).parse::<ChannelId>(),
            Err(IdError::TooLong { max: 64 })
        );
    }

    #[test]
    fn whatever_could_leave_a_path_or_a_key_is_refused() {
        for text in [
            "../x", "a/b", "a#b", "a b", "a\n", "é", "%61", "{x}", "a,b", "a.b",
        ] {
            assert_eq!(
                text.parse::<ChannelId>(),
                Err(IdError::ForeignCharacter),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tenant_is_counted_in_characters_not_bytes() {
        assert!("ü".repeat(128).parse::<Tenant>().is_ok());
        assert_eq!(
            "ü".repeat(129).parse::<Tenant>(),
            Err(IdError::TooLong { max: 128 })
        );
    }

    #[test]
    fn an_id_in_json_is_a_plain_string_and_is_checked() {
        let id: ChannelId = serde_json::from_str(r#""aCH""#).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""aCH""#);
        assert!(serde_json::from_str::<ChannelId>(r#""a/b""#).is_err());
    }

    #[test]
    fn the_refusal_does_not_repeat_the_text() {
        let refusal = serde_json::from_str::<ChannelId>(r#""<needle>""#).unwrap_err();
        assert!(!refusal.to_string().contains("needle"));
    }

    proptest! {
        #[test]
        fn every_id_survives_a_round_trip(text in "[A-Za-z0-9_-]{1,64}") {
            let id: ClientId = text.parse().unwrap();
            prop_assert_eq!(id.to_string().parse::<ClientId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_the_check_panic(text in ".*") {
            let _ = text.parse::<ClientId>();
            let _ = text.parse::<Tenant>();
        }
    }
}
