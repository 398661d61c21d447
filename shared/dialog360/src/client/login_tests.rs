//! Tokens that are got with a user name and a password, against a server that counts its logins.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::tests::served;
use super::*;

/// A server whose tokens are `token 1`, `token 2`, …
#[derive(Default)]
struct Server {
    /// The status of a login; 0 is 200.
    login_status: AtomicUsize,
    logins: AtomicUsize,
    calls: AtomicUsize,
    /// The number of the first token that is accepted.
    oldest: AtomicUsize,
}

impl Server {
    async fn start(self) -> (PartnerApi, Arc<Self>) {
        let server = Arc::new(self);
        let router = Router::new()
            .route("/token", post(log_in))
            .fallback(call)
            .with_state(Arc::clone(&server));
        (served(router).await, server)
    }

    fn counts(&self) -> (usize, usize) {
        (self.logins.load(SeqCst), self.calls.load(SeqCst))
    }
}

async fn log_in(State(server): State<Arc<Server>>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["password"], "hush");
    let number = server.logins.fetch_add(1, SeqCst) + 1;
    match server.login_status.load(SeqCst) {
        0 => axum::Json(json!({"access_token": format!("token {number}"), "expires_in": 3600}))
            .into_response(),
        status => {
            let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
            let message = json!({"error": "invalid_grant", "error_description": "hush is wrong"});
            (status, axum::Json(message)).into_response()
        }
    }
}

async fn call(State(server): State<Arc<Server>>, request: Request) -> Response {
    server.calls.fetch_add(1, SeqCst);
    let header = request.headers()[AUTHORIZATION].to_str().unwrap();
    let number: usize = header
        .strip_prefix("Bearer token ")
        .unwrap()
        .parse()
        .unwrap();
    if number < server.oldest.load(SeqCst) {
        let message = json!({"meta": {"developer_message": format!("{header} is old")}});
        return (StatusCode::UNAUTHORIZED, axum::Json(message)).into_response();
    }
    axum::Json(json!({"webhook_url": null, "key": "k"})).into_response()
}

fn ada() -> Credentials {
    Credentials::Login(Login {
        username: Secret::new("ada"),
        password: Secret::new("hush"),
    })
}

fn partner() -> PartnerId {
    "aPA".parse().unwrap()
}

#[tokio::test]
async fn many_calls_at_once_need_one_login() {
    let (api, server) = Server::default().start().await;
    let call = async || {
        let (partner, ada) = (partner(), ada());
        api.for_partner(&partner, &ada).webhook_settings().await
    };
    let (a, b, c) = tokio::join!(call(), call(), call());
    assert!(a.is_ok() && b.is_ok() && c.is_ok() && call().await.is_ok());
    assert_eq!(server.counts(), (1, 4));
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_and_the_call_is_made_again() {
    let (api, server) = Server::default().start().await;
    let (partner, ada) = (partner(), ada());
    let client = api.for_partner(&partner, &ada);
    client.webhook_settings().await.unwrap();
    server.oldest.store(2, SeqCst);
    let key = client.create_key(&"bCH".parse().unwrap()).await;
    assert!(matches!(key.outcome, KeyOutcome::Created(_)));
    assert_eq!(server.counts(), (2, 3));

    // No token is good enough: the call fails, and until a minute is over no other is tried.
    server.oldest.store(9, SeqCst);
    let refusal = client.webhook_settings().await.unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::BadCredentials);
    assert_eq!(refusal.message.as_deref(), Some("Bearer [redacted] is old"));
    for _ in 0..3 {
        let refusal = client.webhook_settings().await.unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::BadCredentials);
    }
    assert_eq!(server.counts(), (3, 5));
}

#[tokio::test]
async fn a_refused_login_is_tried_once_a_minute_and_nothing_is_asked_without_a_token() {
    for status in [400, 401, 403, 429] {
        let (api, server) = Server::default().start().await;
        server.login_status.store(status, SeqCst);
        let (partner, ada) = (partner(), ada());
        let client = api.for_partner(&partner, &ada);
        let refusal = client.webhook_settings().await.unwrap_err();
        assert_eq!(refusal.message.as_deref(), Some("[redacted] is wrong"));
        assert_eq!(refusal.kind == ErrorKind::BadCredentials, status != 429);
        let key = client.create_key(&"bCH".parse().unwrap()).await;
        assert!(matches!(&key.outcome, KeyOutcome::NotAsked(why) if *why == refusal));
        assert_eq!(client.log_in().await, Err(refusal));
        assert_eq!(server.counts(), (1, 0), "{status}");

        // Another user is tried at once.
        server.login_status.store(0, SeqCst);
        let other = Credentials::Login(Login {
            username: Secret::new("grace"),
            password: Secret::new("hush"),
        });
        api.for_partner(&partner, &other).log_in().await.unwrap();
        assert_eq!(server.counts(), (2, 0), "{status}");
    }
}
