//! Permissions: granted, taken back, granted again; and the end of a number.

use dialog360::redirect::RedirectQuery;
use jiff::Timestamp;
use onboarding::claim::{Claim, ClaimId};
use serde_json::json;
use store::Claims;
use tests::partner_api::{CLIENT, NUMBER, SimulatedPartnerApi};
use tests::{Ask, Bundle, PARTNER, id, until_seen};

/// I7, I10
#[tokio::test]
async fn a_revocation_leaves_the_key_and_a_new_grant_makes_no_second_one() {
    let bundle = Bundle::start().await;
    bundle.grant_and_store("acme", NUMBER).await;
    let first = bundle.key_id(PARTNER, NUMBER).await;

    revoke(&bundle).await;
    let seen = bundle.channel_has(NUMBER, "permission", "revoked").await;
    assert_eq!(seen["key"]["status"], "stored");
    bundle.can_send(PARTNER, NUMBER).await;

    bundle.grant("acme", NUMBER).await;
    bundle.channel_has(NUMBER, "permission", "granted").await;
    bundle.scan_when_quiet().await;
    let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
    assert_eq!(seen.expect("a channel")["key"]["status"], "stored");
    assert_eq!(bundle.key_id(PARTNER, NUMBER).await, first);
    bundle.can_send(PARTNER, NUMBER).await;
}

/// I4
#[tokio::test]
async fn the_same_content_without_a_state_grants_again_after_a_revocation() {
    let (_api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let granted = format!("client={CLIENT}&channels=[{NUMBER}]");
    let revoked = format!("client={CLIENT}&revoked=[{NUMBER}]");
    for (query, permission) in [
        (&granted, "granted"),
        (&revoked, "revoked"),
        (&granted, "granted"),
        (&revoked, "revoked"),
    ] {
        hand_in(&bundle, query).await;
        bundle.channel_has(NUMBER, "permission", permission).await;
        claim_is_closed(&bundle, query).await;
    }
}

/// The page of `acme` hands in what it got, without a state.
async fn hand_in(bundle: &Bundle, query: &str) {
    let request = bundle.request("POST", &format!("/{PARTNER}/redirect"));
    let request = request.bearer_auth(bundle.token("acme"));
    let request = request.json(&json!({"query": query}));
    request.ask().await.is(200);
}

async fn claim_is_closed(bundle: &Bundle, query: &str) {
    let claims = Claims::new(bundle.table().await);
    let claim = claim_id(query);
    let is_open = || async {
        let stored = claims.read(&id(PARTNER), &claim).await;
        stored.expect("the table").expect("a claim").claim.is_open()
    };
    until_seen(is_open, |is_open| !is_open).await;
}

/// The id of the claim of `acme` without a session.
fn claim_id(query: &str) -> ClaimId {
    let query = RedirectQuery::parse(query).expect("a query");
    let claim = Claim::from_caller(&id(PARTNER), &id("acme"), &query, Timestamp::UNIX_EPOCH);
    claim.expect("a claim").id
}

#[tokio::test]
async fn a_number_that_is_revoked_before_it_runs_waits_for_the_permission() {
    let bundle = Bundle::start().await;
    revoke(&bundle).await;
    let seen = bundle
        .key_is(NUMBER, "waiting", "awaiting_permission")
        .await;
    assert_eq!(seen["permission"], "revoked");
    assert_eq!(bundle.stored_key(PARTNER, NUMBER).await, None);

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
    assert_eq!(bundle.stored_key(PARTNER, NUMBER).await, None);
}

async fn revoke(bundle: &Bundle) {
    let choice = json!({"client": "aCL", "channels": [], "revoked": [NUMBER]});
    bundle.onboard(PARTNER, "acme", choice).await;
}
