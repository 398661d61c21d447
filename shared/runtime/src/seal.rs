//! The port that seals API keys for the table: KMS on AWS, a key file on one machine. A sealed key opens for its own
//! channel only.

use async_trait::async_trait;
use dialog360::id::ChannelRef;
use dialog360::secret::Secret;
use serde::Deserialize;
use serde_json::json;

/// Sealing or opening failed. The message never holds a key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SealError {
    /// The service or the key file could not be reached, or refused.
    #[error("key encryption: {0}")]
    Unavailable(String),
    /// It was sealed for another channel or with another key, or it is not in the form we write.
    #[error("key encryption: a sealed key cannot be opened")]
    Malformed,
}

/// Seals and opens texts. Each is bound to a channel: [`context`].
#[async_trait]
pub trait KeySeal: Send + Sync {
    /// Seals `text` for `channel`; at most 4,096 bytes.
    async fn seal(&self, channel: &ChannelRef, text: &Secret) -> Result<Vec<u8>, SealError>;

    /// Opens what was sealed for `channel`.
    async fn open(&self, channel: &ChannelRef, sealed: &[u8]) -> Result<Secret, SealError>;
}

/// The names and values to which a sealed text is bound, as KMS takes them for its encryption context.
pub fn context(ChannelRef { partner, channel }: &ChannelRef) -> [(&'static str, &str); 2] {
    [
        ("partner_id", partner.as_str()),
        ("channel_id", channel.as_str()),
    ]
}

/// A channel's API key, as it is sealed: `{"api_key","key_id","address"}`.
#[derive(Clone, Debug)]
pub struct ChannelKey {
    /// The key itself.
    pub api_key: Secret,
    /// 360dialog's id of it, if it is known.
    pub key_id: Option<String>,
    /// The address that messages are sent to with it, if 360dialog gave one.
    pub address: Option<String>,
}

impl ChannelKey {
    /// The text that is sealed.
    pub fn to_json(&self) -> Secret {
        let text = json!({
            "api_key": self.api_key.expose(),
            "key_id": self.key_id,
            "address": self.address,
        });
        Secret::new(text.to_string())
    }

    /// Reads the text that was sealed.
    pub fn from_json(text: &Secret) -> Result<Self, SealError> {
        #[derive(Deserialize)]
        struct Written {
            api_key: String,
            key_id: Option<String>,
            address: Option<String>,
        }
        let read = serde_json::from_str::<Written>(text.expose());
        let read = read.map_err(|_| SealError::Malformed)?;
        Ok(Self {
            api_key: Secret::new(read.api_key),
            key_id: read.key_id,
            address: read.address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is_a_key() {
        let key = ChannelKey {
            api_key: Secret::new("needle"),
            key_id: Some("7".to_owned()),
            address: None,
        };
        let read = ChannelKey::from_json(&key.to_json()).unwrap();
        assert_eq!(read.api_key.expose(), "needle");
        assert_eq!(
            (read.key_id.as_deref(), read.address.as_deref()),
            (Some("7"), None)
        );
        assert!(!format!("{read:?}").contains("needle"));
        let error = ChannelKey::from_json(&Secret::new(r#"{"api_key":needle}"#)).unwrap_err();
        assert!(!error.to_string().contains("needle"));
    }
}
