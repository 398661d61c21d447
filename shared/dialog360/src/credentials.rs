//! How requests to the Partner API are authorised.

use crate::secret::Secret;

/// What the Partner API asks for; 360dialog prefers the API key.
///
/// Source: <https://docs.360dialog.com/partner/partner-api/overview>, authentication.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A bearer token, sent as `Authorization: Bearer`. It expires.
    Token(Secret),
    /// A partner API key, sent as `X-API-Key`.
    ApiKey(Secret),
    /// A user whose bearer tokens are got at `POST /token` when they are needed.
    Login(Login),
}

/// A user of 360dialog's hub.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name, usually an email address.
    pub username: Secret,
    /// The user's password.
    pub password: Secret,
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        let texts = |it: &Self| {
            (
                it.username.expose().to_owned(),
                it.password.expose().to_owned(),
            )
        };
        texts(self) == texts(other)
    }
}

impl Credentials {
    /// Whether `other` would be sent as the same texts.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let texts = |credentials: &Self| -> Vec<String> {
            let secrets = credentials.secrets().into_iter();
            secrets.map(|secret| secret.expose().to_owned()).collect()
        };
        std::mem::discriminant(self) == std::mem::discriminant(other) && texts(self) == texts(other)
    }

    /// The texts that must be shown nowhere.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Token(secret) | Self::ApiKey(secret) => vec![secret],
            Self::Login(login) => vec![&login.username, &login.password],
        }
    }
}
