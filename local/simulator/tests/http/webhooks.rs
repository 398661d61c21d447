//! What arrives at a partner's webhook.

use std::collections::BTreeSet;

use serde_json::json;
use simulator::Billing;

use crate::support::{API_KEY, LONG, PARTNER, Receiver, Webhook, World};

const OF_A_NEW_NUMBER: [&str; 7] = [
    "client_created",
    "channel_created",
    "channel_permission_granted",
    "channel_ready",
    "channel_running",
    "channel_live",
    "phone_number_quality_changed",
];

#[tokio::test]
async fn a_new_number_is_told_of_stage_by_stage() {
    let world = World::new().await;
    world
        .complete(json!({"client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}))
        .await;
    // A webhook that was answered late comes once more.
    let events = |all: &[Webhook]| -> BTreeSet<String> {
        all.iter()
            .map(|webhook| webhook.event().to_owned())
            .collect()
    };
    let webhooks = world
        .receiver
        .wait_for(|all| events(all).len() == OF_A_NEW_NUMBER.len())
        .await;
    assert_eq!(events(&webhooks), OF_A_NEW_NUMBER.map(str::to_owned).into());

    let live = &world.receiver.wait_for_event("channel_live").await.json;
    let data = &live["data"];
    assert!(live["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!(data["id"], "y9MiLoCH");
    assert_eq!(data["client_id"], "oaY9LLfUCL");
    assert_eq!(data["client"]["id"], "oaY9LLfUCL");
    assert_eq!(data["status"], "ready");
    assert_eq!(data["account_mode"], "live");
    let quality = &world
        .receiver
        .wait_for_event("phone_number_quality_changed")
        .await
        .json["data"];
    assert!(quality["current_quality_rating"].is_string() && quality["current_limit"].is_string());
}

#[tokio::test]
async fn where_the_partner_pays_no_permission_is_told_of() {
    let world = World::with(|settings| settings.partners[0].billing = Billing::PartnerPaid).await;
    world.complete(json!({})).await;
    world
        .receiver
        .wait_for_event("phone_number_quality_changed")
        .await;
    assert!(
        !world
            .receiver
            .events()
            .contains(&"channel_permission_granted".to_owned())
    );
}

#[tokio::test]
async fn a_webhook_is_sent_until_it_is_taken_and_always_the_same() {
    let world = World::with(|settings| settings.stage_delay = LONG).await;
    world.receiver.answer_with(202);
    world.complete(json!({"channels": []})).await;
    world.receiver.wait_for(|all| all.len() >= 2).await;
    world.receiver.answer_with(200);
    let webhooks = world
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
async fn a_stop_in_the_middle_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.json");
    let receiver = Receiver::start().await;
    receiver.answer_with(503);
    let world = World::beside(receiver, |settings| {
        settings.state_file = Some(file.clone());
        settings.stage_delay = LONG;
    })
    .await;
    let link = world.link(&[]);
    let (status, _) = world
        .post(
            "/_hub/complete",
            &json!({"link": link.as_str(), "client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}),
        )
        .await;
    assert_eq!(status, 200);
    let World { hub, receiver, .. } = world;
    hub.stop().await;

    receiver.answer_with(200);
    let world = World::beside(receiver, |settings| {
        settings.state_file = Some(file.clone())
    })
    .await;
    for event in OF_A_NEW_NUMBER {
        world.receiver.wait_for_event(event).await;
    }
    let (status, _) = world
        .post("/_hub/complete", &json!({"link": link.as_str().to_owned()}))
        .await;
    assert_eq!(status, 403, "the signature stays used");
    let path = format!("/partners/{PARTNER}/channels/y9MiLoCH/api_keys");
    let made = world
        .api(reqwest::Method::POST, &path)
        .header("X-API-Key", API_KEY)
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    let key = made["api_key"].as_str().unwrap();
    let World { hub, receiver, .. } = world;
    hub.stop().await;

    assert!(
        !std::fs::read_to_string(&file).unwrap().contains(key),
        "a key is shown once"
    );
    let world = World::beside(receiver, |settings| {
        settings.state_file = Some(file.clone())
    })
    .await;
    assert_eq!(world.send_message(key).await, 200);
}
