//! The path under which a channel's API keys are listed and made.

use std::str::FromStr;

use crate::id::ChannelRef;

/// A path of the Partner API that may hold `{partner_id}` and must hold `{channel_id}`.
///
/// The default is what works in production; 360dialog's samples say `/partners/channels/{channel_id}/api-keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysPath(String);

impl KeysPath {
    pub(super) fn fill(&self, channel: &ChannelRef) -> String {
        self.0
            .replace("{partner_id}", channel.partner.as_str())
            .replace("{channel_id}", channel.channel.as_str())
    }
}

impl Default for KeysPath {
    fn default() -> Self {
        Self("/partners/{partner_id}/channels/{channel_id}/api_keys".to_owned())
    }
}

impl FromStr for KeysPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') || !text.contains("{channel_id}") {
            return Err("it must start with / and hold {channel_id}");
        }
        let rest = text.replace("{partner_id}", "").replace("{channel_id}", "");
        let is_odd =
            |c: char| matches!(c, '{' | '}' | '?' | '#') || c.is_whitespace() || c.is_control();
        if rest.contains(is_odd) {
            return Err(
                "it must be a path without a query, whose only placeholders are {partner_id} and {channel_id}",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_path_names_the_channel() {
        let channel = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let default = KeysPath::default();
        assert_eq!(
            default.fill(&channel),
            "/partners/aPA/channels/bCH/api_keys"
        );
        assert_eq!(default.0.parse::<KeysPath>().unwrap(), default);
        for bad in [
            "/partners/api-keys",
            "channels/{channel_id}",
            "/{channel_id}/{waba}",
            "/{channel_id}/}",
            "/{channel_id}?x=1",
            "/{channel_id}#x",
            "/{channel_id}/a b",
            "/{channel_id}/\u{7f}",
        ] {
            assert!(bad.parse::<KeysPath>().is_err(), "{bad}");
        }
    }
}
