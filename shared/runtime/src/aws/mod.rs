//! The places on AWS: how they are reached, and the three ports carried out there.

mod config;
pub mod local;
mod event_bridge;
mod secrets_manager;

pub use event_bridge::EventBridge;
pub use secrets_manager::{SecretsManagerSource, SecretsManagerVault};

use std::sync::Arc;

use aws_types::SdkConfig;

use crate::event_bus::{EventBus, NoBus};
use crate::secrets::SecretSource;
use crate::settings::{Environment, SettingError};
use crate::tls::{NoTls, Tls};
use crate::vault::KeyVault;
use store::table::Table;

/// How the names of partner secrets start unless `PARTNER_SECRET_PREFIX` says otherwise.
pub const PARTNER_SECRET_PREFIX: &str = "360dialog/partners/";

/// AWS as one function reaches it: region, credentials and endpoints as Lambda puts them into the environment.
pub struct Aws {
    /// What the process was started with.
    pub environment: Environment,
    /// What every client is made with.
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

    /// The key vault in Secrets Manager; new secrets are encrypted with `CHANNEL_SECRET_KMS_KEY_ID`, without it with
    /// the account's own key.
    pub fn vault(&self) -> Arc<dyn KeyVault> {
        let key = self
            .environment
            .text("CHANNEL_SECRET_KMS_KEY_ID")
            .map(str::to_owned);
        Arc::new(SecretsManagerVault::new(
            aws_sdk_secretsmanager::Client::new(&self.config),
            key,
        ))
    }

    /// The event bus `EVENT_BUS_NAME`; without a name, none.
    pub fn event_bus(&self) -> Arc<dyn EventBus> {
        match self.environment.text("EVENT_BUS_NAME") {
            Some(name) => Arc::new(EventBridge::new(
                aws_sdk_eventbridge::Client::new(&self.config),
                name,
            )),
            None => Arc::new(NoBus),
        }
    }
}
