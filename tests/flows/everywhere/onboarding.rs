//! From the first click to the stored key.

use serde_json::json;
use tests::{Bundle, PARTNER, PAYING_PARTNER};

#[tokio::test]
async fn a_granted_number_becomes_ready_with_a_key_that_works() {
    let bundle = Bundle::start().await;
    let came_back = bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    assert_eq!(
        came_back,
        json!({"client": "aCL", "channels": ["oneCH"], "revoked": []})
    );

    let seen = bundle.stored(PARTNER, "acme", "oneCH").await;
    assert_eq!(seen["permission"], "granted");
    assert_eq!(seen["claim"], "confirmed");
    assert_eq!(
        seen["key"]["secret_name"],
        "360dialog/channels/aAbBcCPA/oneCH"
    );
    assert!(bundle.can_send(PARTNER, "oneCH").await);
    bundle
        .channel_until((PARTNER, "acme", "oneCH"), |seen| seen["stage"] == "live")
        .await;
}

#[tokio::test]
async fn a_partner_who_pays_needs_no_permission() {
    let bundle = Bundle::start().await;
    bundle
        .onboard(
            PAYING_PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    bundle.stored(PAYING_PARTNER, "acme", "oneCH").await;
    assert!(bundle.can_send(PAYING_PARTNER, "oneCH").await);
}
