//! The places on AWS: how they are reached, and the three ports carried out there.

mod event_bridge;
mod secrets_manager;

pub use event_bridge::EventBridge;
pub use secrets_manager::{SecretsManagerSource, SecretsManagerVault};

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;

use crate::event_bus::{EventBus, NoBus};
use crate::secrets::SecretSource;
use crate::settings::{Environment, SettingError};
use crate::table::Table;
use crate::vault::KeyVault;

/// Opening a connection, a TLS handshake among it, within one region.
const CONNECT: Duration = Duration::from_secs(1);

/// One try of one call. DynamoDB answers within 10 ms as a rule; whoever waits longer had better ask again.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// One call with the SDK's own retries (three tries): shorter than the 5 s the hub waits for a webhook's answer, and
/// than the shortest function's time-out.
const OPERATION: Duration = Duration::from_secs(4);

/// How the names of partner secrets start unless `PARTNER_SECRET_PREFIX` says otherwise.
pub const PARTNER_SECRET_PREFIX: &str = "360dialog/partners/";

/// AWS as one function reaches it: region, credentials and endpoints as the SDK finds them in the environment.
pub struct Aws {
    /// What the process was started with.
    pub environment: Environment,
    config: SdkConfig,
}

impl Aws {
    /// Reads region, credentials and endpoints.
    pub async fn load(environment: Environment) -> Self {
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        Self::new(environment, aws_config::from_env().timeout_config(times).load().await)
    }

    /// AWS as `config` reaches it.
    pub fn new(environment: Environment, config: SdkConfig) -> Self {
        Self { environment, config }
    }

    /// The table `name`.
    pub fn table(&self, name: &str) -> Table {
        Table::new(aws_sdk_dynamodb::Client::new(&self.config), name)
    }

    /// Partner secrets in Secrets Manager, under `PARTNER_SECRET_PREFIX`.
    pub fn partner_secrets(&self) -> Result<Arc<dyn SecretSource>, SettingError> {
        let prefix = self.environment.secret_prefix("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX)?;
        Ok(Arc::new(SecretsManagerSource::new(aws_sdk_secretsmanager::Client::new(&self.config), prefix)))
    }

    /// The key vault in Secrets Manager; new secrets are encrypted with `CHANNEL_SECRET_KMS_KEY_ID`, without it with
    /// the account's own key.
    pub fn vault(&self) -> Arc<dyn KeyVault> {
        let key = self.environment.text("CHANNEL_SECRET_KMS_KEY_ID").map(str::to_owned);
        Arc::new(SecretsManagerVault::new(aws_sdk_secretsmanager::Client::new(&self.config), key))
    }

    /// The event bus `EVENT_BUS_NAME`; without a name, none.
    pub fn event_bus(&self) -> Arc<dyn EventBus> {
        match self.environment.text("EVENT_BUS_NAME") {
            Some(name) => Arc::new(EventBridge::new(aws_sdk_eventbridge::Client::new(&self.config), name)),
            None => Arc::new(NoBus),
        }
    }
}
