//! The partner secret, as this deployment keeps it.
//!
//! A partner's secret is one JSON object. Each reader takes only the fields it needs, so that a
//! function that checks signatures never holds the token that makes keys. No error repeats a value.

use std::collections::BTreeMap;

use dialog360::credentials::{Credentials, Login};
use dialog360::secret::Secret;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far ahead the end of a previous platform secret may lie, so that a rotation does end: a day longer than a state
/// that it made lives.
const PREVIOUS_AT_MOST: SignedDuration = SignedDuration::from_hours(72);

/// Why a partner's secret cannot be used. Names the field, never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The whole is not JSON, or not an object, or names a field twice.
    #[error("it must be one JSON object, with every field at most once")]
    NotAnObject,
    /// A field that is needed is not there.
    #[error("{field} is missing: add it as {expected}")]
    Missing {
        /// The field's name.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A field is there and holds something else.
    #[error("{field} must be {expected}")]
    Malformed {
        /// The field's name.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
}

/// What signs and checks: a partner's platform secret, and the one before it while it is replaced.
///
/// Source: <https://docs.360dialog.com/partner>, Integrated Onboarding.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    current: Secret,
    previous: Option<Previous>,
}

#[derive(Clone, Debug)]
struct Previous {
    value: Secret,
    until: Timestamp,
}

impl SigningSecrets {
    /// Reads `platform_secret` and `previous_platform_secret` from a partner's secret (JSON).
    ///
    /// # Errors
    /// Names the field and what belongs there; never a value.
    pub fn parse(json: &str) -> Result<Self, SecretError> {
        let fields: SigningFields =
            serde_json::from_str(json).map_err(|_| SecretError::NotAnObject)?;
        Self::from_fields(fields)
    }

    /// The secret that signs.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// The secrets that a signature or a state may have been made with: the current one first.
    ///
    /// The previous one is among them only until its `until`, and only if that is at most 72 hours
    /// ahead.
    pub fn accepted(&self, now: Timestamp) -> Vec<&Secret> {
        let previous = self
            .previous
            .iter()
            .filter(|previous| previous.is_valid(now));
        std::iter::once(&self.current)
            .chain(previous.map(|previous| &previous.value))
            .collect()
    }

    /// Whether there is a previous secret that is not accepted because its `until` lies too far
    /// ahead. Worth a warning: somebody believes a rotation is under way.
    pub fn previous_is_too_long(&self, now: Timestamp) -> bool {
        self.previous
            .as_ref()
            .is_some_and(|previous| previous.until.duration_since(now) > PREVIOUS_AT_MOST)
    }

    fn from_fields(fields: SigningFields) -> Result<Self, SecretError> {
        let current = required(fields.platform_secret, "platform_secret")?;
        let previous = fields
            .previous_platform_secret
            .map(Previous::parse)
            .transpose()?;
        Ok(Self { current, previous })
    }
}

impl Previous {
    fn parse(value: Value) -> Result<Self, SecretError> {
        let Value::Object(mut fields) = value else {
            return Err(SecretError::Malformed {
                field: "previous_platform_secret",
                expected: "an object with value and until",
            });
        };
        let value = required(fields.remove("value"), "previous_platform_secret.value")?;
        let until = until(fields.remove("until"))?;
        Ok(Self { value, until })
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        now < self.until && self.until.duration_since(now) <= PREVIOUS_AT_MOST
    }
}

fn until(value: Option<Value>) -> Result<Timestamp, SecretError> {
    let field = "previous_platform_secret.until";
    let expected = "an RFC 3339 time such as 2026-04-09T13:09:08Z";
    let value = value.ok_or(SecretError::Missing { field, expected })?;
    let time = value.as_str().and_then(|text| text.parse().ok());
    time.ok_or(SecretError::Malformed { field, expected })
}

/// What calls the Partner API on a partner's behalf, and how that partner pays.
#[derive(Clone, Debug)]
pub struct PartnerAccess {
    /// What the Partner API asks for.
    pub credentials: Credentials,
    /// Who pays, and so whether a client's permission is needed.
    pub billing: Billing,
    /// Headers that a number's messages are to carry to the partner's own webhook.
    pub messaging_webhook_headers: BTreeMap<String, Secret>,
}

