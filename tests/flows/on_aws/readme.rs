//! The README's lines that read a key, run as they are.

use std::process::Output;

use serde_json::json;
use tests::aws::calls::HARNESS;
use tests::{Ask, Bundle, PARTNER, text};
use tokio::process::Command;

use crate::one_machine::readme::block;

/// The number that the README names.
const NUMBER: &str = "y9MiLoCH";

#[tokio::test]
async fn the_lines_that_read_a_key_send_a_message() {
    let bundle = Bundle::start().await;
    let choice = json!({"client": "aCL", "channels": [NUMBER]});
    bundle.onboard(PARTNER, "acme", choice).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let sent = run(&bundle).await;
    assert!(sent.status.success(), "{sent:?}");
    let key = bundle.stored_key(PARTNER, NUMBER).await.expect("a key");
    let path = format!("partners/{PARTNER}/channels/{NUMBER}/api_keys");
    let token = text(&bundle.secrets.file[PARTNER]["partner_token"]);
    let another = bundle.http.post(format!("{}/api/v2/{path}", bundle.hub));
    another.bearer_auth(token).ask().await.is(201);
    let refused = run(&bundle).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("401"), "{why}");
    assert!(!why.contains(text(&key["api_key"])), "{why}");
}

async fn run(bundle: &Bundle) -> Output {
    let stack = bundle.aws();
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/python/bin/python");
    let lines = block("import boto3").replace("{TableName}", stack.setting("TABLE_NAME"));
    let mut python = Command::new(python);
    python.args(["-c", &lines]).envs([
        ("AWS_ENDPOINT_URL", stack.calls.url.as_str()),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", HARNESS),
        ("AWS_SECRET_ACCESS_KEY", "tests"),
    ]);
    python.output().await.expect("python: run make tools")
}
