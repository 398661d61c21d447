//! Secrets Manager: the partner's own secret, and the key vault. The vault's version labels are the fence.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use dialog360::id::PartnerId;
use dialog360::secret::Secret;

use crate::secrets::{SecretSource, SecretUnavailable};
use crate::vault::{ChannelKey, KeyVault, Moved, VaultError, Version};
use store::sdk_error::code;

/// The label of the current version.
const CURRENT: &str = "AWSCURRENT";
/// The label of a version that is not current yet.
const ATTEMPT: &str = "ATTEMPT";
/// The content of a secret before its first key.
const EMPTY: &str = "{}";

/// Partner secrets, named `{PARTNER_SECRET_PREFIX}{partner_id}`.
pub struct SecretsManagerSource {
    client: Client,
    prefix: String,
}

impl SecretsManagerSource {
    /// The secrets whose names start with `prefix`.
    pub fn new(client: Client, prefix: String) -> Self {
        Self { client, prefix }
    }
}

#[async_trait]
impl SecretSource for SecretsManagerSource {
    async fn read(&self, partner: &PartnerId) -> Result<Secret, SecretUnavailable> {
        let name = format!("{}{partner}", self.prefix);
        match self
            .client
            .get_secret_value()
            .secret_id(name)
            .version_stage(CURRENT)
            .send()
            .await
        {
            Ok(got) => got
                .secret_string
                .map(Secret::new)
                .ok_or(SecretUnavailable::Missing),
            Err(error) if has_code(&error, "ResourceNotFoundException") => {
                Err(SecretUnavailable::Missing)
            }
            // A secret that does not exist has no suffix in its ARN, so our policies do not match it and IAM denies access.
            Err(error) if has_code(&error, "AccessDeniedException") => {
                Err(SecretUnavailable::Unreachable(
                    "it does not exist, or this function may not read it".to_owned(),
                ))
            }
            Err(error) => Err(SecretUnavailable::Unreachable(code(&error).to_owned())),
        }
    }
}

/// Keys, one secret per channel.
pub struct SecretsManagerVault {
    client: Client,
    kms_key_id: Option<String>,
}

impl SecretsManagerVault {
    /// The vault. New secrets are encrypted with the key `kms_key_id`, or with the account's `aws/secretsmanager`.
    pub fn new(client: Client, kms_key_id: Option<String>) -> Self {
        Self { client, kms_key_id }
    }

    /// The text of a secret's current version, if there is one.
    pub async fn read(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        Ok(self.current_version(name).await?.map(|(_, text)| text))
    }

    /// Id and text of the version labelled `AWSCURRENT`; `None` if there is no such secret.
    async fn current_version(&self, name: &str) -> Result<Option<(String, Secret)>, VaultError> {
        let get = self.client.get_secret_value().secret_id(name);
        let got = match get.version_stage(CURRENT).send().await {
            Ok(got) => got,
            Err(error) if has_code(&error, "ResourceNotFoundException") => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        };
        match (got.version_id, got.secret_string.map(Secret::new)) {
            (Some(id), Some(text)) => Ok(Some((id, text))),
            _ => Err(VaultError::Malformed),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Version>, VaultError> {
        let Some((id, text)) = self.current_version(name).await? else {
            return Ok(None);
        };
        let key_id = ChannelKey::key_id_in(text.expose())?;
        Ok(Some(Version { id, key_id }))
    }
}

#[async_trait]
impl KeyVault for SecretsManagerVault {
    async fn current(&self, name: &str, token: &str) -> Result<Version, VaultError> {
        if let Some(version) = self.find(name).await? {
            return Ok(version);
        }
        let create = self
            .client
            .create_secret()
            .name(name)
            .secret_string(EMPTY)
            .client_request_token(token);
        let create =
            create.description("API key of a WhatsApp number, made by the onboarding bundle");
        match create.set_kms_key_id(self.kms_key_id.clone()).send().await {
            Ok(_) => Ok(Version {
                id: token.to_owned(),
                key_id: None,
            }),
            // Another worker has created it since.
            Err(error) if has_code(&error, "ResourceExistsException") => {
                let gone =
                    || VaultError::Unavailable("the secret exists and cannot be read".to_owned());
                self.find(name).await?.ok_or_else(gone)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn put_attempt(
        &self,
        name: &str,
        token: &str,
        key: &ChannelKey,
    ) -> Result<(), VaultError> {
        let put = self
            .client
            .put_secret_value()
            .secret_id(name)
            .client_request_token(token);
        let put = put
            .secret_string(key.to_json().expose())
            .version_stages(ATTEMPT);
        put.send()
            .await
            .map(|_| ())
            .map_err(|error| unavailable(&error))
    }

    async fn make_current(&self, name: &str, token: &str, from: &str) -> Result<Moved, VaultError> {
        let update = self
            .client
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(CURRENT);
        let moved = update
            .remove_from_version_id(from)
            .move_to_version_id(token)
            .send()
            .await;
        match moved {
            Ok(_) => Ok(Moved::Done),
            // The label is no longer on `from`. If the answer to our own move was lost, it is on `token` already.
            Err(error)
                if has_code(&error, "InvalidParameterException")
                    || has_code(&error, "InvalidRequestException") =>
            {
                let current = self.find(name).await?;
                Ok(if current.is_some_and(|current| current.id == token) {
                    Moved::Done
                } else {
                    Moved::Fenced
                })
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn has_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, code: &str) -> bool {
    error.code() == Some(code)
}

fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> VaultError {
    VaultError::Unavailable(code(error).to_owned())
}
