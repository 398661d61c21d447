//! A refusal in the form of RFC 9457: what an outsider reads. It says what to do, never who or what was asked for.

use serde::Serialize;

/// The media type of a problem document, [RFC 9457 §3](https://www.rfc-editor.org/rfc/rfc9457#section-3).
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document: `{"status":…,"title":…,"detail":…}`; the type is `about:blank`, so it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// The status in words.
    pub title: &'static str,
    /// What to do now.
    pub detail: String,
    /// Seconds until another try makes sense; sent as `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// 400: the request must be changed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "Bad Request", detail)
    }

    /// 401: nobody known is asking.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "Unauthorized", detail)
    }

    /// 403: the caller is known but names no tenant.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", detail)
    }

    /// 404: unknown, or somebody else's, which looks the same.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "Not Found", detail)
    }

    /// 405: the address exists, the method does not.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(405, "Method Not Allowed", detail)
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "Content Too Large",
            format!("Send at most {limit} bytes."),
        )
    }

    /// 429: ask again in `retry_after` seconds.
    pub fn too_many(retry_after: u64, detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(429, "Too Many Requests", detail)
        }
    }

    /// 503: something behind us failed; nothing is wrong with the request.
    pub fn unavailable() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(
                503,
                "Service Unavailable",
                "We could not do this just now. Send the same request again.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_three_fields() {
        let problem = serde_json::to_value(Problem::too_many(3, "Ask again later.")).unwrap();
        let expected = serde_json::json!({"status": 429, "title": "Too Many Requests", "detail": "Ask again later."});
        assert_eq!(problem, expected);
    }
}
