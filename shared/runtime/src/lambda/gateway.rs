//! Requests from the gateway (an HTTP API, payload 2.0): takes caller, domain and stage from the request context.

use axum::Router;
use axum::body::to_bytes;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::http::uri::PathAndQuery;
use data_encoding::BASE64URL_NOPAD;
use lambda_http::request::RequestContext;
use lambda_http::tower::ServiceExt;
use lambda_http::tower::layer::layer_fn;
use lambda_http::tower::util::MapRequest;
use lambda_http::{Body, Request, Response, service_fn};
use lambda_runtime::LambdaInvocation;
use lambda_runtime::layers::TracingLayer;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::{Caller, GatewayDomain};
use crate::lambda::Error;

/// The largest answer that Lambda accepts, bytes.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const LARGEST_ANSWER: usize = 6 * 1024 * 1024;

/// Answers the gateway's events with `routes` until Lambda ends the process.
pub async fn serve(routes: Router) -> Result<(), Error> {
    let answer = service_fn(move |request| answer(routes.clone(), with_gateway_context(request)));
    let runtime = lambda_http::runtime(answer).layer(TracingLayer::new());
    runtime
        .layer(layer_fn(|inner| MapRequest::new(inner, encode_query)))
        .run()
        .await
}

/// Reads the whole body of the answer: all answers are short texts.
async fn answer(routes: Router, request: Request) -> Result<Response<Body>, Error> {
    let (parts, body) = routes.oneshot(request).await?.into_parts();
    let body = to_bytes(body, LARGEST_ANSWER).await?;
    Ok(Response::from_parts(
        parts,
        Body::Text(String::from_utf8(body.into())?),
    ))
}

/// Percent-encodes the query of an invocation. `lambda_http` panics on some query strings, which any caller can send.
fn encode_query(invocation: LambdaInvocation) -> LambdaInvocation {
    match event_with_encoded_query(&invocation.body) {
        Some(body) => LambdaInvocation {
            body: body.into(),
            ..invocation
        },
        None => invocation,
    }
}

