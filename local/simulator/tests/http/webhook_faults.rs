//! Faults of webhooks: doubled, late, reordered, forged.

use serde_json::json;

use crate::support::{Fixture, LONG, PARTNER};

async fn quiet_fixture() -> Fixture {
    Fixture::with_settings(|settings| settings.stage_delay = LONG).await
}

async fn new_client(fixture: &Fixture) {
    fixture
        .complete(json!({"client": "oneCL", "channels": []}))
        .await;
}

#[tokio::test]
async fn a_webhook_is_doubled() {
    let fixture = quiet_fixture().await;
    let fault = json!({"webhook": "client_created", "partner": PARTNER, "copies": 3, "times": 1});
    fixture.control("faults", fault).await;
    new_client(&fixture).await;
    let all = fixture.receiver.wait_for(|all| all.len() >= 3).await;
    assert!(all.iter().all(|webhook| webhook.body == all[0].body));
}

#[tokio::test]
async fn a_webhook_comes_late() {
    let fixture = quiet_fixture().await;
    fixture
        .control("faults", json!({"webhook": "any", "delay_ms": 20}))
        .await;
    new_client(&fixture).await;
    fixture.receiver.wait_for_event("client_created").await;
}

#[tokio::test]
async fn a_webhook_is_held_back_until_the_next_was_delivered() {
    let fixture = quiet_fixture().await;
    let fault = json!({"webhook": "client_created", "swap": true});
    fixture.control("faults", fault).await;
    new_client(&fixture).await;
    fixture
        .control(
            "event",
            json!({"partner": PARTNER, "event": "next", "data": {}}),
        )
        .await;
    // A webhook that starts so late that nothing comes after it would wait for ever.
    fixture.delete("/_hub/faults").await;
    fixture.receiver.wait_for_event("client_created").await;
    assert_eq!(fixture.receiver.events()[0], "next");
}

#[tokio::test]
async fn a_webhook_that_is_held_back_goes_once_faults_are_removed() {
    let fixture = quiet_fixture().await;
    fixture
        .control("faults", json!({"webhook": "any", "swap": true}))
        .await;
    new_client(&fixture).await;
    fixture.delete("/_hub/faults").await;
    fixture.receiver.wait_for_event("client_created").await;
}

#[tokio::test]
async fn a_forged_webhook_does_not_verify() {
    let fixture = quiet_fixture().await;
    let fault = json!({"webhook": "any", "signature": "wrong", "times": 1});
    fixture.control("faults", fault).await;
    new_client(&fixture).await;
    let tries = fixture.receiver.wait_for(|all| all.len() >= 2).await;
    let statuses: Vec<u16> = tries.iter().map(|webhook| webhook.status).collect();
    assert_eq!(statuses[..2], [401, 200], "the fault is of one try");
    let event = json!({"partner": PARTNER, "event": "x", "data": {}, "signature": "wrong"});
    assert_eq!(
        fixture.control("event", event).await,
        json!({"status": 401})
    );
}
