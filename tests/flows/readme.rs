//! The README's lines of Python, run as they are.

use std::process::{Command, Output};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER};
use tokio::net::TcpListener;

const README: &str = include_str!("../../README.md");

/// The channel that the README names.
const CHANNEL: &str = "y9MiLoCH";

#[tokio::test]
async fn the_lines_that_read_a_key_send_a_message() {
    let bundle = Bundle::start().await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "oaY9LLfUCL", "channels": [CHANNEL]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", CHANNEL).await;
    let secret = bundle.vault_key(PARTNER, CHANNEL).expect("a key");

    let sent = run(serve_secret(secret.clone()).await).await;
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let mut other = secret;
    other["api_key"] = json!("another");
    let refused = run(serve_secret(other).await).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("401"), "{why}");
}

/// The indented block that begins with `import boto3`.
fn lines() -> String {
    README
        .lines()
        .skip_while(|line| *line != "    import boto3, json, urllib.request")
        .map_while(|line| line.strip_prefix("    "))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn run(secrets_manager: String) -> Output {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/python/bin/python");
    let ended = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args(["-c", &lines()])
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets_manager)
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", "tests")
            .env("AWS_SECRET_ACCESS_KEY", "tests")
            .output()
    });
    ended.await.expect("a run").expect("python: run make tools")
}

/// A Secrets Manager that knows the secret of the README's channel; its address.
async fn serve_secret(secret: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/", post(answer)).with_state(secret);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn answer(State(secret): State<Value>, headers: HeaderMap, body: String) -> Json<Value> {
    let asked: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    assert_eq!(
        asked["SecretId"],
        format!("360dialog/channels/{PARTNER}/{CHANNEL}")
    );
    Json(json!({"Name": asked["SecretId"], "SecretString": secret.to_string()}))
}
