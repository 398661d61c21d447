//! Refusals of the Partner API, and the message that comes with them.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::secret::Secret;

/// The longest wait that a `Retry-After` may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The most characters that are taken over from a message.
const LONGEST_MESSAGE: usize = 300;

/// The largest body of a refusal that is read, bytes.
const LARGEST_REFUSAL: usize = 64 * 1024;

/// Why 360dialog did not do what it was asked for.
///
/// It prints without the message: that is a text from outside, which belongs into no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ApiError {
    /// The reason, as far as the status tells.
    pub kind: ErrorKind,
    /// The message in the answer: at most 300 characters, none of them a control character, and no credentials.
    pub message: Option<String>,
}

/// The kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// 401: it does not accept the partner's credentials.
    #[error("360dialog refuses the credentials")]
    BadCredentials,
    /// 403: the partner may not do this.
    #[error("360dialog does not permit it")]
    NotPermitted,
    /// 404 or 405: there is no such thing.
    #[error("360dialog knows nothing of the kind")]
    NotFound,
    /// 429: ask again, after this wait if it said one.
    #[error("360dialog asks to wait")]
    RateLimited(Option<Duration>),
    /// Any other status.
    #[error("360dialog answered with status {0}")]
    Status(u16),
    /// A success in no known form, and what is wrong with it.
    #[error("360dialog's answer cannot be understood ({0})")]
    Unreadable(&'static str),
    /// No answer.
    #[error("360dialog did not answer")]
    Silent,
}

impl From<ErrorKind> for ApiError {
    fn from(kind: ErrorKind) -> Self {
        let message = None;
        Self { kind, message }
    }
}

impl ErrorKind {
    /// The kind of a refusal with this status.
    pub(super) fn from_status(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::BadCredentials,
            StatusCode::FORBIDDEN => Self::NotPermitted,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited(retry_after(headers)),
            status => Self::Status(status.as_u16()),
        }
    }
}

impl ApiError {
    /// Reads a refusal. No text of `secrets` stays in its message.
    pub(super) async fn read(response: Response, secrets: &[&Secret]) -> Self {
        let kind = ErrorKind::from_status(response.status(), response.headers());
        let message = message(response, secrets).await;
        Self { kind, message }
    }
}

/// The wait a `Retry-After` asks for, in seconds or as a date,
/// [RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(until.duration_since(jiff::Timestamp::now()).as_secs()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The message of a refusal, without the texts of `secrets`.
pub(super) async fn message(mut response: Response, secrets: &[&Secret]) -> Option<String> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_REFUSAL {
            return None;
        }
    }
    let body = serde_json::from_slice(&body).ok()?;
    Some(cleaned(message_in(&body)?, secrets))
}

/// The message in either form: `{"meta": {"developer_message"}}` or `{"error", "error_description"}`.
fn message_in(body: &Value) -> Option<&str> {
    let places = [
        "/meta/developer_message",
        "/error_description",
        "/error",
        "/message",
    ];
    let texts = places.map(|place| body.pointer(place).and_then(Value::as_str));
    texts.into_iter().flatten().find(|text| !text.is_empty())
}

fn cleaned(message: &str, secrets: &[&Secret]) -> String {
    let exposed = secrets.iter().map(|secret| secret.expose());
    let without = exposed
        .filter(|text| !text.is_empty())
        .fold(message.to_owned(), |message, text| {
            message.replace(text, "[redacted]")
        });
    let visible = without.chars().map(|c| match c {
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    visible.take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
        let wait = |text: &str| {
            let headers =
                HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999"), Some(Duration::from_secs(86_400)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn the_message_is_found_in_both_forms() {
        let meta = json!({"meta": {"success": false, "developer_message": "not running"}});
        assert_eq!(message_in(&meta), Some("not running"));
        let both = json!({"error": "invalid_grant", "error_description": "no such user"});
        assert_eq!(message_in(&both), Some("no such user"));
        assert_eq!(message_in(&json!({"error": "denied"})), Some("denied"));
        for none in [
            json!({}),
            json!([]),
            json!({"error": {"code": 7}}),
            json!({"error": ""}),
        ] {
            assert_eq!(message_in(&none), None, "{none}");
        }
    }

    #[test]
    fn a_message_is_cut_and_holds_no_control_character_and_no_credentials() {
        let secret = Secret::new("t0ken");
        let shown = cleaned("bad\u{1b}[2J t0ken\n", &[&secret, &Secret::new("")]);
        assert_eq!(shown, "bad\u{fffd}[2J [redacted]\u{fffd}");
        assert_eq!(cleaned(&"ü".repeat(301), &[]), "ü".repeat(300));
    }
}
