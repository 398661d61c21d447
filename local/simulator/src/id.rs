//! Random ids in 360dialog's form, API keys, and fictitious phone numbers.
//!
//! The generator is not cryptographic: a simulated key protects nothing of value.

use std::iter::repeat_with;

const LONGEST_ID: usize = 64;
const KEY_LENGTH: usize = 32;

/// Whether a text can be used as an id in addresses and lists.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

pub(crate) fn client() -> String {
    alphanumeric(8) + "CL"
}

pub(crate) fn channel() -> String {
    alphanumeric(6) + "CH"
}

pub(crate) fn waba_account() -> String {
    alphanumeric(6) + "WA"
}

pub(crate) fn template() -> String {
    alphanumeric(22) + "WT"
}

pub(crate) fn event() -> String {
    format!("evt_{}", alphanumeric(24))
}

pub(crate) fn message() -> String {
    format!("wamid.{}", alphanumeric(32))
}

pub(crate) fn api_key() -> String {
    format!("{}_AK", alphanumeric(KEY_LENGTH))
}

pub(crate) fn token() -> String {
    alphanumeric(KEY_LENGTH)
}

/// A decimal id, as keys, applications and Facebook accounts have.
pub(crate) fn number() -> String {
    fastrand::u64(100_000_000..1_000_000_000).to_string()
}

/// A phone number out of the range set aside for fiction, 555-0100 to 555-0199.
pub(crate) fn phone_number() -> String {
    format!(
        "1{}55501{:02}",
        fastrand::u32(201..990),
        fastrand::u32(0..100)
    )
}

fn alphanumeric(length: usize) -> String {
    repeat_with(fastrand::alphanumeric).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_documented_form() {
        for (id, ending) in [(client(), "CL"), (channel(), "CH"), (waba_account(), "WA")] {
            assert!(is_id(&id) && id.ends_with(ending), "{id}");
        }
        assert_eq!(phone_number().len(), 11);
        assert!(phone_number()[4..].starts_with("55501"));
    }

    #[test]
    fn an_id_holds_no_character_that_could_break_an_address() {
        for text in ["", "a/b", "a b", "a]", "ü", &"a".repeat(65)] {
            assert!(!is_id(text), "{text}");
        }
    }
}
