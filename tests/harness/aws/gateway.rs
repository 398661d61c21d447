//! The HTTP API of the template: its routes, CORS and authorizer, and each function behind its routes.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use local::cors;
use local::jwt::{Guarded, Jwt};
use onboarding::origin::AllowedOrigins;
use runtime::http::Caller;
use serde_json::json;
use tokio::net::TcpListener;

use super::event::{DEFAULT_STAGE, Incoming, jwt, response};
use super::metrics::{API, Metrics};
use super::runtime_api::Function;

/// The largest body an HTTP API takes, bytes.
const LARGEST: usize = 10 << 20;

/// The largest event Lambda takes, bytes, with the body escaped or in base64.
const LARGEST_EVENT: usize = 6_291_456;

/// Answers at `listener`.
pub(super) fn serve(
    listener: TcpListener,
    functions: &BTreeMap<&'static str, Arc<Function>>,
    jwt: &Jwt,
    allowed: AllowedOrigins,
    metrics: &Metrics,
) {
    let (all, post_only) = (Some(Guarded::All), Some(Guarded::PostOnly));
    let mut router = Router::new();
    for (function, path, methods, guarded) in [
        ("sign", "sign", get(invoke), all),
        ("redirect", "redirect", get(invoke).post(invoke), post_only),
        ("redirect", "redirect/{state}", get(invoke), None),
        ("webhook", "webhook", post(invoke), None),
        ("channels", "channels", get(invoke), all),
        ("channels", "channels/{channel_id}", get(invoke), all),
    ] {
        let mut route = Router::new().route(&format!("/{{partner_id}}/{path}"), methods);
        if let Some(guarded) = guarded {
            let jwt = jwt.clone();
            let guard = move |request, next| jwt.clone().guard(guarded, request, next);
            route = route.layer(from_fn(guard));
        }
        router = router.merge(route.with_state(functions[function].clone()));
    }
    let metrics = metrics.clone();
    let count = move |request, next| count(metrics.clone(), request, next);
    let cors = move |request, next| cors::answer(allowed.clone(), request, next);
    let router = router
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(from_fn(no_head))
        .layer(from_fn(count))
        .layer(from_fn(cors));
    tokio::spawn(axum::serve(listener, router).into_future());
}

async fn invoke(
    State(function): State<Arc<Function>>,
    route: MatchedPath,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let authorizer = parts.extensions.get().map(|caller| match caller {
        Caller::Jwt(claims) => jwt(claims),
        Caller::Iam => super::event::iam(),
    });
    let incoming = Incoming {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.to_vec(),
        route: route.as_str().to_owned(),
        authorizer,
        stage: DEFAULT_STAGE.to_owned(),
    };
    let event = incoming.event();
    if event.to_string().len() > LARGEST_EVENT {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    }
    match function.invoke(&event).await {
        Ok(answer) => response(&answer.json()).unwrap_or_else(internal_error),
        Err(failure) => {
            eprintln!("{}: {failure}", function.name());
            internal_error()
        }
    }
}

/// What an HTTP API answers when its function does not.
fn internal_error() -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

/// Counts the answers 5xx.
async fn count(metrics: Metrics, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if answer.status().is_server_error() {
        metrics.record("AWS/ApiGateway", "5xx", API, 1.0);
    }
    answer
}

/// No route takes HEAD, while the router here would have it answered as GET.
async fn no_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        no_route().await
    } else {
        next.run(request).await
    }
}

async fn no_route() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"message": message}))).into_response()
}
