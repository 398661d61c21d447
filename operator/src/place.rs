//! Where the bundle's data is.

use std::path::Path;

use local::bundle::TABLE;
use local::data::Data;
use local::embedded::{Embedded, EmbeddedError, open_table};
use local::vault_file::FileVault;
use onboarding::id::{ChannelId, PartnerId};
use onboarding::secret::Secret;
use platform::settings::Environment;
use platform::store::{Channels, Error, Facts, Mints};
use platform::table::Table;
use platform::vault::{VaultError, secret_name};

use crate::why;

/// Why it could not be done; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] EmbeddedError),
    /// The table failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Nothing was ever said about it.
    #[error("nothing is known of channel {1} of {0}: check both ids, and DATA")]
    UnknownChannel(PartnerId, ChannelId),
    /// There is no key.
    #[error("channel {1} of {0} has no stored key: `operator why {0} {1}` says why")]
    NoKey(PartnerId, ChannelId),
}

/// A data directory, opened.
pub struct Place {
    table: Table,
    vault: FileVault,
    secret_prefix: String,
    _embedded: Option<Embedded>,
}

impl Place {
    /// Opens the data directory `path`.
    pub async fn open(path: &Path, environment: &Environment) -> Result<Self, OperatorError> {
        let data = Data::at(path);
        let opened = open_table(&data, environment.text("TABLE_NAME").unwrap_or(TABLE)).await?;
        Ok(Self {
            table: opened.table,
            vault: FileVault::at(data.vault()),
            secret_prefix: environment
                .text("CHANNEL_SECRET_PREFIX")
                .unwrap_or("360dialog/channels/")
                .to_owned(),
            _embedded: opened.embedded,
        })
    }

    /// The channel, when it is looked at next, and its facts in order with what each changed; text for a person.
    pub async fn why(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
    ) -> Result<String, OperatorError> {
        let facts = Facts::new(self.table.clone())
            .of_channel(partner, channel)
            .await?;
        let stored = Channels::new(self.table.clone())
            .read(partner, channel)
            .await?;
        if facts.is_empty() && !stored.exists() {
            return Err(OperatorError::UnknownChannel(
                partner.clone(),
                channel.clone(),
            ));
        }
        let (due_at, intent) = Mints::new(self.table.clone())
            .outlook(partner, channel)
            .await?;
        Ok(why::tell(&stored.channel, &facts, due_at, intent.as_ref()))
    }

    /// The channel's API key.
    pub async fn key(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
    ) -> Result<Secret, OperatorError> {
        let none = || OperatorError::NoKey(partner.clone(), channel.clone());
        let secret = self
            .vault
            .read(&secret_name(&self.secret_prefix, partner, channel))
            .await?
            .ok_or_else(none)?;
        let secret: serde_json::Value = serde_json::from_str(secret.expose())
            .map_err(|_| OperatorError::Vault(VaultError::Malformed))?;
        secret
            .get("api_key")
            .and_then(|key| key.as_str())
            .map(Secret::new)
            .ok_or_else(none)
    }
}
