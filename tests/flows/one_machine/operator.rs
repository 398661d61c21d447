//! What a person on duty sees, beside the running bundle and without one.

use operator::Place;
use platform::settings::Environment;
use serde_json::json;
use tests::PARTNER;

#[tokio::test]
async fn the_operator_tells_why_and_prints_the_key_beside_the_bundle_and_without_it() {
    let mut bundle = super::start().await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", "oneCH").await;
    bundle
        .channel_until((PARTNER, "acme", "oneCH"), |seen| {
            seen["quality"] == "GREEN"
        })
        .await;
    // The lease is given back after the key is shown as stored: until then the channel is still looked at.
    bundle.scan_when_quiet("markerCH").await;
    let key = bundle.vault_key(PARTNER, "oneCH").expect("a key");
    let (partner, channel) = (
        PARTNER.parse().expect("an id"),
        "oneCH".parse().expect("an id"),
    );

    let beside = Place::open(&bundle.data(), &Environment::default())
        .await
        .expect("the running bundle's data");
    let told = beside.why(&partner, &channel).await.expect("a story");
    for words in [
        "tenant: - → acme",
        "permission: - → granted",
        "→ running",
        "→ stored",
    ] {
        assert!(told.contains(words), "{words} is missing in:\n{told}");
    }
    assert!(
        !told.contains(key["api_key"].as_str().expect("a key")),
        "a story holds no key"
    );
    assert_eq!(
        beside
            .key(&partner, &channel)
            .await
            .expect("a key")
            .expose(),
        key["api_key"]
    );

    bundle.stop().await;
    let without = Place::open(&bundle.data(), &Environment::default())
        .await
        .expect("the file");
    assert_eq!(
        without.why(&partner, &channel).await.expect("a story"),
        told
    );
    assert_eq!(
        without
            .key(&partner, &channel)
            .await
            .expect("a key")
            .expose(),
        key["api_key"]
    );

    let unknown = "otherCH".parse().expect("an id");
    let error = without
        .why(&partner, &unknown)
        .await
        .expect_err("nothing is known")
        .to_string();
    assert!(
        error.contains("nothing is known of channel otherCH of aAbBcCPA"),
        "{error}"
    );
    let error = without
        .key(&partner, &unknown)
        .await
        .expect_err("no key")
        .to_string();
    assert!(error.contains("operator why"), "{error}");
}
