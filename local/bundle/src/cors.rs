//! CORS as an HTTP API of API Gateway does it: it answers every preflight itself, and sends no CORS header to pages of
//! other origins.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use onboarding::origin::AllowedOrigins;

/// How long a browser may remember the answer to a preflight, s.
const PREFLIGHT_LIFE: HeaderValue = HeaderValue::from_static("600");

const METHODS: HeaderValue = HeaderValue::from_static("GET,POST");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization,content-type");
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after");

/// Answers a preflight, and allows pages of the allowed origins to read the answers of the functions.
pub async fn answer(allowed: AllowedOrigins, request: Request, next: Next) -> Response {
    let origin = listed(&allowed, request.headers());
    if request.method() == Method::OPTIONS {
        let mut answer = StatusCode::NO_CONTENT.into_response();
        if let Some(origin) = origin {
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_LIFE);
        }
        return answer;
    }
    let mut answer = next.run(request).await;
    // For every origin, so that a cache does not give one page's answer to another.
    answer
        .headers_mut()
        .append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        answer
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer
            .headers_mut()
            .insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    answer
}

/// The request's origin, if it is exactly one of the allowed origins.
fn listed(allowed: &AllowedOrigins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    allowed
        .iter()
        .any(|allowed| allowed.as_str().as_bytes() == origin.as_bytes())
        .then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: Method, path: &str, origin: Option<&str>) -> Response {
        let allowed: AllowedOrigins = "https://app.example, http://localhost:80".parse().unwrap();
        let routes = Router::new()
            .route("/refused", get(|| async { StatusCode::UNAUTHORIZED }))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(from_fn(move |request, next| {
                answer(allowed.clone(), request, next)
            }));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert(ORIGIN, origin.parse().unwrap());
        }
        routes.oneshot(request).await.unwrap()
    }

    fn cors_headers(answer: &Response) -> Vec<(&str, &str)> {
        let all = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut cors: Vec<_> = all
            .filter(|(name, _)| name.starts_with("access-control-"))
            .collect();
        cors.sort_unstable();
        cors
    }

    #[tokio::test]
    async fn every_preflight_is_answered_and_only_listed_origins_are_allowed() {
        for path in ["/refused", "/nothing"] {
            let listed = ask(Method::OPTIONS, path, Some("https://app.example")).await;
            let expected = [
                ("access-control-allow-headers", "authorization,content-type"),
                ("access-control-allow-methods", "GET,POST"),
                ("access-control-allow-origin", "https://app.example"),
                ("access-control-max-age", "600"),
            ];
            assert_eq!(
                (listed.status(), cors_headers(&listed)),
                (StatusCode::NO_CONTENT, expected.to_vec())
            );
            assert!(to_bytes(listed.into_body(), 1).await.unwrap().is_empty());
            for origin in [
                None,
                Some("https://evil.example"),
                Some("null"),
                Some("https://APP.example"),
            ] {
                let other = ask(Method::OPTIONS, path, origin).await;
                assert_eq!(
                    (other.status(), cors_headers(&other)),
                    (StatusCode::NO_CONTENT, vec![]),
                    "{origin:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn every_answer_may_be_read_by_listed_origins_only() {
        for (path, status) in [("/refused", 401), ("/nothing", 404)] {
            let listed = ask(Method::GET, path, Some("http://localhost")).await;
            let expected = [
                ("access-control-allow-origin", "http://localhost"),
                ("access-control-expose-headers", "retry-after"),
            ];
            assert_eq!(
                (listed.status().as_u16(), cors_headers(&listed)),
                (status, expected.to_vec())
            );
            assert_eq!(listed.headers()[VARY], "origin");
            for origin in [
                None,
                Some("https://evil.example"),
                Some("null"),
                Some("http://localhost:80"),
            ] {
                let other = ask(Method::GET, path, origin).await;
                assert_eq!(
                    (other.status().as_u16(), cors_headers(&other)),
                    (status, vec![]),
                    "{origin:?}"
                );
            }
        }
    }
}
