//! Partner secrets in a JSON file: partner id → partner secret. Names that start with `_` are not partners; `_demo`
//! holds the secret that signs the demo's tokens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use onboarding::secret::{PartnerAccess, SecretError, SigningSecrets};
use runtime::clock;
use runtime::secrets::{SecretSource, SecretUnavailable};
use runtime::settings::PartnerIds;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::data::replace_private;

/// The name under which the file holds the secret of the demo's tokens.
const DEMO: &str = "_demo";

/// The partner of the demo.
const DEMO_PARTNER: &str = "demoPA";

/// The partner of the demo for which the simulated 360dialog takes links without a signature.
const OPEN_PARTNER: &str = "openPA";

/// The file cannot be used. The message never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsFileError {
    /// It cannot be read or written.
    #[error("SECRETS_FILE {path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// It is not a JSON object.
    #[error(
        "SECRETS_FILE {path} must hold a JSON object: partner id → {{\"platform_secret\", \"partner_api_key\", \"partner_token\", or \"username\" and \"password\"}}"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A served partner is not in it.
    #[error("SECRETS_FILE {path}: partner {partner} is served, but its secret is missing")]
    NoSecret {
        /// The file.
        path: PathBuf,
        /// The partner.
        partner: PartnerId,
    },
    /// The secret of a served partner cannot be used.
    #[error("SECRETS_FILE {path}: the secret of partner {partner}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The partner.
        partner: PartnerId,
        /// The reason.
        why: SecretError,
    },
}

/// A file of partner secrets. Each call reads it again.
#[derive(Clone, Debug)]
pub struct SecretsFile(PathBuf);

impl SecretsFile {
    /// The file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The demo's own file at `path`; creates it with random secrets if it does not exist.
    pub fn for_demo(path: &Path) -> Result<Self, SecretsFileError> {
        let file = Self::at(path);
        if !path.exists() {
            let random = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            let secrets = json!({
                DEMO_PARTNER: {"platform_secret": random(), "partner_token": random()},
                OPEN_PARTNER: {"platform_secret": random(), "partner_token": random(), "check_signature": false},
                DEMO: random(),
            });
            let text = format!("{secrets:#}\n");
            replace_private(path, text.as_bytes()).map_err(|why| SecretsFileError::Io {
                path: path.into(),
                why,
            })?;
        }
        Ok(file)
    }

    /// Its text.
    pub fn text(&self) -> Result<Secret, SecretsFileError> {
        let text = fs::read_to_string(&self.0);
        text.map(Secret::new).map_err(|why| SecretsFileError::Io {
            path: self.0.clone(),
            why,
        })
    }

    /// The partner ids in it, comma separated.
    pub fn partner_ids(&self) -> Result<String, SecretsFileError> {
        let ids = self
            .secrets()?
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| !id.starts_with('_'));
        Ok(ids.collect::<Vec<_>>().join(","))
    }

    /// The secret of the demo's tokens, if the file has one.
    pub fn demo_jwt_secret(&self) -> Result<Option<Secret>, SecretsFileError> {
        Ok(self
            .secrets()?
            .get(DEMO)
            .and_then(Value::as_str)
            .map(Secret::new))
    }

    /// Refuses a file in which the secret of a served partner is missing or cannot be used.
    pub fn check(&self, served: &PartnerIds) -> Result<(), SecretsFileError> {
        let secrets = self.secrets()?;
        for partner in served.iter() {
            let missing = || SecretsFileError::NoSecret {
                path: self.0.clone(),
                partner: partner.clone(),
            };
            let unusable = |why| SecretsFileError::Unusable {
                path: self.0.clone(),
                partner: partner.clone(),
                why,
            };
            let secret = Secret::new(
                secrets
                    .get(partner.as_str())
                    .ok_or_else(missing)?
                    .to_string(),
            );
            let signing = SigningSecrets::parse(secret.expose()).map_err(unusable)?;
            PartnerAccess::parse(secret.expose()).map_err(unusable)?;
            if signing.previous_is_too_long(clock::now()) {
                tracing::warn!(%partner, "previous_platform_secret is not accepted: its until is over 24 hours ahead");
            }
        }
        Ok(())
    }

    fn secrets(&self) -> Result<Map<String, Value>, SecretsFileError> {
        let secrets = serde_json::from_str(self.text()?.expose());
        secrets.map_err(|_| SecretsFileError::Malformed {
            path: self.0.clone(),
        })
    }
}

#[async_trait]
impl SecretSource for SecretsFile {
    async fn read(&self, partner: &PartnerId) -> Result<Secret, SecretUnavailable> {
        let secrets = self
            .secrets()
            .map_err(|error| SecretUnavailable::Unreachable(error.to_string()))?;
        let secret = secrets
            .get(partner.as_str())
            .ok_or(SecretUnavailable::Missing)?;
        Ok(Secret::new(secret.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_demo_makes_its_secrets_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.json");
        let file = SecretsFile::for_demo(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(file.partner_ids().unwrap(), "demoPA,openPA");
        let secret = file.demo_jwt_secret().unwrap().unwrap();
        let again = SecretsFile::for_demo(&path)
            .unwrap()
            .demo_jwt_secret()
            .unwrap()
            .unwrap();
        assert_eq!(secret.expose(), again.expose());
        for partner in [DEMO_PARTNER, OPEN_PARTNER] {
            let partner = file.read(&partner.parse().unwrap()).await.unwrap();
            assert!(SigningSecrets::parse(partner.expose()).is_ok());
            assert!(PartnerAccess::parse(partner.expose()).is_ok());
        }
        assert!(matches!(
            file.read(&"otherPA".parse().unwrap()).await,
            Err(SecretUnavailable::Missing)
        ));
    }

    #[test]
    fn a_served_partner_without_a_usable_secret_is_named_and_nothing_is_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let file = SecretsFile::at(directory.path().join("s.json"));
        let check = |content: Value| {
            fs::write(&file.0, content.to_string()).unwrap();
            file.check(&"aPA,bPA".parse().unwrap())
                .map_err(|error| error.to_string())
        };
        let good = json!({"platform_secret": "needle", "partner_token": "needle"});
        assert_eq!(check(json!({"aPA": good, "bPA": good, "cPA": 7})), Ok(()));
        let bad = [
            (None, "missing"),
            (Some(json!("needle")), "JSON object"),
            (
                Some(json!({"partner_token": "needle"})),
                "platform_secret is missing",
            ),
            (
                Some(json!({"platform_secret": "needle"})),
                "partner_api_key is missing",
            ),
            (
                Some(json!({"platform_secret": ["needle"], "partner_token": "needle"})),
                "platform_secret must be",
            ),
        ];
        for (secret, why) in bad {
            let mut content = json!({"aPA": good});
            if let Some(secret) = secret {
                content["bPA"] = secret;
            }
            let error = check(content).unwrap_err();
            assert!(
                error.starts_with("SECRETS_FILE ") && error.contains("partner bPA"),
                "{error}"
            );
            assert!(error.contains(why) && !error.contains("needle"), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.json");
        assert!(
            SecretsFile::at(&path)
                .partner_ids()
                .unwrap_err()
                .to_string()
                .starts_with("SECRETS_FILE ")
        );
        fs::write(&path, "needle").unwrap();
        let error = SecretsFile::at(&path)
            .partner_ids()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("must hold a JSON object") && !error.contains("needle"),
            "{error}"
        );
    }
}
