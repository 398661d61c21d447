//! Problem documents (RFC 9457), which the caller reads. They say what to do, and repeat nothing of the request.

use serde::Serialize;

/// The media type of a problem document, [RFC 9457 §3](https://www.rfc-editor.org/rfc/rfc9457#section-3).
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document: `{"status":…,"title":…,"detail":…}`. The type is `about:blank`, so it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// The name of the status.
    pub title: &'static str,
    /// What the caller should do.
    pub detail: String,
    /// After how many seconds to try again; sent as `Retry-After`.
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

    /// 401: the caller is not authenticated.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "Unauthorized", detail)
    }

    /// 403: the caller is known but names no tenant.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", detail)
    }

    /// 404: unknown, or of another tenant; the answer is the same.
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

    /// 429: try again in `retry_after` seconds.
    pub fn too_many(retry_after: u64, detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(429, "Too Many Requests", detail)
        }
    }

    /// 503: the table or a secret failed; the request is not at fault.
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
    fn a_problem_has_three_fields() {
        let problem = serde_json::to_value(Problem::too_many(3, "Ask again later.")).unwrap();
        let expected = serde_json::json!({"status": 429, "title": "Too Many Requests", "detail": "Ask again later."});
        assert_eq!(problem, expected);
    }
}
