//! The webhooks that a partner receives.

use std::collections::BTreeSet;

use serde_json::json;
use simulator::Billing;

use crate::support::{API_KEY, Fixture, LONG, PARTNER, Receiver, Webhook};

const EVENTS_OF_A_NEW_NUMBER: [&str; 7] = [
    "client_created",
    "channel_created",
    "channel_permission_granted",
    "channel_ready",
    "channel_running",
    "channel_live",
    "phone_number_quality_changed",
];

#[tokio::test]
async fn a_new_number_sends_an_event_for_each_stage() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}))
        .await;
    // A webhook that was answered late may come twice.
    let events = |all: &[Webhook]| -> BTreeSet<String> {
        all.iter()
            .map(|webhook| webhook.event().to_owned())
            .collect()
    };
    let webhooks = fixture
        .receiver
        .wait_for(|all| events(all).len() == EVENTS_OF_A_NEW_NUMBER.len())
        .await;
    assert_eq!(
        events(&webhooks),
        EVENTS_OF_A_NEW_NUMBER.map(str::to_owned).into()
    );

    let live = &fixture.receiver.wait_for_event("channel_live").await.json;
    let data = &live["data"];
    assert!(live["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!(data["id"], "y9MiLoCH");
    assert_eq!(data["client_id"], "oaY9LLfUCL");
    assert_eq!(data["client"]["id"], "oaY9LLfUCL");
    assert_eq!(data["status"], "ready");
    assert_eq!(data["account_mode"], "live");
    let quality = &fixture
        .receiver
        .wait_for_event("phone_number_quality_changed")
        .await
        .json["data"];
    assert!(quality["current_quality_rating"].is_string() && quality["current_limit"].is_string());
}

#[tokio::test]
async fn no_permission_event_is_sent_where_the_partner_pays() {
    let fixture =
        Fixture::with_settings(|settings| settings.partners[0].billing = Billing::PartnerPaid)
            .await;
    fixture.complete(json!({})).await;
    fixture
        .receiver
        .wait_for_event("phone_number_quality_changed")
        .await;
    assert!(
        !fixture
            .receiver
            .events()
            .contains(&"channel_permission_granted".to_owned())
    );
}

#[tokio::test]
async fn a_webhook_is_sent_with_the_same_bytes_until_it_is_answered_200() {
    let fixture = Fixture::with_settings(|settings| settings.stage_delay = LONG).await;
    fixture.receiver.answer_with(202);
    fixture.complete(json!({"channels": []})).await;
    fixture.receiver.wait_for(|all| all.len() >= 2).await;
    fixture.receiver.answer_with(200);
    let webhooks = fixture
        .receiver
        .wait_for(|all| all.iter().any(|webhook| webhook.status == 200))
        .await;
    assert!(
        webhooks
            .iter()
            .all(|webhook| webhook.body == webhooks[0].body)
    );
}

#[tokio::test]
async fn a_restart_during_an_onboarding_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.json");
    let receiver = Receiver::start().await;
    receiver.answer_with(503);
    let fixture = Fixture::with_receiver(receiver, |settings| {
        settings.state_file = Some(file.clone());
        settings.stage_delay = LONG;
    })
    .await;
    let link = fixture.link(&[]);
    let (status, _) = fixture
        .post(
            "/_hub/complete",
            &json!({"link": link.as_str(), "client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}),
        )
        .await;
    assert_eq!(status, 200);
    let Fixture {
        simulator,
        receiver,
        ..
    } = fixture;
    simulator.stop().await;

    receiver.answer_with(200);
    let fixture = Fixture::with_receiver(receiver, |settings| {
        settings.state_file = Some(file.clone())
    })
    .await;
    for event in EVENTS_OF_A_NEW_NUMBER {
        fixture.receiver.wait_for_event(event).await;
    }
    let (status, _) = fixture
        .post("/_hub/complete", &json!({"link": link.as_str().to_owned()}))
        .await;
    assert_eq!(status, 403, "the signature stays used");
    let path = format!("/partners/{PARTNER}/channels/y9MiLoCH/api_keys");
    let made = fixture
        .api(reqwest::Method::POST, &path)
        .header("X-API-Key", API_KEY)
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    let key = made["api_key"].as_str().unwrap();
    let Fixture {
        simulator,
        receiver,
        ..
    } = fixture;
    simulator.stop().await;

    assert!(
        !std::fs::read_to_string(&file).unwrap().contains(key),
        "a key is shown once"
    );
    let fixture = Fixture::with_receiver(receiver, |settings| {
        settings.state_file = Some(file.clone())
    })
    .await;
    assert_eq!(fixture.send_message(key).await, 200);
}
