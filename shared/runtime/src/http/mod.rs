//! The common part of all HTTP functions: refusals, extractors, and one log line per request.

mod extract;
mod problem;

pub use extract::{
    Caller, CallerTenant, GatewayDomain, LimitedBody, Parameters, Partner, PartnerState,
    TenantState,
};
pub use problem::Problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use dialog360::id::PartnerId;
use store::table::StoreError;

use crate::secrets::SecretUnavailable;
use crate::settings::PartnerIds;
use extract::served_partner;
use problem::MEDIA_TYPE;

/// A refusal: a problem document as an HTTP response.
#[derive(Clone, Debug)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the table failed");
        Self(Problem::unavailable())
    }
}

impl From<SecretUnavailable> for Refusal {
    fn from(error: SecretUnavailable) -> Self {
        tracing::error!(%error, "the partner secret failed");
        Self(Problem::unavailable())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.retry_after.map(HeaderValue::from);
        let mut response = (status, axum::Json(problem)).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// Adds to the routes of a function: `no-store`, the refusal of other methods, and one log line per request.
pub fn finish(routes: Router, function: &'static str, served: PartnerIds) -> Router {
    let served = Arc::new(served);
    routes
        .method_not_allowed_fallback(|| async { no_such_method() })
        .layer(from_fn(move |request, next| {
            log_request(function, served.clone(), request, next)
        }))
}

fn no_such_method() -> Refusal {
    Problem::method_not_allowed("This address does not take this method.").into()
}

/// Logs one line with the route's template and the served partner. It never logs the query or the path, which may hold
/// a state or any other text.
async fn log_request(
    function: &'static str,
    served: Arc<PartnerIds>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    let partner = served_partner(request.uri().path(), &served).map(PartnerId::as_str);
    let method = request.method().clone();
    // The router would answer HEAD with the handler of GET, which here may write to the table.
    let mut response = match method {
        Method::HEAD => no_such_method().into_response(),
        _ => next.run(request).await,
    };
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    tracing::info!(function, %method, route, partner, status = response.status().as_u16(), "request");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_problem_document() {
        let response = Refusal(Problem::too_many(3, "Later.")).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }
}
