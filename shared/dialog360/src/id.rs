//! Ids of partners, clients and channels, checked on the way in.
//!
//! An id ends up in item keys, in paths of the Partner API and in the names of secrets,
//! so a value of one of these types can only exist if it is harmless in all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest id of a partner, client or channel that is accepted, in characters.
const LONGEST: usize = 64;

/// Why a text is no id. The text itself is not repeated: it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("it is empty: give at least one character")]
    Empty,
    /// The text is longer than 64 characters.
    #[error("it is too long: give at most {LONGEST} characters")]
    TooLong,
    /// The text holds a character outside `[A-Za-z0-9_-]`.
    #[error("it holds a character that no id has: use only letters, digits, '_' and '-'")]
    ForeignCharacter,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
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
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text)?;
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

id! {
    /// A partner at 360dialog, such as `aAbBcCPA`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`. A company with several Partner Hubs has one for each.
    PartnerId
}

id! {
    /// A partner's customer on 360dialog, such as `oaY9LLfUCL`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`; the usual ending `CL` is not relied on.
    ClientId
}

id! {
    /// One WhatsApp number on 360dialog, such as `y9MiLoCH`.
    ///
    /// 1 to 64 characters of `[A-Za-z0-9_-]`; the usual ending `CH` is not relied on.
    ChannelId
}

/// One channel of one partner: an id is only known to be unique within its partner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ChannelRef {
    /// The partner.
    pub partner: PartnerId,
    /// The channel.
    pub channel: ChannelId,
}

impl ChannelRef {
    /// The channel `channel` of `partner`.
    pub fn new(partner: PartnerId, channel: ChannelId) -> Self {
        Self { partner, channel }
    }
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.chars().count() > LONGEST {
        return Err(IdError::TooLong);
    }
    if !text.bytes().all(is_id_byte) {
        return Err(IdError::ForeignCharacter);
    }
    Ok(())
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
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
    }

    #[test]
    fn an_id_has_at_most_64_characters() {
        assert!("a".repeat(64).parse::<ChannelId>().is_ok());
        assert_eq!("a".repeat(65).parse::<ChannelId>(), Err(IdError::TooLong));
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
        }
    }
}