/// Who pays 360dialog for a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// The client; then it must permit the partner to make keys.
    #[default]
    DirectPaid,
    /// The partner; then no permission is needed.
    PartnerPaid,
}

impl PartnerAccess {
    /// Reads `partner_api_key`, `partner_token`, or `username` and `password` (the first that is there), `billing` and `messaging_webhook_headers` from a
    /// partner's secret (JSON).
    ///
    /// # Errors
    /// Names the field and what belongs there; never a value.
    pub fn parse(json: &str) -> Result<Self, SecretError> {
        let fields: AccessFields =
            serde_json::from_str(json).map_err(|_| SecretError::NotAnObject)?;
        Self::from_fields(fields)
    }

    fn from_fields(fields: AccessFields) -> Result<Self, SecretError> {
        Ok(Self {
            billing: fields.billing.map_or(Ok(Billing::default()), billing)?,
            messaging_webhook_headers: headers(fields.messaging_webhook_headers)?,
            credentials: fields.credentials.parse()?,
        })
    }
}

/// A secret in JSON; no refusal repeats it.
fn secret(value: Value, field: &'static str) -> Result<Secret, SecretError> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(Secret::new(text)),
        _ => Err(SecretError::Malformed {
            field,
            expected: "a non-empty string",
        }),
    }
}

impl CredentialFields {
    fn parse(self) -> Result<Credentials, SecretError> {
        if let Some(key) = self.partner_api_key {
            return secret(key, "partner_api_key").map(Credentials::ApiKey);
        }
        if let Some(token) = self.partner_token {
            return secret(token, "partner_token").map(Credentials::Token);
        }
        if self.username.is_none() && self.password.is_none() {
            return Err(SecretError::Missing {
                field: "partner_api_key",
                expected: "a non-empty string, or add partner_token, or username and password instead",
            });
        }
        Ok(Credentials::Login(Login {
            username: required(self.username, "username")?,
            password: required(self.password, "password")?,
        }))
    }
}

fn billing(value: Value) -> Result<Billing, SecretError> {
    serde_json::from_value(value).map_err(|_| SecretError::Malformed {
        field: "billing",
        expected: r#""direct_paid" or "partner_paid""#,
    })
}

fn headers(value: Option<Value>) -> Result<BTreeMap<String, Secret>, SecretError> {
    let malformed = SecretError::Malformed {
        field: "messaging_webhook_headers",
        expected: "an object whose values are non-empty strings",
    };
    let Some(value) = value else {
        return Ok(BTreeMap::new());
    };
    let Value::Object(headers) = value else {
        return Err(malformed);
    };
    let header = |(name, value)| Ok((name, secret(value, "").map_err(|_| malformed)?));
    headers.into_iter().map(header).collect()
}

fn required(value: Option<Value>, field: &'static str) -> Result<Secret, SecretError> {
    let expected = "a non-empty string";
    secret(
        value.ok_or(SecretError::Missing { field, expected })?,
        field,
    )
}

/// `null` counts as absent. Values are taken as they are, so that our own words refuse them.
#[derive(Deserialize)]
struct SigningFields {
    platform_secret: Option<Value>,
    previous_platform_secret: Option<Value>,
}

#[derive(Deserialize)]
struct AccessFields {
    #[serde(flatten)]
    credentials: CredentialFields,
    billing: Option<Value>,
    messaging_webhook_headers: Option<Value>,
}

