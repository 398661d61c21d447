//! Permissions: granted, taken back, granted again; and the end of a number.

use serde_json::json;
use tests::{Bundle, PARTNER};

const NUMBER: &str = "oneCH";

/// I7, I10
#[tokio::test]
async fn a_revocation_leaves_the_key_and_a_new_grant_makes_no_second_one() {
    let bundle = Bundle::start().await;
    bundle.grant_and_store("acme", NUMBER).await;
    let first = bundle.key_id(PARTNER, NUMBER);

    revoke(&bundle).await;
    let seen = bundle.channel_has(NUMBER, "permission", "revoked").await;
    assert_eq!(seen["key"]["status"], "stored");
    bundle.can_send(PARTNER, NUMBER).await;

    bundle.grant("acme", NUMBER).await;
    bundle.channel_has(NUMBER, "permission", "granted").await;
    bundle.scan_when_quiet().await;
    let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
    assert_eq!(seen.expect("a channel")["key"]["status"], "stored");
    assert_eq!(bundle.key_id(PARTNER, NUMBER), first);
    bundle.can_send(PARTNER, NUMBER).await;
}

#[tokio::test]
async fn a_number_that_is_revoked_before_it_runs_waits_for_the_permission() {
    let bundle = Bundle::start().await;
    revoke(&bundle).await;
    let seen = bundle
        .key_is(NUMBER, "waiting", "awaiting_permission")
        .await;
    assert_eq!(seen["permission"], "revoked");
    assert_eq!(bundle.vault_key(PARTNER, NUMBER), None);

    bundle.grant_and_store("acme", NUMBER).await;
    bundle.can_send(PARTNER, NUMBER).await;
}

#[tokio::test]
async fn a_cancelled_number_wants_no_key() {
    let bundle = Bundle::start().await;
    bundle.grant("acme", NUMBER).await;
    bundle.complete_story(PARTNER, "acme", NUMBER).await;
    bundle.event("cancellation_request", NUMBER).await;
    bundle.scan_when_quiet().await;
    let seen = bundle.stored(PARTNER, "acme", NUMBER).await;
    assert_eq!(seen["stage"], "live", "a request is no cancellation");
    bundle.event("cancellation_processed", NUMBER).await;
    let seen = bundle.key_is(NUMBER, "none", "cancelled").await;
    assert_eq!(seen["stage"], "cancelled");
}

#[tokio::test]
async fn with_provisioning_off_the_key_waits() {
    let bundle = Bundle::start_with(&[("AUTO_PROVISION", "off")]).await;
    bundle.grant("acme", NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "switched_off").await;
    assert_eq!(bundle.vault_key(PARTNER, NUMBER), None);
}

async fn revoke(bundle: &Bundle) {
    let choice = json!({"client": "aCL", "channels": [], "revoked": [NUMBER]});
    bundle.onboard(PARTNER, "acme", choice).await;
}
