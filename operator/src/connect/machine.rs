//! The bundle of this machine: secrets in a file, the table in `DATA`.

use std::path::PathBuf;
use std::sync::Arc;

use local::bundle::TABLE;
use local::data::Data;
use local::embedded::{EmbeddedError, open_table};
use local::secrets_file::{SecretsFile, SecretsFileError};
use local::settings::{HUB_LISTEN, Hub};
use onboarding::id::PartnerId;
use platform::settings::{BaseUrl, Environment, SettingError};

use super::target::{Parts, Place, Target, TargetError};

/// Why the bundle of this machine cannot be connected; names the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A setting is missing or malformed.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The secrets file cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsFileError),
    /// The table cannot be opened.
    #[error(transparent)]
    Database(#[from] EmbeddedError),
}

impl Target {
    /// The bundle that was started with the settings of `environment` and answers at `address`; of its partners those
    /// of `only`, all if that is empty.
    pub async fn of_machine(
        address: BaseUrl,
        only: &[PartnerId],
        environment: &Environment,
    ) -> Result<Self, TargetError> {
        Self::new(parts(address, environment).await?, only)
    }
}

async fn parts(address: BaseUrl, environment: &Environment) -> Result<Parts, MachineError> {
    let data = Data::at(environment.text("DATA").unwrap_or(".local"));
    let secrets_file = environment
        .text("SECRETS_FILE")
        .map_or_else(|| data.demo_secrets(), PathBuf::from);
    let secrets = SecretsFile::at(&secrets_file);
    let environment = environment
        .clone()
        .with_default("PARTNER_IDS", secrets.partner_ids()?);
    let environment = match environment.optional("HUB")?.unwrap_or(Hub::Simulated) {
        Hub::Simulated => {
            let hub = environment
                .text("HUB_LISTEN")
                .unwrap_or(HUB_LISTEN)
                .to_owned();
            environment.with_default("PARTNER_API_URL", format!("http://{hub}/api/v2"))
        }
        Hub::None => environment,
    };
    let opened = open_table(&data, environment.text("TABLE_NAME").unwrap_or(TABLE)).await?;
    Ok(Parts {
        place: Place::Machine { secrets_file },
        address,
        served: environment.partner_ids()?,
        api: environment.required(
            "PARTNER_API_URL",
            "Name the Partner API, such as https://hub.360dialog.io/api/v2.",
        )?,
        keys_path: environment
            .optional("HUB_API_KEYS_PATH")?
            .unwrap_or_default(),
        secrets: Arc::new(secrets),
        table: opened.table,
        _embedded: opened.embedded,
    })
}
