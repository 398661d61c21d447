//! The README's code, run as it is.

use std::process::Output;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tests::PARTNER;
use tests::aws::stack::STACK;
use tokio::net::TcpListener;
use tokio::process::Command;

const README: &str = include_str!("../../../README.md");

/// The number that the README names.
const NUMBER: &str = "y9MiLoCH";

#[tokio::test]
async fn the_lines_that_read_a_key_send_a_message() {
    let bundle = super::start().await;
    bundle.grant_and_store("acme", NUMBER).await;
    let mut secret = bundle.vault_key(PARTNER, NUMBER).expect("a key");
    let sent = run(secret.clone()).await;
    assert!(sent.status.success(), "{sent:?}");
    secret["api_key"] = json!("another");
    let refused = run(secret).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("401"), "{why}");
}

/// The indented block that begins with `first`.
pub(super) fn block(first: &str) -> String {
    let first = format!("    {first}");
    let lines = README.lines().skip_while(|line| !line.starts_with(&first));
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs the lines beside a Secrets Manager that has this secret.
async fn run(secret: Value) -> Output {
    let secrets_manager = Router::new().route("/", post(answer)).with_state(secret);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move { axum::serve(listener, secrets_manager).await });
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/python/bin/python");
    let mut python = Command::new(python);
    python.args(["-c", &block("import boto3")]).envs([
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str()),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "tests"),
        ("AWS_SECRET_ACCESS_KEY", "tests"),
    ]);
    python.output().await.expect("python: run make tools")
}

async fn answer(State(secret): State<Value>, headers: HeaderMap, body: String) -> Json<Value> {
    let asked: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    let name = format!("360dialog/{STACK}/channels/{PARTNER}/{NUMBER}");
    assert_eq!(asked["SecretId"], name);
    Json(json!({"Name": name, "SecretString": secret.to_string()}))
}
