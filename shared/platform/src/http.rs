//! What every HTTP function shares: refusals, who is calling, one log line per request.

use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{RequestPartsExt, Router};
use onboarding::id::{PartnerId, Tenant};
use onboarding::problem::{MEDIA_TYPE, Problem};
use serde_json::{Map, Value};

use crate::secrets::SecretUnavailable;
use crate::settings::PartnerIds;
use crate::table::StoreError;

/// A refusal, ready to be answered.
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

/// The refusal of a partner id that is not served.
pub fn unknown_partner() -> Refusal {
    Problem::not_found("There is no such partner here. Check the partner id in the address.").into()
}

/// The served partner that the path names, else 404.
pub fn partner(parts: &Parts, served: &PartnerIds) -> Result<PartnerId, Refusal> {
    served_in(parts.uri.path(), served)
        .cloned()
        .ok_or_else(unknown_partner)
}

/// Every route starts with the partner id; it is looked up as it stands, whatever the rest of the path holds.
fn served_in<'a>(path: &str, served: &'a PartnerIds) -> Option<&'a PartnerId> {
    path.split('/').nth(1).and_then(|id| served.find(id))
}

/// Who is calling, as the gateway's authorizer (on one machine: the bundle) found out.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The bearer of a valid JWT with these claims.
    Jwt(Map<String, Value>),
    /// A caller with AWS credentials: the partner's own backend, which speaks for any tenant it names.
    Iam,
}

/// The gateway's own domain name, as the gateway says it; never the `Host` header.
#[derive(Clone, Debug)]
pub struct GatewayDomain(pub String);

/// The tenant on whose behalf the request is made.
///
/// 401 without a caller. With a JWT: 403 if the claim `tenant_claim` is not a text of 1–128 characters, 400 if `tenant` is
/// given in the query, since a bearer cannot choose. With IAM: 400 unless `tenant` is given once, 1–128 characters.
pub async fn tenant(parts: &mut Parts, tenant_claim: &str) -> Result<Tenant, Refusal> {
    let Some(caller) = parts.extensions.get::<Caller>().cloned() else {
        return Err(Problem::unauthorized("Send your token as Authorization: Bearer.").into());
    };
    let query: Query<Vec<(String, String)>> = parts.extract().await.map_err(|_| {
        Problem::bad_request(
            "The query cannot be read. Encode it as application/x-www-form-urlencoded.",
        )
    })?;
    let named: Vec<&str> = query
        .iter()
        .filter(|(name, _)| name == "tenant")
        .map(|(_, tenant)| tenant.as_str())
        .collect();
    match caller {
        Caller::Jwt(claims) => {
            let tenant = claims
                .get(tenant_claim)
                .and_then(Value::as_str)
                .and_then(|tenant| tenant.parse().ok());
            let tenant = tenant.ok_or_else(|| {
                let detail =
                    format!("Your token must name the tenant in the claim {tenant_claim}, 1 to 128 characters.");
                Problem::forbidden(detail)
            })?;
            if !named.is_empty() {
                return Err(Problem::bad_request("Leave out tenant: your token says it.").into());
            }
            Ok(tenant)
        }
        Caller::Iam => {
            let tenant = if let [tenant] = named.as_slice() {
                tenant.parse().ok()
            } else {
                None
            };
            let detail =
                "Say once for which of your tenants you ask: ?tenant=, 1 to 128 characters.";
            Ok(tenant.ok_or_else(|| Problem::bad_request(detail))?)
        }
    }
}

/// What all routes of a function share: `no-store`, refusals for other methods, one log line per request.
pub fn finish(routes: Router, function: &'static str, served: PartnerIds) -> Router {
    let served = Arc::new(served);
    routes
        .method_not_allowed_fallback(|| async { no_such_method() })
        .layer(from_fn(move |request, next| {
            log(function, served.clone(), request, next)
        }))
}

fn no_such_method() -> Refusal {
    Problem::method_not_allowed("This address does not take this method.").into()
}

/// Logs one line: the route's template and the served partner, never the path, which may hold a state or anything else
/// that was sent, and never the query.
async fn log(
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
    let partner = served_in(request.uri().path(), &served).map(PartnerId::as_str);
    let method = request.method().clone();
    // The router would answer HEAD by GET, which here records things.
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
    use axum::http;

    use super::*;

    async fn tenant_of(uri: &str, caller: Option<Value>) -> Result<Tenant, u16> {
        let (mut parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        if let Some(Value::Object(claims)) = caller {
            parts.extensions.insert(Caller::Jwt(claims));
        }
        tenant(&mut parts, "sub")
            .await
            .map_err(|Refusal(problem)| problem.status)
    }

    #[tokio::test]
    async fn the_claim_names_the_tenant() {
        let acme = serde_json::json!({"sub": "acme"});
        assert_eq!(
            tenant_of("/x/sign", Some(acme.clone()))
                .await
                .unwrap()
                .as_str(),
            "acme"
        );
        assert_eq!(
            tenant_of("/x/sign?tenant=other", Some(acme)).await,
            Err(400)
        );
        assert_eq!(tenant_of("/x/sign", None).await, Err(401));
        for bad in [
            serde_json::json!({}),
            serde_json::json!({"sub": ""}),
            serde_json::json!({"sub": 7}),
        ] {
            assert_eq!(tenant_of("/x/sign", Some(bad)).await, Err(403));
        }
    }

    #[tokio::test]
    async fn a_backend_with_iam_names_the_tenant_itself() {
        let tenant_of = async |uri: &str| {
            let (mut parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            parts.extensions.insert(Caller::Iam);
            tenant(&mut parts, "sub")
                .await
                .map_err(|Refusal(problem)| problem.status)
        };
        assert_eq!(
            tenant_of("/x/sign?tenant=a%20b").await.unwrap().as_str(),
            "a b"
        );
        for bad in [
            "/x/sign",
            "/x/sign?tenant=",
            "/x/sign?tenant=a&tenant=a",
            &format!("/?tenant={}", "x".repeat(129)),
        ] {
            assert_eq!(tenant_of(bad).await, Err(400), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_a_problem_document() {
        let response = Refusal(Problem::too_many(3, "Later.")).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }
}