#[derive(Deserialize)]
struct CredentialFields {
    partner_api_key: Option<Value>,
    partner_token: Option<Value>,
    username: Option<Value>,
    password: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-04-09T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn rotating(until: &str) -> SigningSecrets {
        let json = format!(
            r#"{{"platform_secret":"new","partner_token":"t",
                "previous_platform_secret":{{"value":"old","until":"{until}"}}}}"#
        );
        SigningSecrets::parse(&json).unwrap()
    }

    fn accepted(secrets: &SigningSecrets) -> Vec<&str> {
        secrets
            .accepted(now())
            .into_iter()
            .map(Secret::expose)
            .collect()
    }

    #[test]
    fn the_current_secret_is_tried_before_the_previous_one() {
        assert_eq!(accepted(&rotating("2026-04-09T12:00:01Z")), ["new", "old"]);
        let longest = rotating("2026-04-12T12:00:00Z");
        assert_eq!(accepted(&longest), ["new", "old"]);
        assert!(!longest.previous_is_too_long(now()));
    }

    #[test]
    fn the_previous_secret_ends_at_its_until() {
        assert_eq!(accepted(&rotating(NOW)), ["new"]);
        assert!(!rotating(NOW).previous_is_too_long(now()));
    }

    #[test]
    fn a_previous_secret_of_more_than_three_days_is_not_accepted_and_is_told() {
        let secrets = rotating("2026-04-12T12:00:01Z");
        assert_eq!(accepted(&secrets), ["new"]);
        assert!(secrets.previous_is_too_long(now()));
    }

    #[test]
    fn the_api_key_wins_over_the_token() {
        let access =
            PartnerAccess::parse(r#"{"partner_token":"t","partner_api_key":"k"}"#).unwrap();
        assert!(matches!(access.credentials, Credentials::ApiKey(key) if key.expose() == "k"));
    }

    #[test]
    fn a_user_logs_in_where_there_is_neither_key_nor_token() {
        let credentials = |json: &str| PartnerAccess::parse(json).map(|access| access.credentials);
        let user = r#"{"username":"ada","password":"hush"}"#;
        let Ok(Credentials::Login(login)) = credentials(user) else {
            panic!("a login")
        };
        assert_eq!(
            (login.username.expose(), login.password.expose()),
            ("ada", "hush")
        );
        let both = r#"{"partner_token":"t","username":"ada","password":"hush"}"#;
        assert!(matches!(credentials(both), Ok(Credentials::Token(_))));
        for (half, missing) in [
            (r#"{"username":"ada"}"#, "password"),
            (r#"{"password":"hush","username":null}"#, "username"),
        ] {
            let refusal = credentials(half).unwrap_err().to_string();
            assert!(
                refusal.starts_with(&format!("{missing} is missing")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn direct_paid_is_the_default() {
        let access = PartnerAccess::parse(r#"{"partner_token":"t","platform_secret":7}"#).unwrap();
        assert_eq!(access.billing, Billing::DirectPaid);
        assert!(matches!(access.credentials, Credentials::Token(_)));
    }

    #[test]
    fn everything_optional_is_read() {
        let access = PartnerAccess::parse(
            r#"{"partner_token":"t","billing":"partner_paid","messaging_webhook_headers":{"X-A":"v"}}"#,
        )
        .unwrap();
        assert_eq!(access.billing, Billing::PartnerPaid);
        assert_eq!(access.messaging_webhook_headers["X-A"].expose(), "v");
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let refusal = SigningSecrets::parse("{}").unwrap_err().to_string();
        assert!(
            refusal.starts_with("platform_secret is missing"),
            "{refusal}"
        );
        let refusal = PartnerAccess::parse("{}").unwrap_err().to_string();
        assert!(
            refusal.starts_with("partner_api_key is missing"),
            "{refusal}"
        );
    }

    #[test]
    fn no_refusal_repeats_a_value() {
        let needles = [
            r#""needle""#,
            r#"{"platform_secret":["needle"],"partner_token":{"needle":1}}"#,
            r#"{"platform_secret":"needle" "partner_token":"needle""#,
            r#"{"platform_secret":"s","previous_platform_secret":"needle","partner_token":"t","billing":"needle"}"#,
            r#"{"platform_secret":"s","previous_platform_secret":{"value":"needle","until":"needle"},"partner_token":"t","messaging_webhook_headers":{"a":["needle"]}}"#,
            r#"{"platform_secret":"","partner_token":"  ","x":"needle"}"#,
        ];
        for json in needles {
            let refusals = [
                SigningSecrets::parse(json).unwrap_err().to_string(),
                PartnerAccess::parse(json).unwrap_err().to_string(),
            ];
            assert!(!refusals.concat().contains("needle"), "{refusals:?}");
        }
    }
}
