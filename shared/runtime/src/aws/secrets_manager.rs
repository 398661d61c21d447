//! The partner's own secret in Secrets Manager.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use dialog360::id::PartnerId;
use dialog360::secret::Secret;

use crate::secrets::{SecretSource, SecretUnavailable};
use store::sdk_error::code;

/// The label of the current version.
const CURRENT: &str = "AWSCURRENT";

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
            // A secret that does not exist has no suffix in its ARN, so our policies do not match it and IAM denies
            // access.
            Err(error) if has_code(&error, "AccessDeniedException") => {
                Err(SecretUnavailable::Unreachable(
                    "it does not exist, or this function may not read it".to_owned(),
                ))
            }
            Err(error) => Err(SecretUnavailable::Unreachable(code(&error).to_owned())),
        }
    }
}

fn has_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, code: &str) -> bool {
    error.code() == Some(code)
}
