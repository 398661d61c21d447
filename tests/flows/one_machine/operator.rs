//! What a person on duty sees, beside the running bundle and without one.

use operator::Instance;
use runtime::settings::Environment;
use tests::{Bundle, PARTNER, channel_ref, text};

#[tokio::test]
async fn the_operator_tells_why_and_prints_the_key_beside_the_bundle_and_without_it() {
    let mut bundle = super::start().await;
    bundle.grant("acme", "oneCH").await;
    bundle.complete_story(PARTNER, "acme", "oneCH").await;
    // The lease is given back after the key is shown as stored: until then the channel is still looked at.
    bundle.scan_when_quiet().await;
    let key = bundle.vault_key(PARTNER, "oneCH").expect("a key");
    let key = text(&key["api_key"]);
    let number = channel_ref(PARTNER, "oneCH");

    let mut stories = Vec::new();
    for is_running in [true, false] {
        if !is_running {
            bundle.stop().await;
        }
        let instance = open(&bundle).await;
        stories.push(instance.why(&number).await.expect("a story"));
        let printed = instance.key(&number).await.expect("a key");
        assert_eq!(printed.expose(), key);
    }
    assert_eq!(stories[0], stories[1]);
    for words in [
        "tenant: - → acme",
        "permission: - → granted",
        "→ running",
        "→ stored",
    ] {
        assert!(stories[0].contains(words), "{words}: {}", stories[0]);
    }
    assert!(!stories[0].contains(key), "a story holds no key");

    let (instance, unknown) = (open(&bundle).await, channel_ref(PARTNER, "otherCH"));
    let error = instance
        .why(&unknown)
        .await
        .expect_err("no story")
        .to_string();
    let nothing = "nothing is known of channel otherCH of aAbBcCPA";
    assert!(error.contains(nothing), "{error}");
    let error = instance
        .key(&unknown)
        .await
        .expect_err("no key")
        .to_string();
    assert!(error.contains("operator why"), "{error}");
}

async fn open(bundle: &Bundle) -> Instance {
    let data = bundle.data().display().to_string();
    let environment = Environment::default().with_default("DATA", data);
    Instance::from_data(&environment).await.expect("the data")
}
