//! I8: the secrets that the demo makes for itself on one machine.

use reqwest::Method;
use serde_json::{Value, json};
use tests::Secrets;

use crate::everywhere::secrets_leak::run::Run;
use crate::everywhere::secrets_leak::{TALKATIVE, assert_private, complete, find_what_is_planted};

/// The files that may hold secrets when the demo made its own.
const GENERATED: [&str; 3] = ["data/secrets.json", "data/vault.json", "data/hub.json"];

#[tokio::test]
async fn the_secrets_that_the_demo_makes_are_written_down_nowhere_else() {
    let mut bundle =
        super::start_with(&[TALKATIVE, ("SECRETS_FILE", ""), ("JWT_HS256_SECRET", "")]).await;
    let file = std::fs::read(bundle.data().join("secrets.json")).expect("the demo's secrets");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    bundle.secrets = Secrets {
        jwt: file["_demo"].as_str().expect("a secret").to_owned(),
        file,
    };
    let mut run = Run::of(bundle, &GENERATED);

    for path in [
        "/",
        "/_demo/app.js",
        "/_demo/style.css",
        "/_demo/connect-button.js",
        "/_demo/none",
    ] {
        run.ask(run.request(Method::GET, path)).await;
    }
    let session = run.ask(run.request(Method::GET, "/_demo/session")).await;
    let session_json = session.json();
    run.use_token("demo", session_json["token"].as_str().expect("a token"));
    for name in ["the token of demo", "the signature of the token of demo"] {
        run.allow(&session, name);
    }
    let partner = session_json["partners"][0]
        .as_str()
        .expect("a partner")
        .to_owned();
    let signed = run.sign(&partner, "demo", "").await;
    complete(
        &mut run,
        &signed,
        json!({"client": "aCL", "channels": ["oneCH"]}),
    )
    .await;
    run.stored(&partner, "demo", "oneCH").await;
    run.bundle.kill_and_restart().await;
    let listed = run.request_of("demo", Method::GET, &format!("/{partner}/channels"));
    assert!(
        run.ask(listed).await.text.contains("oneCH"),
        "the demo's secrets are the same again"
    );

    run.assert_nothing_is_misplaced();
    assert_private(
        &run.bundle.data(),
        &[
            "onboarding.db",
            "vault.json",
            "hub.json",
            "endpoint",
            "secrets.json",
        ],
    );
    run.bundle.stop().await;
    run.assert_nothing_is_misplaced();
    let found = find_what_is_planted(&mut run);
    assert!(
        found["data/secrets.json"].contains("the JWT secret"),
        "{found:#?}"
    );
}