/// The event with its query percent-encoded; `None` if the query needs no encoding.
fn event_with_encoded_query(event: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sent {
        raw_query_string: String,
    }
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"#<>".contains(byte);
    let Sent { raw_query_string } = serde_json::from_slice(event).ok()?;
    if raw_query_string.as_bytes().iter().all(is_plain) {
        return None;
    }
    let encode = |byte: u8| {
        if is_plain(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let mut event: Value = serde_json::from_slice(event).ok()?;
    *event.get_mut("rawQueryString")? = raw_query_string
        .bytes()
        .map(encode)
        .collect::<String>()
        .into();
    serde_json::to_vec(&event).ok()
}

/// Adds the gateway's caller and domain to the request, and removes the stage from its path.
fn with_gateway_context(mut request: Request) -> Request {
    let Some(RequestContext::ApiGatewayV2(context)) =
        request.extensions_mut().remove::<RequestContext>()
    else {
        return request;
    };
    if let Some(domain) = context.domain_name {
        request.extensions_mut().insert(GatewayDomain(domain));
    }
    if let Some(authorizer) = context.authorizer {
        if authorizer.iam.is_some() {
            request.extensions_mut().insert(Caller::Iam);
        } else if let Some(jwt) = authorizer.jwt.filter(|jwt| !jwt.claims.is_empty()) {
            let header = request
                .headers()
                .get(AUTHORIZATION)
                .and_then(|header| header.to_str().ok());
            let caller = Caller::Jwt(typed_claims(jwt.claims, header));
            request.extensions_mut().insert(caller);
        }
    }
    if let Some(uri) = context
        .stage
        .and_then(|stage| without_stage(request.uri(), &stage))
    {
        *request.uri_mut() = uri;
    }
    request
}

/// The JWT claims with the types they have in the token. The gateway passes every JWT claim as a text, so a list or a
/// number would look like a name. The types are read from the token, whose signature the gateway has checked.
fn typed_claims(
    from_gateway: impl IntoIterator<Item = (String, String)>,
    header: Option<&str>,
) -> Map<String, Value> {
    let from_token = header.and_then(token_claims).unwrap_or_default();
    let typed = |(name, text): (String, String)| {
        let value = from_token
            .get(&name)
            .filter(|value| !value.is_string())
            .cloned();
        (name, value.unwrap_or(Value::String(text)))
    };
    from_gateway.into_iter().map(typed).collect()
}

fn token_claims(header: &str) -> Option<Map<String, Value>> {
    let token = header.split_whitespace().last()?;
    let payload = BASE64URL_NOPAD
        .decode(token.split('.').nth(1)?.as_bytes())
        .ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The address without the stage at the beginning of its path. A gateway adds the stage unless it has a custom domain.
fn without_stage(uri: &Uri, stage: &str) -> Option<Uri> {
    let path = uri.path().strip_prefix('/')?.strip_prefix(stage)?;
    if !path.starts_with('/') {
        return None;
    }
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        format!(
            "Bearer e30.{}.sig",
            BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
        )
    }

    #[test]
    fn a_jwt_claim_keeps_the_type_it_has_in_the_token() {
        let from_gateway = [
            ("sub".to_owned(), "7".to_owned()),
            ("org".to_owned(), "[acme]".to_owned()),
        ];
        let header = token(&json!({"sub": "7", "org": ["acme"]}));
        let seen = typed_claims(from_gateway.clone(), Some(&header));
        assert_eq!(
            (&seen["sub"], &seen["org"]),
            (&json!("7"), &json!(["acme"]))
        );
        assert_eq!(typed_claims(from_gateway.clone(), None)["org"], "[acme]");
        assert_eq!(
            typed_claims(from_gateway, Some("Bearer nonsense"))["sub"],
            "7"
        );
    }

    #[test]
    fn only_jwt_claims_that_the_gateway_passed_on_are_used() {
        let seen = typed_claims(
            [("sub".to_owned(), "acme".to_owned())],
            Some(&token(&json!({"sub": "other", "org": "x"}))),
        );
        assert_eq!(Value::Object(seen), json!({"sub": "acme"}));
    }

    #[test]
    fn only_queries_that_lambda_http_cannot_parse_are_encoded() {
        let encoded = |query: &str| {
            let event = json!({"rawPath": "/", "rawQueryString": query, "headers": {"a": "b"}});
            let event: Value =
                serde_json::from_slice(&event_with_encoded_query(event.to_string().as_bytes())?)
                    .unwrap();
            assert_eq!(
                (&event["rawPath"], &event["headers"]),
                (&json!("/"), &json!({"a": "b"}))
            );
            Some(event["rawQueryString"].as_str().unwrap().to_owned())
        };
        for plain in ["", "a=%zz&b=+%2B", "client=x&channels=[y,%20z]&{|}\\^'"] {
            assert_eq!(encoded(plain), None);
        }
        assert_eq!(
            encoded("a=<\"ü +%20>#").as_deref(),
            Some("a=%3C%22%C3%BC%20+%20%3E%23")
        );
        assert_eq!(event_with_encoded_query(b"no event"), None);
    }

    #[test]
    fn only_the_name_of_the_stage_is_removed() {
        let path = |uri: &str, stage| {
            without_stage(&uri.parse().unwrap(), stage).map(|uri| uri.to_string())
        };
        assert_eq!(
            path("https://a.example/dev/xPA/sign?a=%2B&b", "dev"),
            Some("https://a.example/xPA/sign?a=%2B&b".into())
        );
        assert_eq!(path("/xPA/sign", "dev"), None);
        assert_eq!(path("/devPA/sign", "dev"), None);
        assert_eq!(path("/xPA/sign", "$default"), None);
    }
}
