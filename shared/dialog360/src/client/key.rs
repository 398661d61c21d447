//! New keys: what 360dialog answers when one is asked for.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::ApiError;
use crate::description::text;
use crate::secret::Secret;

/// The answer to asking for a new key.
#[derive(Clone, Debug)]
pub struct KeyAnswer {
    /// Its meaning.
    pub outcome: KeyOutcome,
    /// Its HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The message of a refusal, as in [`ApiError`].
    pub message: Option<String>,
}

/// Outcome of asking for a new key.
#[derive(Clone, Debug)]
pub enum KeyOutcome {
    /// It was not asked for: the login before it failed.
    NotAsked(ApiError),
    /// The key, shown this once.
    Created(NewKey),
    /// 403: the client has not permitted it.
    NotPermitted,
    /// 409, 412 or 425: the channel is not ready for it.
    NotReady,
    /// 404: 360dialog does not know the channel.
    UnknownChannel,
    /// 401: it does not accept the partner's credentials.
    BadCredentials,
    /// Any other 4xx; the status.
    Refused(u16),
    /// 429: later; the key may have been made all the same.
    RateLimited(Option<Duration>),
    /// Silence, a 5xx, or an answer without a readable key: it may have been made.
    Unknown(&'static str),
}

/// A new key. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub api_key: Secret,
    /// 360dialog's id of it.
    pub id: Option<String>,
    /// Where messages are sent with it.
    pub address: Option<String>,
}

impl KeyAnswer {
    pub(super) fn not_asked(why: ApiError) -> Self {
        let message = why.message.clone();
        Self {
            message,
            ..KeyOutcome::NotAsked(why).into()
        }
    }
}

impl From<KeyOutcome> for KeyAnswer {
    fn from(outcome: KeyOutcome) -> Self {
        Self {
            outcome,
            status: None,
            message: None,
        }
    }
}

impl KeyOutcome {
    /// The meaning of a status that is no success.
    pub(super) fn refused(status: StatusCode, wait: Option<Duration>) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::BadCredentials,
            StatusCode::FORBIDDEN => Self::NotPermitted,
            StatusCode::NOT_FOUND => Self::UnknownChannel,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::TOO_EARLY => {
                Self::NotReady
            }
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited(wait),
            _ if status.is_client_error() => Self::Refused(status.as_u16()),
            _ => Self::Unknown("an unclear status"),
        }
    }
}

/// The key in an answer: the object itself, or the first of `api_keys`; its text is `api_key`, or `key`.
pub(super) fn new_key(body: &Value) -> Option<NewKey> {
    let key = match body.get("api_keys") {
        Some(keys) => keys.as_array()?.first()?,
        None => body,
    };
    let texts = ["api_key", "key"].map(|name| key.get(name).and_then(Value::as_str));
    let mut texts = texts.into_iter().flatten();
    let api_key = texts.find(|text| !text.is_empty())?;
    Some(NewKey {
        api_key: Secret::new(api_key),
        id: text(key.get("id")),
        address: text(key.get("address")),
    })
}
