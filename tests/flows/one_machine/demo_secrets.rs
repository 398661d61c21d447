//! I8: the secrets that the demo makes for itself on one machine.

use serde_json::Value;
use tests::{Secrets, text};

use crate::everywhere::secrets_leak::run::Run;
use crate::everywhere::secrets_leak::{TALKATIVE, nothing_is_misplaced};

/// The files that may hold secrets when the demo made its own.
const GENERATED: [&str; 2] = ["data/secrets.json", "data/hub.json"];

#[tokio::test]
async fn the_secrets_that_the_demo_makes_are_written_down_nowhere_else() {
    let own = [TALKATIVE, ("SECRETS_FILE", ""), ("JWT_HS256_SECRET", "")];
    let mut bundle = super::start_with(&own).await;
    let file = std::fs::read(bundle.data().join("secrets.json")).expect("the demo's secrets");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let jwt = text(&file["_demo"]).to_owned();
    bundle.secrets = Secrets { file, jwt };
    let mut run = Run::new(bundle, &GENERATED);

    run.ask(run.bundle.request("GET", "/")).await;
    for path in ["app.js", "style.css", "connect-button.js", "none"] {
        let path = format!("/_demo/{path}");
        run.ask(run.bundle.request("GET", &path)).await;
    }
    let session = run.bundle.request("GET", "/_demo/session");
    let session = run.ask(session).await.json();
    run.use_token("demo", text(&session["token"]));
    for name in ["the token of demo", "the token's signature of demo"] {
        run.allow(name);
    }
    let partner = text(&session["partners"][0]);
    run.grant(partner, "demo", "oneCH").await;
    run.bundle.kill_and_restart().await;
    // The demo's secrets are the same again.
    let list = run.request("demo", "GET", &format!("/{partner}/channels"));
    assert!(run.ask(list).await.text.contains("oneCH"));

    let private = ["encryption.key", "hub.json", "secrets.json"];
    let found = nothing_is_misplaced(&mut run, &private).await;
    let secrets = &found["data/secrets.json"];
    assert!(secrets.contains("the JWT secret"), "{found:#?}");
}
