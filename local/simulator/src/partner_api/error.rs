//! Errors in the Partner API's form.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::store::SaveError;

/// An error in the Partner API's form.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: &'static str,
}

impl ApiError {
    pub(crate) const UNAUTHORIZED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        message: "Missing or invalid credentials",
    };
    pub(crate) const BAD_ADDRESS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "An address is an absolute http or https URL, or empty",
    };
    pub(crate) const BAD_MESSAGING_WEBHOOK: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "The body is an object with url, an absolute http or https URL, and headers, an object",
    };
    pub(crate) const BAD_TEMPLATE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "A template has a name, a language, a category and components, a list",
    };
    pub(crate) const TEMPLATE_NAME_IN_USE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "The name you have provided is already in use. Please choose a different name for your template.",
    };
    pub(crate) const NO_SUCH_TEMPLATE: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: "Template not found",
    };
    pub(crate) const BAD_MEDIA: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "An upload is a multipart form with a file",
    };
    pub(crate) const NO_SUCH_MEDIA: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: "Media not found",
    };
    pub(crate) const NO_SUCH_PATH: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: "Not found",
    };
    pub(crate) const NO_SUCH_CHANNEL: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: "Channel not found",
    };
    pub(crate) const NOT_PERMITTED: Self = Self {
        status: StatusCode::FORBIDDEN,
        message: "The client has not permitted API keys for this channel",
    };
    pub(crate) const NOT_RUNNING: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "The channel is not running",
    };
    pub(crate) const TOO_MANY: Self = Self {
        status: StatusCode::TOO_MANY_REQUESTS,
        message: "Too many requests",
    };
    const NOT_SAVED: Self = Self {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: "The simulator could not save the change",
    };

    /// An error with the usual words of its status.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        Self {
            status,
            message: status.canonical_reason().unwrap_or("Error"),
        }
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        tracing::error!(%error, "nothing changed");
        Self::NOT_SAVED
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let meta = json!({
            "success": false,
            "http_code": self.status.as_u16(),
            "developer_message": self.message,
            "details": [],
            "error_data": {},
        });
        (self.status, Json(json!({"meta": meta}))).into_response()
    }
}
