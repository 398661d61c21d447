//! What is seen, and what is done, between one step and the next.

use serde_json::json;
use tests::{Bundle, PARTNER};

use crate::partner_api::{Asked, NUMBER, Odd, StandIn, channel, claim};

const ABOUT: (&str, &str, &str) = (PARTNER, "acme", NUMBER);

async fn event(bundle: &Bundle, name: &str, number: &str) {
    // As a hub has been seen to send it: without the client.
    // The time makes it another event each time: the same bytes would be the same fact.
    let at = platform::clock::now().as_millisecond();
    let body =
        json!({"event": name, "at": at, "data": {"id": number, "status": "ready"}}).to_string();
    assert_eq!(bundle.webhook(PARTNER, &body).await.status(), 200);
}

#[tokio::test]
async fn a_claimed_number_is_seen_at_any_time_until_its_key_is_stored() {
    let (_hub, bundle) = StandIn::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    loop {
        let seen = bundle
            .channel(PARTNER, "acme", NUMBER)
            .await
            .expect("it is claimed or confirmed");
        assert_ne!(seen["key"]["status"], "none", "{seen}");
        if seen["key"]["status"] == "stored" {
            break;
        }
    }
    assert_eq!(bundle.channels(PARTNER, "acme").await.len(), 1);
}

#[tokio::test]
async fn a_later_number_of_an_own_client_is_bound_even_if_no_webhook_names_the_client() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    hub.script()
        .channels
        .push(channel("laterCH", Some("2020-02-02T02:02:02Z")));
    event(&bundle, "channel_running", "laterCH").await;
    event(&bundle, "channel_permission_granted", "laterCH").await;
    let seen = bundle.stored(PARTNER, "acme", "laterCH").await;
    assert_eq!(
        (&seen["client_id"], &seen["claim"]),
        (&json!("aCL"), &json!("none"))
    );
}

#[tokio::test]
async fn a_hub_that_asks_to_wait_is_left_alone_while_the_permission_comes_and_goes() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::Wait("7200"));
    claim(&bundle, PARTNER, NUMBER).await;
    let reason =
        |reason: &'static str| move |seen: &serde_json::Value| seen["key"]["reason"] == reason;
    bundle.channel_until(ABOUT, reason("hub_unavailable")).await;
    for _ in 0..3 {
        event(&bundle, "channel_permission_revoked", NUMBER).await;
        bundle
            .channel_until(ABOUT, reason("awaiting_permission"))
            .await;
        event(&bundle, "channel_permission_granted", NUMBER).await;
        bundle.channel_until(ABOUT, reason("hub_unavailable")).await;
    }
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(hub.posts(NUMBER), 1);
}
