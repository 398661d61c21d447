//! The hubs of most tests and their secrets.

use serde_json::{Value, json};

use crate::{PARTNER, PAYING_PARTNER, text};

/// The secrets the bundle is started with; every value is made for one test and searched for afterwards.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The content of `SECRETS_FILE`.
    pub file: Value,
    /// `JWT_HS256_SECRET`
    pub jwt: String,
}

impl Secrets {
    /// Two hubs, one Direct-Paid and one Partner-Paid, with secrets that name their purpose.
    pub fn two_hubs() -> Self {
        let direct = json!({"platform_secret": "needle-platform-direct-0001", "partner_token": "needle-token-direct-0002"});
        let paying = json!({
            "platform_secret": "needle-platform-paying-0003",
            "partner_api_key": "needle-apikey-paying-0004",
            "billing": "partner_paid",
        });
        Self {
            file: json!({PARTNER: direct, PAYING_PARTNER: paying}),
            jwt: "needle-jwt-secret-0005-long-enough".to_owned(),
        }
    }

    /// The same, and [`PARTNER`] logs in with a user name and a password.
    pub fn with_login() -> Self {
        let mut secrets = Self::two_hubs();
        secrets.file[PARTNER] = json!({
            "platform_secret": "needle-platform-direct-0001",
            "username": "needle-username-direct-0006",
            "password": "needle-password-direct-0007",
        });
        secrets
    }

    /// The platform secret of a partner.
    pub fn platform_secret(&self, partner: &str) -> &str {
        text(&self.file[partner]["platform_secret"])
    }
}
