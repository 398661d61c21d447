//! The settings of the simulator: its address, and the partners it knows.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{id, rate::Rate};

/// The settings of the simulator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// The file that holds clients, channels and undelivered webhooks; `None` keeps them in memory only.
    pub state_file: Option<PathBuf>,
    /// The partners the simulator knows.
    pub partners: Vec<Partner>,
    /// How long a new channel stays in each stage.
    pub stage_delay: Duration,
    /// How long a token of `POST /api/v2/token` is accepted.
    pub token_lifetime: Duration,
    /// How many Partner API calls of one partner are answered in any span; `None` answers all.
    pub rate: Option<Rate>,
    /// The URL at which others reach the simulator, without a path; `None` means `http://` and the listen address.
    pub public_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            state_file: None,
            partners: Vec::new(),
            stage_delay: Duration::from_secs(1),
            token_lifetime: Duration::from_secs(3600),
            rate: None,
            public_url: None,
        }
    }
}

/// One partner, as 360dialog knows it.
#[derive(Clone)]
pub struct Partner {
    /// The partner's id, such as `aAbBcCPA`.
    pub id: String,
    /// The key that signs onboarding links and webhooks.
    pub platform_secret: String,
    /// The credentials of the Partner API; any one of them is accepted.
    pub access: Vec<Access>,
    /// Who pays 360dialog. If the client pays, it must permit keys.
    pub billing: Billing,
    /// The webhook URL until the partner sets another; `None` sends no webhooks.
    pub webhook_url: Option<String>,
    /// The redirect URL for links without `redirect_url`, until the partner sets another.
    pub redirect_url: Option<String>,
    /// Whether onboarding links must carry a valid signature.
    pub check_signature: bool,
}

impl fmt::Debug for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partner")
            .field("id", &self.id)
            .field("access", &self.access)
            .field("billing", &self.billing)
            .field("webhook_url", &self.webhook_url)
            .field("redirect_url", &self.redirect_url)
            .field("check_signature", &self.check_signature)
            .finish_non_exhaustive()
    }
}

/// One credential of the Partner API.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// Sent as `Authorization: Bearer …`.
    Token(String),
    /// Sent as `X-API-Key: …`.
    ApiKey(String),
    /// Exchanged for a token that expires, which is sent as `Authorization: Bearer …`.
    Login {
        /// Who logs in.
        username: String,
        /// The secret.
        password: String,
    },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login { .. } => "Login(…)",
            Self::Token(_) => "Token(…)",
            Self::ApiKey(_) => "ApiKey(…)",
        })
    }
}

/// Who pays 360dialog for the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// The client pays, and must permit the partner to make keys.
    #[default]
    DirectPaid,
    /// The partner pays, and may make keys without being asked.
    PartnerPaid,
}

/// Why a secrets file cannot be used. Never quotes the file: it holds secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// It is not a JSON object of objects.
    #[error("not a JSON object of partner ids (line {line}, column {column})")]
    Malformed {
        /// Line of the first mistake.
        line: usize,
        /// Column of the first mistake.
        column: usize,
    },
    /// A key is not a partner id.
    #[error("partner {position} of the file has an id that is not 1 to 64 of A-Z a-z 0-9 _ -")]
    PartnerId {
        /// Counted from 1, without the keys that are skipped.
        position: usize,
    },
    /// A partner's entry is incomplete.
    #[error("partner {partner}: {reason}")]
    Partner {
        /// The partner's id.
        partner: String,
        /// The reason.
        reason: &'static str,
    },
    /// No partner at all.
    #[error("names no partner")]
    Empty,
}

#[derive(Deserialize)]
struct SecretsEntry {
    #[serde(default)]
    platform_secret: String,
    #[serde(default)]
    partner_token: Option<String>,
    #[serde(default)]
    partner_api_key: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    billing: Option<Billing>,
    #[serde(default)]
    check_signature: Option<bool>,
}

