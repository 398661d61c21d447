//! From the first click to the stored key.

use serde_json::json;
use tests::{Bundle, PARTNER, PAYING_PARTNER};

#[tokio::test]
async fn a_granted_number_becomes_ready_with_a_key_that_works() {
    let bundle = Bundle::start().await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let came_back = bundle.onboard(PARTNER, "acme", choice).await;
    let said = json!({"client": "aCL", "channels": ["oneCH"], "revoked": []});
    assert_eq!(came_back, said);

    let seen = bundle.stored(PARTNER, "acme", "oneCH").await;
    let state = (&seen["permission"], &seen["claim"]);
    assert_eq!(state, (&json!("granted"), &json!("confirmed")));
    assert_eq!(seen["key"], json!({"status": "stored", "reason": null}));
    bundle.can_send(PARTNER, "oneCH").await;
    bundle.channel_has("oneCH", "stage", "live").await;
}

#[tokio::test]
async fn a_partner_who_pays_needs_no_permission() {
    let bundle = Bundle::start().await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    bundle.onboard(PAYING_PARTNER, "acme", choice).await;
    bundle.stored(PAYING_PARTNER, "acme", "oneCH").await;
    bundle.can_send(PAYING_PARTNER, "oneCH").await;
}

/// I5
#[tokio::test]
async fn the_same_ids_at_two_hubs_are_two_numbers() {
    let bundle = Bundle::start().await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    tokio::join!(
        bundle.onboard(PARTNER, "acme", choice.clone()),
        bundle.onboard(PAYING_PARTNER, "globex", choice)
    );
    for (partner, tenant, stranger) in [
        (PARTNER, "acme", "globex"),
        (PAYING_PARTNER, "globex", "acme"),
    ] {
        bundle.stored(partner, tenant, "oneCH").await;
        bundle.can_send(partner, "oneCH").await;
        assert_eq!(bundle.channel(partner, stranger, "oneCH").await, None);
    }
    let keys = [
        bundle.key_id(PARTNER, "oneCH").await,
        bundle.key_id(PAYING_PARTNER, "oneCH").await,
    ];
    assert_ne!(keys[0], keys[1]);

    let revoked = json!({"client": "aCL", "channels": [], "revoked": ["oneCH"]});
    bundle.onboard(PARTNER, "acme", revoked).await;
    bundle.channel_has("oneCH", "permission", "revoked").await;
    let other = bundle.channel(PAYING_PARTNER, "globex", "oneCH").await;
    assert_eq!(other.expect("a channel")["permission"], "granted");
}
