//! Requests as the gateway (an HTTP API, payload 2.0) hands them over: who is calling, which domain, which stage.

use axum::Router;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::http::uri::PathAndQuery;
use data_encoding::BASE64URL_NOPAD;
use lambda_http::request::RequestContext;
use lambda_http::tower::ServiceExt;
use lambda_http::{Request, service_fn};
use serde_json::{Map, Value};

use crate::http::{Caller, GatewayDomain};
use crate::lambda::Error;

/// Answers the gateway's events with `routes` until Lambda ends the process.
pub async fn serve(routes: Router) -> Result<(), Error> {
    lambda_http::run(service_fn(move |request| routes.clone().oneshot(as_routed(request)))).await
}

/// The request with what the gateway says of it, at the address the routes know.
fn as_routed(mut request: Request) -> Request {
    let Some(RequestContext::ApiGatewayV2(context)) = request.extensions_mut().remove::<RequestContext>() else {
        return request;
    };
    if let Some(domain) = context.domain_name {
        request.extensions_mut().insert(GatewayDomain(domain));
    }
    if let Some(authorizer) = context.authorizer {
        if authorizer.iam.is_some() {
            request.extensions_mut().insert(Caller::Iam);
        } else if let Some(jwt) = authorizer.jwt.filter(|jwt| !jwt.claims.is_empty()) {
            let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
            let caller = Caller::Jwt(claims(jwt.claims, header));
            request.extensions_mut().insert(caller);
        }
    }
    if let Some(uri) = context.stage.and_then(|stage| without_stage(request.uri(), &stage)) {
        *request.uri_mut() = uri;
    }
    request
}

/// The claims as the token has them. The gateway writes every claim as a text, so that a list or a number would pass
/// for a name; the token, whose signature it has checked, tells.
fn claims(of_gateway: impl IntoIterator<Item = (String, String)>, header: Option<&str>) -> Map<String, Value> {
    let of_token = header.and_then(claims_of_token).unwrap_or_default();
    let typed = |(name, text): (String, String)| {
        let value = of_token.get(&name).filter(|value| !value.is_string()).cloned();
        (name, value.unwrap_or(Value::String(text)))
    };
    of_gateway.into_iter().map(typed).collect()
}

fn claims_of_token(header: &str) -> Option<Map<String, Value>> {
    let token = header.split_whitespace().last()?;
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The address without the name of a stage in front, which a gateway without a domain of its own puts there.
fn without_stage(uri: &Uri, stage: &str) -> Option<Uri> {
    let path = uri.path().strip_prefix('/')?.strip_prefix(stage)?;
    if !path.starts_with('/') {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        format!("Bearer e30.{}.sig", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()))
    }

    #[test]
    fn a_claim_that_is_no_text_in_the_token_does_not_become_one() {
        let of_gateway = [("sub".to_owned(), "7".to_owned()), ("org".to_owned(), "[acme]".to_owned())];
        let header = token(&json!({"sub": "7", "org": ["acme"]}));
        let seen = claims(of_gateway.clone(), Some(&header));
        assert_eq!((&seen["sub"], &seen["org"]), (&json!("7"), &json!(["acme"])));
        assert_eq!(claims(of_gateway.clone(), None)["org"], "[acme]");
        assert_eq!(claims(of_gateway, Some("Bearer nonsense"))["sub"], "7");
    }

    #[test]
    fn a_token_adds_no_claim_that_the_gateway_did_not_name() {
        let seen = claims([("sub".to_owned(), "acme".to_owned())], Some(&token(&json!({"sub": "other", "org": "x"}))));
        assert_eq!(Value::Object(seen), json!({"sub": "acme"}));
    }

    #[test]
    fn only_the_stage_itself_is_taken_off() {
        let path = |uri: &str, stage| without_stage(&uri.parse().unwrap(), stage).map(|uri| uri.to_string());
        assert_eq!(
            path("https://a.example/dev/xPA/sign?a=%2B&b", "dev"),
            Some("https://a.example/xPA/sign?a=%2B&b".into())
        );
        assert_eq!(path("/xPA/sign", "dev"), None);
        assert_eq!(path("/devPA/sign", "dev"), None);
        assert_eq!(path("/xPA/sign", "$default"), None);
    }
}