impl Partner {
    /// Parses `{"<partner id>": {"platform_secret", "billing", "check_signature"}}` with at least one of `partner_token`,
    /// `partner_api_key`, and `username` with `password`.
    ///
    /// Keys that start with `_` are skipped, unknown fields are ignored. The partners have no addresses,
    /// and `check_signature` is on unless the entry says `false`.
    pub fn from_secrets_json(text: &str) -> Result<Vec<Self>, SecretsError> {
        let entries: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| SecretsError::Malformed {
                line: error.line(),
                column: error.column(),
            })?;
        let partners = entries
            .into_iter()
            .filter(|(id, _)| !id.starts_with('_'))
            .enumerate()
            .map(|(index, (id, entry))| {
                if !id::is_id(&id) {
                    return Err(SecretsError::PartnerId {
                        position: index + 1,
                    });
                }
                Self::from_entry(&id, entry).map_err(|reason| SecretsError::Partner {
                    partner: id,
                    reason,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if partners.is_empty() {
            Err(SecretsError::Empty)
        } else {
            Ok(partners)
        }
    }

    fn from_entry(id: &str, entry: Value) -> Result<Self, &'static str> {
        let entry: SecretsEntry = serde_json::from_value(entry).map_err(|_| {
            "must be an object of texts, with billing direct_paid or partner_paid, and check_signature true or false"
        })?;
        if entry.platform_secret.is_empty() {
            return Err("platform_secret is missing or empty");
        }
        let token = entry.partner_token.map(Access::Token);
        let api_key = entry.partner_api_key.map(Access::ApiKey);
        let login = login(entry.username, entry.password)?;
        let access: Vec<Access> = token.into_iter().chain(api_key).chain(login).collect();
        if access.is_empty() {
            return Err("partner_token, partner_api_key, or username and password are missing");
        }
        if access.iter().any(Access::is_blank) {
            return Err("partner_token, partner_api_key, username or password is empty");
        }
        Ok(Self {
            id: id.to_owned(),
            platform_secret: entry.platform_secret,
            access,
            billing: entry.billing.unwrap_or_default(),
            webhook_url: None,
            redirect_url: None,
            check_signature: entry.check_signature.unwrap_or(true),
        })
    }
}

fn login(
    username: Option<String>,
    password: Option<String>,
) -> Result<Option<Access>, &'static str> {
    match (username, password) {
        (None, None) => Ok(None),
        (Some(username), Some(password)) => Ok(Some(Access::Login { username, password })),
        _ => Err("username and password need each other"),
    }
}

impl Access {
    fn is_blank(&self) -> bool {
        match self {
            Self::Token(text) | Self::ApiKey(text) => text.is_empty(),
            Self::Login { username, password } => username.is_empty() || password.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_file_gives_its_partners() {
        let text = r#"{
            "_comment": "development only",
            "aAbBcCPA": {"platform_secret": "s1", "partner_token": "t1", "messaging_webhook_headers": {"a": "b"}},
            "dDeEfFPA": {"platform_secret": "s2", "partner_api_key": "k2", "billing": "partner_paid"},
            "nUlLPA": {"platform_secret": "s3", "partner_token": "t3", "partner_api_key": null, "billing": null}
        }"#;
        let partners = Partner::from_secrets_json(text).unwrap();
        assert_eq!(partners.len(), 3);
        assert_eq!(partners[0].access, [Access::Token("t1".into())]);
        assert_eq!(partners[0].billing, Billing::DirectPaid);
        assert!(partners[0].check_signature);
        assert_eq!(partners[1].access, [Access::ApiKey("k2".into())]);
        assert_eq!(partners[1].billing, Billing::PartnerPaid);
        assert_eq!(
            (partners[2].billing, partners[2].access.len()),
            (Billing::DirectPaid, 1)
        );
    }

    #[test]
    fn all_kinds_of_credentials_may_stand_beside_each_other() {
        let text = r#"{"aPA": {"platform_secret": "s", "partner_token": "t", "partner_api_key": "k",
                       "username": "u", "password": "p"}}"#;
        let partners = Partner::from_secrets_json(text).unwrap();
        let login = Access::Login {
            username: "u".into(),
            password: "p".into(),
        };
        let all = [Access::Token("t".into()), Access::ApiKey("k".into()), login];
        assert_eq!(partners[0].access, all);
    }

    #[test]
    fn a_partner_may_take_links_without_a_signature() {
        let entry = |check: &str| {
            format!(
                r#"{{"aPA": {{"platform_secret": "s", "partner_token": "t", "check_signature": {check}}}}}"#
            )
        };
        for (check, is_checked) in [("false", false), ("true", true), ("null", true)] {
            let partners = Partner::from_secrets_json(&entry(check)).unwrap();
            assert_eq!(partners[0].check_signature, is_checked, "{check}");
        }
        assert!(Partner::from_secrets_json(&entry("\"off\"")).is_err());
    }

    #[test]
    fn a_faulty_secrets_file_is_refused_without_quoting_it() {
        let faulty = [
            "hush",
            "[]",
            "{}",
            r#"{"_only": 1}"#,
            r#"{"aPA": "hush"}"#,
            r#"{"a b": {"platform_secret": "hush", "partner_token": "hush"}}"#,
            r#"{"aPA": {"platform_secret": "hush"}}"#,
            r#"{"aPA": {"partner_token": "hush"}}"#,
            r#"{"aPA": {"platform_secret": "hush", "partner_token": ""}}"#,
            r#"{"aPA": {"platform_secret": "hush", "username": "hush"}}"#,
            r#"{"aPA": {"platform_secret": "hush", "username": "hush", "password": ""}}"#,
            r#"{"aPA": {"platform_secret": "hush", "partner_token": "hush", "billing": "hush"}}"#,
        ];
        for text in faulty {
            let error = Partner::from_secrets_json(text).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = r#"{"aPA": {"platform_secret": "hush", "partner_token": "hush", "partner_api_key": "hush", "username": "hush", "password": "hush"}}"#;
        let partners = Partner::from_secrets_json(text).unwrap();
        let settings = Settings {
            partners,
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
