//! Stored keys are compared with 360dialog's list once a day.

use serde_json::json;
use store::Mints;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, answer, claim};
use tests::{Bundle, PARTNER, channel_ref, until, until_seen};

/// Every stored key is compared, a day after the last time.
pub(crate) async fn are_compared(api: &SimulatedPartnerApi, bundle: &Bundle) {
    let before = api.asked("keys").await;
    let stored = bundle.channels(PARTNER, "acme").await.len();
    bundle.comparisons_are_due().await;
    until_seen(|| api.asked("keys"), |seen| *seen >= before + stored).await;
    bundle.scan_when_quiet().await;
}

async fn is_missing(bundle: &Bundle, number: &str) -> bool {
    let id = channel_ref(PARTNER, number);
    let mint = Mints::new(bundle.table().await).read(&id).await;
    mint.expect("the table").missing_since.is_some()
}

/// I6, I7
#[tokio::test]
async fn a_key_that_two_lists_a_day_apart_lack_is_made_again_and_one_list_is_no_reason() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    // One empty answer of a hub in trouble, then the key is there.
    api.replies("keys", answer(200, json!([]))).await;
    are_compared(&api, &bundle).await;
    assert!(is_missing(&bundle, NUMBER).await);
    api.recovers().await;
    are_compared(&api, &bundle).await;
    assert!(!is_missing(&bundle, NUMBER).await);
    // Silence and errors say nothing.
    api.refuses("keys", 404).await;
    are_compared(&api, &bundle).await;
    are_compared(&api, &bundle).await;
    assert!(!is_missing(&bundle, NUMBER).await);
    api.recovers().await;
    assert_eq!(api.posts(NUMBER).await, 1);
    api.has_live_key(&bundle, NUMBER).await;

    let first = bundle.key_id(PARTNER, NUMBER).await;
    api.loses_keys(NUMBER).await;
    are_compared(&api, &bundle).await;
    assert_eq!(api.posts(NUMBER).await, 1, "one list is no reason");
    bundle.comparisons_are_due().await;
    api.is_posted(NUMBER, 2).await;
    until_seen(|| bundle.key_id(PARTNER, NUMBER), |id| *id != first).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
}

/// I6
#[tokio::test]
async fn a_key_that_somebody_else_has_replaced_is_not_replaced_again() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    api.has_foreign_key(NUMBER, "99").await;
    are_compared(&api, &bundle).await;
    bundle.comparisons_are_due().await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    assert_eq!(api.posts(NUMBER).await, 1);
    assert_eq!(api.keys(PARTNER, NUMBER).await, json!(["99"]));
}

/// I7: what a revocation does to a key is not known.
#[tokio::test]
async fn a_key_is_compared_when_a_permission_that_was_taken_back_is_granted_again() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    api.loses_keys(NUMBER).await;
    let event = |event: &str| json!({"event": event, "data": {"id": NUMBER}}).to_string();
    let revoked = event("channel_permission_revoked");
    bundle.webhook(PARTNER, &revoked).await.is(200);
    bundle.channel_has(NUMBER, "permission", "revoked").await;
    let granted = event("channel_permission_granted");
    bundle.webhook(PARTNER, &granted).await.is(200);
    until(|| async {
        let is_missing = is_missing(&bundle, NUMBER).await;
        is_missing.then_some(()).ok_or("not compared".to_owned())
    })
    .await;
    bundle.comparisons_are_due().await;
    api.is_posted(NUMBER, 2).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
}
