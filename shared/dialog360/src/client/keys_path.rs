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

/// Why a text is no path of a channel's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysPathError {
    /// It is no absolute path, or does not name the channel.
    #[error("it must start with / and hold {{channel_id}}")]
    NoChannel,
    /// It holds a query, a fragment, a space or another placeholder.
    #[error(
        "it must be a path without a query, whose only placeholders are {{partner_id}} and {{channel_id}}"
    )]
    MoreThanAPath,
}

impl FromStr for KeysPath {
    type Err = KeysPathError;

    fn from_str(text: &str) -> Result<Self, KeysPathError> {
        if !text.starts_with('/') || !text.contains("{channel_id}") {
            return Err(KeysPathError::NoChannel);
        }
        let rest = text.replace("{partner_id}", "").replace("{channel_id}", "");
        let is_odd =
            |c: char| matches!(c, '{' | '}' | '?' | '#') || c.is_whitespace() || c.is_control();
        if rest.contains(is_odd) {
            return Err(KeysPathError::MoreThanAPath);
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
    }

    #[test]
    fn a_keys_path_is_a_path_that_holds_the_channel_and_nothing_foreign() {
        for (bad, reason) in [
            ("/partners/api-keys", KeysPathError::NoChannel),
            ("channels/{channel_id}", KeysPathError::NoChannel),
            ("/{channel_id}/{waba}", KeysPathError::MoreThanAPath),
            ("/{channel_id}/}", KeysPathError::MoreThanAPath),
            ("/{channel_id}?x=1", KeysPathError::MoreThanAPath),
            ("/{channel_id}#x", KeysPathError::MoreThanAPath),
            ("/{channel_id}/a b", KeysPathError::MoreThanAPath),
            ("/{channel_id}/\u{7f}", KeysPathError::MoreThanAPath),
        ] {
            assert_eq!(bad.parse::<KeysPath>(), Err(reason), "{bad}");
        }
        let message = KeysPathError::NoChannel.to_string();
        assert_eq!(message, "it must start with / and hold {channel_id}");
    }
}
