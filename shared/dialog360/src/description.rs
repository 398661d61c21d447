//! What describes a channel: texts that 360dialog writes and that are shown as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest text that is taken over, in characters.
const LONGEST_TEXT: usize = 256;

/// One descriptive field of a channel. As JSON it is the field's name, such as `"phone_number"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The WhatsApp number, as 360dialog writes it.
    PhoneNumber,
    /// The name that recipients see.
    DisplayName,
    /// The quality rating, in 360dialog's word.
    Quality,
    /// The messaging limit, in 360dialog's word.
    MessagingLimit,
}

impl Field {
    /// Every field, in the order in which they are shown.
    pub const ALL: [Self; 4] = [
        Self::PhoneNumber,
        Self::DisplayName,
        Self::Quality,
        Self::MessagingLimit,
    ];

    /// Its name in words, such as `phone number`.
    pub fn label(self) -> &'static str {
        match self {
            Self::PhoneNumber => "phone number",
            Self::DisplayName => "display name",
            Self::Quality => "quality",
            Self::MessagingLimit => "messaging limit",
        }
    }

    /// Where 360dialog writes it, in events and in channel objects: the first place that holds a text counts.
    fn pointers(self) -> &'static [&'static str] {
        match self {
            Self::PhoneNumber => &["/setup_info/phone_number", "/phone_number"],
            Self::DisplayName => &["/setup_info/phone_name", "/phone_name"],
            Self::Quality => &["/current_quality_rating"],
            Self::MessagingLimit => &["/current_limit"],
        }
    }
}

/// The descriptive fields that are known, each 1 to 256 characters.
pub type Description = BTreeMap<Field, String>;

/// Whether the field `name` of a channel object describes it.
pub(crate) fn reads(name: &str) -> bool {
    let pointers = Field::ALL.iter().flat_map(|field| field.pointers());
    let mut firsts = pointers.filter_map(|pointer| pointer.split('/').nth(1));
    firsts.any(|first| first == name)
}

/// Reads the descriptive fields of an event's `data` or of a channel object.
pub(crate) fn read(object: &Value) -> Description {
    let known = |field: &Field| {
        let texts = field
            .pointers()
            .iter()
            .map(|pointer| text(object.pointer(pointer)));
        Some((*field, texts.flatten().next()?))
    };
    Field::ALL.iter().filter_map(known).collect()
}

/// A text of 1 to 256 characters; a number is taken as it is written.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let fits = !text.is_empty() && text.chars().nth(LONGEST_TEXT).is_none();
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_read_where_360dialog_writes_it() {
        let object = json!({
            "setup_info": {"phone_number": 4_930_123, "phone_name": "Zürich"}, "phone_name": "old",
            "current_quality_rating": "High", "current_limit": 1000,
        });
        let expected = ["4930123", "Zürich", "High", "1000"].map(str::to_owned);
        assert_eq!(
            read(&object),
            Field::ALL.into_iter().zip(expected).collect()
        );
        let flat = read(&json!({"phone_number": "1", "phone_name": "a"}));
        assert_eq!(
            (&*flat[&Field::PhoneNumber], &*flat[&Field::DisplayName]),
            ("1", "a")
        );
        assert_eq!(flat.len(), 2);
    }

    #[test]
    fn a_text_of_more_than_256_characters_is_left_out() {
        let name = |n| text(Some(&Value::from("ü".repeat(n))));
        assert!(name(256).is_some() && name(257).is_none() && name(0).is_none());
    }

    #[test]
    fn a_label_is_the_name_in_words() {
        for field in Field::ALL {
            assert_eq!(json!(field), json!(field.label().replace(' ', "_")));
        }
    }
}
