//! The instance in a data directory: the embedded table, and files for secrets and keys.

use std::path::PathBuf;
use std::sync::Arc;

use dialog360::id::PartnerId;
use embedded::data::Data;
use embedded::database::{Embedded, EmbeddedError, open_table};
use embedded::key_file::{KeyFile, KeyFileError};
use embedded::secrets_file::{SecretsFile, SecretsFileError};
use embedded::settings::{BODIES_TABLE, DATA, HUB_LISTEN, Hub, LISTEN, TABLE};
use onboarding::queue::{Rate, RateError};
use runtime::settings::{BaseUrl, Environment, PartnerIds, SettingError};
use store::table::Table;

use super::ConnectionSettings;

/// Why the bundle of this machine cannot be used. The message names the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A setting is missing or malformed.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The secrets file cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsFileError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The table cannot be opened.
    #[error(transparent)]
    Database(#[from] EmbeddedError),
}

/// A data directory, whether or not its bundle runs.
pub(super) struct Machine {
    environment: Environment,
    secrets_file: PathBuf,
    pub(super) table: Table,
    pub(super) bodies: Table,
    pub(super) keys: KeyFile,
    /// The database that this process serves if no bundle runs.
    _embedded: Option<Embedded>,
}

impl Machine {
    /// Opens the data directory of a bundle that was started with the settings of `environment`.
    pub(super) async fn open(environment: &Environment) -> Result<Self, MachineError> {
        let data = Data::at(environment.text("DATA").unwrap_or(DATA));
        let secrets_file = environment.text("SECRETS_FILE");
        let table = environment.text("TABLE_NAME").unwrap_or(TABLE);
        let opened = open_table(&data, table).await?;
        let bodies = environment.text("BODIES_TABLE_NAME");
        Ok(Self {
            environment: environment.clone(),
            secrets_file: secrets_file.map_or_else(|| data.demo_secrets(), PathBuf::from),
            bodies: opened.table.beside(bodies.unwrap_or(BODIES_TABLE)),
            table: opened.table,
            keys: KeyFile::at(data.encryption_key()),
            _embedded: opened.embedded,
        })
    }

    pub(super) fn secret_location(&self, partner: &PartnerId) -> String {
        format!("the entry {partner} in {}", self.secrets_file.display())
    }

    /// The partners that the bundle serves; `None` if neither `PARTNER_IDS` nor a secrets file says it.
    pub(super) fn served(&self) -> Result<Option<PartnerIds>, MachineError> {
        let environment = match SecretsFile::at(&self.secrets_file).partner_ids() {
            Ok(ids) => self.environment.clone().with_default("PARTNER_IDS", ids),
            Err(_) => self.environment.clone(),
        };
        match environment.text("PARTNER_IDS") {
            Some(_) => Ok(Some(environment.partner_ids()?)),
            None => Ok(None),
        }
    }

    /// The limit on calls of 360dialog, for each partner.
    pub(super) fn rate(&self) -> Result<Rate, MachineError> {
        if let Some(rate) = self.environment.text("PARTNER_API_RATE") {
            let malformed = |why: RateError| SettingError::malformed("PARTNER_API_RATE", why);
            return Ok(rate.parse().map_err(malformed)?);
        }
        Ok(match self.hub()? {
            Hub::Simulated => Rate::Off,
            Hub::None => Rate::default(),
        })
    }

    fn hub(&self) -> Result<Hub, SettingError> {
        Ok(self.environment.optional("HUB")?.unwrap_or(Hub::Simulated))
    }

    /// The settings for connecting. The address is `address`, else `PUBLIC_URL`, else the one the bundle listens on.
    pub(super) fn connection_settings(
        &self,
        address: Option<BaseUrl>,
    ) -> Result<ConnectionSettings, MachineError> {
        let secrets = SecretsFile::at(&self.secrets_file);
        let environment = self.environment.clone();
        let listen = environment.text("LISTEN").unwrap_or(LISTEN).to_owned();
        let environment = environment
            .with_default("PARTNER_IDS", secrets.partner_ids()?)
            .with_default("PUBLIC_URL", format!("http://{listen}"));
        let environment = match self.hub()? {
            Hub::Simulated => {
                let simulator = environment.text("HUB_LISTEN").unwrap_or(HUB_LISTEN);
                let api = format!("http://{simulator}/api/v2");
                environment.with_default("PARTNER_API_URL", api)
            }
            Hub::None => environment,
        };
        let expected = "Name the Partner API, such as https://hub.360dialog.io/api/v2.";
        Ok(ConnectionSettings {
            address: match address {
                Some(address) => address,
                None => environment.required("PUBLIC_URL", "Name the bundle's address.")?,
            },
            served: environment.partner_ids()?,
            api: environment.required("PARTNER_API_URL", expected)?,
            keys_path: environment
                .optional("HUB_API_KEYS_PATH")?
                .unwrap_or_default(),
            secrets: Arc::new(secrets),
        })
    }
}
