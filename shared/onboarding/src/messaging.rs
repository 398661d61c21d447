//! A number's messaging webhook: where its messages go, and when setting it is tried again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use dialog360::id::ChannelRef;
use dialog360::secret::Secret;
use sha2::{Digest, Sha256};
use url::Url;

/// The pauses between tries, before they are a day long.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
];

/// The last and longest pause between tries.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The pause after `failures` tries in a row that failed, the last included.
pub fn pause_after(failures: u32) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    PAUSES.get(index).copied().unwrap_or(LONGEST_PAUSE)
}

/// An absolute `http` or `https` address that may hold `{partner_id}` and `{channel_id}`. `Debug` does not show it: its query
/// may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

/// Why a text is no address for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// It is no absolute address.
    #[error("it must be an absolute address such as https://app.example/messages/{{channel_id}}")]
    Malformed,
    /// It holds another placeholder, or one before the path.
    #[error(
        "its only placeholders are {{partner_id}} and {{channel_id}}, and they stand behind the host"
    )]
    Placeholder,
    /// It holds a user name or a fragment.
    #[error("it must hold neither a user name nor a fragment")]
    MoreThanAnAddress,
}

impl WebhookUrl {
    /// The address for one channel.
    pub fn fill(&self, channel: &ChannelRef) -> String {
        self.0
            .replace("{partner_id}", channel.partner.as_str())
            .replace("{channel_id}", channel.channel.as_str())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl([redacted])")
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let is_odd =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '"' | '<' | '>');
        if text.contains(is_odd) {
            return Err(WebhookUrlError::Malformed);
        }
        let rest = ["https://", "http://"].map(|scheme| text.strip_prefix(scheme));
        let rest = rest.into_iter().flatten().next();
        let rest = rest.ok_or(WebhookUrlError::Malformed)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let unnamed = text.replace("{partner_id}", "").replace("{channel_id}", "");
        if host.contains(['{', '}']) || unnamed.contains(['{', '}']) {
            return Err(WebhookUrlError::Placeholder);
        }
        if host.contains('@') || text.contains('#') {
            return Err(WebhookUrlError::MoreThanAnAddress);
        }
        let is_address = !host.is_empty() && Url::parse(text).is_ok();
        is_address
            .then(|| Self(text.to_owned()))
            .ok_or(WebhookUrlError::Malformed)
    }
}

/// A mark of everything that is set with one key of a number: another mark, another webhook to be set. `key` names the key.
pub fn mark(url: &str, headers: &BTreeMap<String, Secret>, key: &str) -> String {
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    // Plain texts always serialise; an empty text would still be a valid mark.
    let content = serde_json::to_vec(&(url, headers, key)).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_repeated_after_1_5_15_and_60_minutes_and_then_every_day() {
        let minutes: Vec<u64> = (1..=6)
            .map(|failures| pause_after(failures).as_secs() / 60)
            .collect();
        assert_eq!(minutes, [1, 5, 15, 60, 1440, 1440]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn an_address_is_filled_with_both_ids() {
        let url = "https://app.example/{partner_id}/in?number={channel_id}";
        let url: WebhookUrl = url.parse().unwrap();
        let channel = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        assert_eq!(url.fill(&channel), "https://app.example/aPA/in?number=bCH");
        assert!(!format!("{url:?}").contains("app.example"));
    }

    #[test]
    fn only_an_absolute_address_with_known_placeholders_is_taken() {
        for good in ["http://[::1]:80/x?y=z", "https://app.example"] {
            assert!(good.parse::<WebhookUrl>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("app.example/x", WebhookUrlError::Malformed),
            ("ftp://app.example", WebhookUrlError::Malformed),
            ("https://", WebhookUrlError::Malformed),
            ("https:///x", WebhookUrlError::Malformed),
            ("https://a.example/x y", WebhookUrlError::Malformed),
            ("https://a.example\\x", WebhookUrlError::Malformed),
            ("https://a.example:99999", WebhookUrlError::Malformed),
            ("https://{channel_id}.example", WebhookUrlError::Placeholder),
            ("https://a.example/{number}", WebhookUrlError::Placeholder),
            (
                "https://a.example/{channel_id",
                WebhookUrlError::Placeholder,
            ),
            ("https://u@a.example", WebhookUrlError::MoreThanAnAddress),
            ("https://a.example/#x", WebhookUrlError::MoreThanAnAddress),
        ] {
            assert_eq!(bad.parse::<WebhookUrl>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_mark_changes_with_address_headers_and_key() {
        let headers = |value: &str| BTreeMap::from([("X-A".to_owned(), Secret::new(value))]);
        let one = mark("https://a.example", &headers("v"), "7");
        assert_eq!(one, mark("https://a.example", &headers("v"), "7"));
        for other in [
            mark("https://b.example", &headers("v"), "7"),
            mark("https://a.example", &headers("w"), "7"),
            mark("https://a.example", &BTreeMap::new(), "7"),
            mark("https://a.example", &headers("v"), "8"),
        ] {
            assert_ne!(one, other);
        }
    }
}
