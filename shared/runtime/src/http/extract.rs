//! Extractors: they check the parts of a request before a handler runs. Every rejection is a [`Refusal`].

use std::sync::Arc;

use axum::RequestPartsExt;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use dialog360::id::PartnerId;
use onboarding::tenant::Tenant;
use serde_json::{Map, Value};

use super::{Problem, Refusal};
use crate::settings::PartnerIds;

/// A function that serves partners.
pub trait PartnerState: Send + Sync {
    /// The partner ids it serves.
    fn partner_ids(&self) -> &PartnerIds;
}

/// A function whose callers act for a tenant.
pub trait TenantState: PartnerState {
    /// The JWT claim that names the tenant.
    fn tenant_claim(&self) -> &str;
}

/// The served partner in the path; any other id is answered 404.
#[derive(Clone, Debug)]
pub struct Partner(pub PartnerId);

impl<S: PartnerState> FromRequestParts<Arc<S>> for Partner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<S>) -> Result<Self, Refusal> {
        let partner = served_partner(parts.uri.path(), state.partner_ids()).cloned();
        let unknown = "There is no such partner here. Check the partner id in the address.";
        Ok(Self(partner.ok_or_else(|| Problem::not_found(unknown))?))
    }
}

/// The served partner in the first segment of the path, with which every route begins. The id is not decoded.
pub(super) fn served_partner<'a>(path: &str, served: &'a PartnerIds) -> Option<&'a PartnerId> {
    path.split('/').nth(1).and_then(|id| served.find(id))
}

/// The query as percent-decoded pairs; a query that cannot be parsed is answered 400.
#[derive(Clone, Debug)]
pub struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    /// All values of the parameter `name`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(other, _)| other == name);
        named.map(|(_, value)| value.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let unreadable =
            "The query cannot be read. Encode it as application/x-www-form-urlencoded.";
        match parts.extract::<Query<_>>().await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Problem::bad_request(unreadable).into()),
        }
    }
}

/// The caller, as the gateway's authorizer (on one machine: the bundle) has authenticated it.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The bearer of a valid JWT, with its JWT claims.
    Jwt(Map<String, Value>),
    /// A caller with AWS credentials: the partner's own backend, which may name any tenant.
    Iam,
}

/// The gateway's own domain name, from the request context; never from the `Host` header.
#[derive(Clone, Debug)]
pub struct GatewayDomain(pub String);

/// The tenant on whose behalf the request is made.
///
/// Without a caller: 401. With a JWT: 403 if the JWT claim is not a text of 1–128 characters; 400 if the query has
/// `tenant`, since a bearer cannot choose. With IAM: 400 unless the query has `tenant` once, with 1–128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerTenant(pub Tenant);

impl<S: TenantState> FromRequestParts<Arc<S>> for CallerTenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<S>) -> Result<Self, Refusal> {
        let Some(caller) = parts.extensions.get::<Caller>().cloned() else {
            return Err(Problem::unauthorized("Send your token as Authorization: Bearer.").into());
        };
        let parameters: Parameters = parts.extract().await?;
        let named: Vec<&str> = parameters.values("tenant").collect();
        let tenant = match caller {
            Caller::Jwt(claims) => tenant_from_jwt(&claims, state.tenant_claim(), &named),
            Caller::Iam => tenant_from_query(&named),
        };
        Ok(Self(tenant?))
    }
}

fn tenant_from_jwt(
    claims: &Map<String, Value>,
    jwt_claim: &str,
    named: &[&str],
) -> Result<Tenant, Problem> {
    let tenant = claims.get(jwt_claim).and_then(Value::as_str);
    let tenant = tenant.and_then(|tenant| tenant.parse().ok());
    let detail = || {
        format!("Your token must name the tenant in the claim {jwt_claim}, 1 to 128 characters.")
    };
    let tenant = tenant.ok_or_else(|| Problem::forbidden(detail()))?;
    if !named.is_empty() {
        return Err(Problem::bad_request(
            "Leave out tenant: your token says it.",
        ));
    }
    Ok(tenant)
}

fn tenant_from_query(named: &[&str]) -> Result<Tenant, Problem> {
    let tenant = match named {
        [tenant] => tenant.parse().ok(),
        _ => None,
    };
    let detail = "Say once for which of your tenants you ask: ?tenant=, 1 to 128 characters.";
    tenant.ok_or_else(|| Problem::bad_request(detail))
}

/// A body of at most `LIMIT` bytes; a larger one is answered 413.
#[derive(Clone, Debug)]
pub struct LimitedBody<const LIMIT: usize>(pub Bytes);

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for LimitedBody<LIMIT> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        match to_bytes(request.into_body(), LIMIT).await {
            Ok(body) => Ok(Self(body)),
            Err(_) => Err(Problem::too_large(LIMIT).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http;
    use serde_json::json;

    use super::*;

    struct Function(PartnerIds);

    impl PartnerState for Function {
        fn partner_ids(&self) -> &PartnerIds {
            &self.0
        }
    }

    impl TenantState for Function {
        fn tenant_claim(&self) -> &str {
            "sub"
        }
    }

    async fn tenant(uri: &str, caller: Option<Caller>) -> Result<String, u16> {
        let (mut parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        parts.extensions.extend(
            caller
                .map(|caller| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(caller);
                    extensions
                })
                .unwrap_or_default(),
        );
        let state = Arc::new(Function("xPA".parse().unwrap()));
        let tenant = CallerTenant::from_request_parts(&mut parts, &state).await;
        let tenant = tenant.map(|CallerTenant(tenant)| tenant.to_string());
        tenant.map_err(|Refusal(problem)| problem.status)
    }

    fn jwt(claims: Value) -> Option<Caller> {
        claims.as_object().cloned().map(Caller::Jwt)
    }

    #[tokio::test]
    async fn the_jwt_claim_names_the_tenant() {
        let acme = || jwt(json!({"sub": "acme"}));
        assert_eq!(tenant("/x/sign", acme()).await, Ok("acme".to_owned()));
        assert_eq!(tenant("/x/sign?tenant=other", acme()).await, Err(400));
        assert_eq!(tenant("/x/sign", None).await, Err(401));
        for bad in [json!({}), json!({"sub": ""}), json!({"sub": 7})] {
            assert_eq!(tenant("/x/sign", jwt(bad)).await, Err(403));
        }
    }

    #[tokio::test]
    async fn a_backend_with_iam_names_the_tenant_itself() {
        let good = tenant("/x/sign?tenant=a%20b", Some(Caller::Iam)).await;
        assert_eq!(good, Ok("a b".to_owned()));
        let too_long = format!("/?tenant={}", "x".repeat(129));
        for bad in [
            "/x/sign",
            "/x/sign?tenant=",
            "/x/sign?tenant=a&tenant=a",
            &too_long,
        ] {
            assert_eq!(tenant(bad, Some(Caller::Iam)).await, Err(400), "{bad}");
        }
    }
}
