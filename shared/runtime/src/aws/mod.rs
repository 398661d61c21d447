//! The AWS clients, and the implementations of the three ports (secrets, seal, event bus) on AWS.

mod config;
pub mod local;
mod event_bridge;
mod kms;
mod secrets_manager;

pub use event_bridge::EventBridge;
pub use kms::KmsSeal;
pub use secrets_manager::SecretsManagerSource;

use std::sync::Arc;

use aws_types::SdkConfig;

use crate::event_bus::EventBus;
use crate::seal::KeySeal;
use crate::secrets::SecretSource;
use crate::settings::{Environment, SettingError};
use crate::tls::{NoTls, Tls};
use store::table::Table;

/// The prefix of the names of partner secrets, unless `PARTNER_SECRET_PREFIX` says otherwise.
pub const PARTNER_SECRET_PREFIX: &str = "360dialog/partners/";

/// The AWS clients of one function, with the region, credentials and endpoints that Lambda sets in the environment.
pub struct Aws {
    /// The environment variables of the process.
    pub environment: Environment,
    /// The TLS set-up of every client.
    pub tls: Tls,
    config: SdkConfig,
}

impl Aws {
    /// Reads region, credentials and endpoints.
    pub fn from_environment(environment: Environment) -> Result<Self, NoTls> {
        let tls = Tls::new()?;
        Ok(Self {
            config: config::from_environment(&environment, &tls)?,
            tls,
            environment,
        })
    }

    /// The table `name`.
    pub fn table(&self, name: &str) -> Table {
        Table::new(aws_sdk_dynamodb::Client::new(&self.config), name)
    }

    /// Partner secrets in Secrets Manager, under `PARTNER_SECRET_PREFIX`.
    pub fn partner_secrets(&self) -> Result<Arc<dyn SecretSource>, SettingError> {
        let prefix = self
            .environment
            .secret_prefix("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX)?;
        Ok(Arc::new(SecretsManagerSource::new(
            aws_sdk_secretsmanager::Client::new(&self.config),
            prefix,
        )))
    }

    /// Sealing with the KMS key `KEY_ENCRYPTION_KEY`.
    pub fn seal(&self) -> Result<Arc<dyn KeySeal>, SettingError> {
        let advice = "Name the KMS key that seals the numbers' API keys.";
        let key: String = self.environment.required("KEY_ENCRYPTION_KEY", advice)?;
        let client = aws_sdk_kms::Client::new(&self.config);
        Ok(Arc::new(KmsSeal::new(client, key)))
    }

    /// The event bus `EVENT_BUS_NAME`, or none if that is not set.
    pub fn event_bus(&self) -> Option<Arc<dyn EventBus>> {
        let name = self.environment.text("EVENT_BUS_NAME")?;
        let client = aws_sdk_eventbridge::Client::new(&self.config);
        Some(Arc::new(EventBridge::new(client, name)))
    }
}
