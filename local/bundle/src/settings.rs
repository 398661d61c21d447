//! The bundle's own settings on one machine, beside those of the functions. The demo requires none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use embedded::settings::{DATA, HUB_LISTEN, Hub, LISTEN};
use runtime::settings::{Environment, SettingError, Switch};
use simulator::Rate;

/// One second per stage, so that a person can watch.
const STAGE_DELAY_MS: u64 = 1000;

/// As long as 360dialog's tokens last.
const TOKEN_SECONDS: u32 = 3600;

/// The settings of this machine.
#[derive(Clone)]
pub struct Settings {
    /// `LISTEN`
    pub listen: SocketAddr,
    /// `HUB`
    pub hub: Hub,
    /// `HUB_LISTEN`
    pub hub_listen: SocketAddr,
    /// `DATA`
    pub data: PathBuf,
    /// `SECRETS_FILE`; the demo makes one in `DATA`.
    pub secrets_file: Option<PathBuf>,
    /// `HUB_STAGE_DELAY_MS`: how long a new channel stays in each stage in the simulator.
    pub stage_delay: Duration,
    /// `HUB_TOKEN_SECONDS`: how long a token that the simulator issued is accepted.
    pub token_lifetime: Duration,
    /// `HUB_RATE`: how many Partner API calls of one partner the simulator answers in any span.
    pub rate: Option<Rate>,
    /// `HUB_CHECK_SIGNATURE`: whether the simulator requires signed links.
    pub check_signature: bool,
    /// The settings the functions read.
    pub environment: Environment,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(environment: Environment) -> Result<Self, SettingError> {
        let settings = Self {
            listen: address(&environment, "LISTEN", LISTEN)?,
            hub: environment.optional("HUB")?.unwrap_or(Hub::Simulated),
            hub_listen: address(&environment, "HUB_LISTEN", HUB_LISTEN)?,
            data: environment.text("DATA").unwrap_or(DATA).into(),
            secrets_file: environment.text("SECRETS_FILE").map(PathBuf::from),
            stage_delay: Duration::from_millis(
                environment
                    .optional("HUB_STAGE_DELAY_MS")?
                    .unwrap_or(STAGE_DELAY_MS),
            ),
            token_lifetime: Duration::from_secs(
                environment
                    .optional("HUB_TOKEN_SECONDS")?
                    .unwrap_or(TOKEN_SECONDS)
                    .into(),
            ),
            rate: match environment.text("HUB_RATE") {
                Some("off") => None,
                _ => environment.optional("HUB_RATE")?,
            },
            check_signature: environment
                .optional("HUB_CHECK_SIGNATURE")?
                .unwrap_or(Switch::On)
                == Switch::On,
            environment,
        };
        if settings.hub == Hub::None {
            settings.check_required()?;
        }
        Ok(settings)
    }

    /// Checks the settings that have no default without the simulator.
    fn check_required(&self) -> Result<(), SettingError> {
        let required = [
            (
                "SECRETS_FILE",
                "Name a JSON file: partner id → {\"platform_secret\", \"partner_api_key\", \"partner_token\", or \"username\" and \"password\"}.",
            ),
            (
                "PARTNER_IDS",
                "Name your 360dialog partner ids, comma separated.",
            ),
            (
                "PARTNER_API_URL",
                "Name the Partner API, such as https://hub.360dialog.io/api/v2.",
            ),
            (
                "ALLOWED_ORIGINS",
                "Name the origins of your pages, comma separated.",
            ),
            (
                "JWT_HS256_SECRET",
                "Give the secret your tenants' tokens are signed with.",
            ),
        ];
        for (name, expected) in required {
            if self.environment.text(name).is_none() {
                return Err(SettingError::missing(
                    name,
                    format!("{expected} It is required with HUB=none."),
                ));
            }
        }
        Ok(())
    }
}

fn address(
    environment: &Environment,
    name: &str,
    default: &str,
) -> Result<SocketAddr, SettingError> {
    let text = environment.text(name).unwrap_or(default);
    text.parse().map_err(|_| {
        SettingError::malformed(name, format!("it must be address:port, such as {default}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::from_env(environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_demo_requires_no_setting() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.hub, Hub::Simulated);
        assert_eq!(
            (settings.listen.port(), settings.hub_listen.port()),
            (8360, 8082)
        );
    }

    #[test]
    fn the_simulator_limits_the_rate_if_it_is_told_to() {
        let rate = |value| settings(&[("HUB_RATE", value)]).map(|it| it.rate);
        assert_eq!(rate("off").unwrap(), None);
        assert_eq!(rate("5/30s").unwrap().unwrap().to_string(), "5/30s");
        assert!(rate("5 per minute").unwrap_err().contains("HUB_RATE"));
    }

    #[test]
    fn without_the_simulator_five_settings_are_required_and_named() {
        let mut given = vec![("HUB", "none")];
        for name in [
            "SECRETS_FILE",
            "PARTNER_IDS",
            "PARTNER_API_URL",
            "ALLOWED_ORIGINS",
            "JWT_HS256_SECRET",
        ] {
            let error = settings(&given).err().unwrap();
            assert!(error.starts_with(&format!("{name} is missing.")), "{error}");
            given.push((name, "x"));
        }
        assert!(settings(&given).is_ok());
    }

    #[test]
    fn a_malformed_setting_is_named() {
        for (name, value) in [
            ("LISTEN", "8360"),
            ("HUB", "real"),
            ("HUB_LISTEN", "localhost"),
        ] {
            let error = settings(&[(name, value)]).err().unwrap();
            assert!(
                error.starts_with(&format!("{name} is malformed")),
                "{error}"
            );
        }
    }
}
