//! The port for the key vault: Secrets Manager on AWS, a file on one machine. Its version labels are the fence: a late
//! worker cannot replace the key of another.

use async_trait::async_trait;
use dialog360::id::{ChannelId, ChannelRef, ClientId};
use dialog360::secret::Secret;
use onboarding::tenant::Tenant;
use serde_json::json;

/// The prefix of the names of the channels' secrets, unless `CHANNEL_SECRET_PREFIX` says otherwise.
pub const CHANNEL_SECRET_PREFIX: &str = "360dialog/channels/";

/// The vault failed. The message never holds a key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// It could not be reached, refused the call, or throttled it.
    #[error("key vault: {0}")]
    Unavailable(String),
    /// The secret is not in the form we write.
    #[error("key vault: a secret is not in the form we write")]
    Malformed,
}

/// A channel's API key, as the vault holds it: `{"api_key","key_id","address","channel_id","client_id","tenant"}`.
#[derive(Clone, Debug)]
pub struct ChannelKey {
    /// The key itself.
    pub api_key: Secret,
    /// 360dialog's id of it, if it gave one.
    pub key_id: Option<String>,
    /// The address that messages are sent to with it, if 360dialog gave one.
    pub address: Option<String>,
    /// The channel.
    pub channel: ChannelId,
    /// The client it belongs to.
    pub client: ClientId,
    /// The tenant it belongs to.
    pub tenant: Tenant,
}

impl ChannelKey {
    /// The secret's text.
    pub fn to_json(&self) -> Secret {
        let text = json!({
            "api_key": self.api_key.expose(),
            "key_id": self.key_id,
            "address": self.address,
            "channel_id": self.channel,
            "client_id": self.client,
            "tenant": self.tenant,
        });
        Secret::new(text.to_string())
    }

    /// The `key_id` in a secret's text; `None` for the first version, `{}`, and for a key without an id.
    pub fn key_id_in(text: &str) -> Result<Option<String>, VaultError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| VaultError::Malformed)?;
        let value = value.as_object().ok_or(VaultError::Malformed)?;
        Ok(value
            .get("key_id")
            .and_then(|id| id.as_str())
            .map(str::to_owned))
    }
}

/// The current version: the fence of the next move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: String,
    /// 360dialog's id of the key in it.
    pub key_id: Option<String>,
}

/// Outcome of moving the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The attempt is the current version.
    Done,
    /// Another version has become current meanwhile.
    Fenced,
}

/// The vault of the keys. A name is `{CHANNEL_SECRET_PREFIX}{partner_id}/{channel_id}`.
#[async_trait]
pub trait KeyVault: Send + Sync {
    /// The version labelled `AWSCURRENT`. If the secret does not exist, creates it with a first version `{}` under
    /// `token`, which also shows that the vault can be written.
    async fn current(&self, name: &str, token: &str) -> Result<Version, VaultError>;

    /// Stores `key` as version `token` with the single label `ATTEMPT`. Doing it again changes nothing.
    async fn put_attempt(
        &self,
        name: &str,
        token: &str,
        key: &ChannelKey,
    ) -> Result<(), VaultError>;

    /// Moves `AWSCURRENT` from version `from` to version `token`.
    async fn make_current(&self, name: &str, token: &str, from: &str) -> Result<Moved, VaultError>;
}

/// The name of a channel's secret.
pub fn secret_name(prefix: &str, ChannelRef { partner, channel }: &ChannelRef) -> String {
    format!("{prefix}{partner}/{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_holds_no_key() {
        assert_eq!(ChannelKey::key_id_in("{}").unwrap(), None);
        assert_eq!(
            ChannelKey::key_id_in(r#"{"api_key":"x","key_id":"7"}"#).unwrap(),
            Some("7".into())
        );
        assert!(ChannelKey::key_id_in("secret text").is_err());
    }
}
