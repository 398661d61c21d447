//! Channels that a control makes, changes and forgets.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fixture, PARTNER, keys_path};

/// A channel as the control asks for it.
fn request(more: Value) -> Value {
    let mut request = json!({"partner": PARTNER, "channel": "aCH"});
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    request
}

async fn listed(fixture: &Fixture) -> Vec<Value> {
    let path = format!("/partners/{PARTNER}/channels");
    let (_, list) = fixture.call(Method::GET, &path).await;
    list["partner_channels"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_channel_is_made_and_changed_in_silence() {
    let fixture = Fixture::new().await;
    let made = json!({"client": "aCL", "stage": "running", "permission": "granted", "created_at": "2020-02-02T02:02:02Z"});
    let shown = fixture.control("channel", request(made)).await;
    assert_eq!(
        (&shown["stage"], &shown["permission"]),
        (&json!("running"), &json!("granted"))
    );
    assert_eq!(
        (&shown["keys"], &shown["channel"]["client"]["id"]),
        (&json!([]), &json!("aCL"))
    );
    assert_eq!(listed(&fixture).await, [shown["channel"].clone()]);
    assert_eq!(shown["channel"]["created_at"], "2020-02-02T02:02:02.000Z");
    fixture.make_key("aCH").await;
    let path = format!("/_hub/channel?partner={PARTNER}&channel=aCH");
    assert_eq!(
        fixture.get(&path).await.1["keys"].as_array().unwrap().len(),
        1
    );

    let moved = json!({"client": "zCL", "created_at": null, "stage": "created"});
    let shown = fixture.control("channel", request(moved)).await;
    assert_eq!(
        (&shown["channel"]["client_id"], &shown["stage"]),
        (&json!("zCL"), &json!("created"))
    );
    assert!(shown["channel"].get("created_at").is_none());
    assert_eq!(shown["permission"], "granted", "it was not named");
    assert!(fixture.receiver.events().is_empty());
}

#[tokio::test]
async fn a_channel_can_be_shown_as_anything() {
    let fixture = Fixture::new().await;
    let set = json!({"set": {"id": "no id", "client": null, "setup_info": {"phone_name": null}, "new": [1]}});
    fixture.control("channel", request(set)).await;
    let shown = &listed(&fixture).await[0];
    assert_eq!(
        (&shown["id"], &shown["new"]),
        (&json!("no id"), &json!([1]))
    );
    assert!(shown.get("client").is_none() && shown["setup_info"].get("phone_name").is_none());
    assert!(shown["setup_info"]["phone_number"].is_string());
    fixture
        .control("channel", request(json!({"set": {}})))
        .await;
    assert_eq!(listed(&fixture).await[0]["id"], "aCH");
}

#[tokio::test]
async fn a_channel_dies_in_silence_and_gets_no_key() {
    let fixture = Fixture::new().await;
    let alive = json!({"stage": "live", "permission": "granted"});
    fixture.control("channel", request(alive)).await;
    let shown = fixture
        .control("channel", request(json!({"dies": "banned"})))
        .await;
    assert_eq!(shown["channel"]["waba_account"]["status"], "banned");
    assert_eq!(fixture.call(Method::POST, &keys_path("aCH")).await.0, 400);
    let shown = fixture
        .control("channel", request(json!({"dies": "cancelled_at"})))
        .await;
    assert!(shown["channel"]["cancelled_at"].is_string());
    fixture
        .control("channel", request(json!({"dies": null})))
        .await;
    assert_eq!(fixture.call(Method::POST, &keys_path("aCH")).await.0, 201);
    assert!(fixture.receiver.events().is_empty());
}

#[tokio::test]
async fn a_channel_is_reported_if_the_control_says_so() {
    let fixture = Fixture::new().await;
    let made = json!({"stage": "live", "permission": "granted", "webhooks": true});
    fixture.control("channel", request(made)).await;
    let expected = [
        "client_created",
        "channel_created",
        "channel_ready",
        "channel_running",
        "channel_live",
        "phone_number_quality_changed",
        "channel_permission_granted",
    ];
    for event in expected {
        fixture.receiver.wait_for_event(event).await;
    }
    let events: BTreeSet<String> = fixture.receiver.events().into_iter().collect();
    assert_eq!(events, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn all_channels_of_a_partner_are_forgotten() {
    let fixture = Fixture::new().await;
    fixture.control("channel", request(json!({}))).await;
    let path = format!("/_hub/channels?partner={PARTNER}");
    assert_eq!(fixture.delete(&path).await, (200, json!({})));
    assert!(listed(&fixture).await.is_empty());
    let path = format!("/_hub/channel?partner={PARTNER}&channel=aCH");
    assert_eq!(fixture.get(&path).await.0, 404);
}

#[tokio::test]
async fn a_client_makes_a_key_of_its_own() {
    let fixture = Fixture::new().await;
    let made = json!({"stage": "running", "permission": "granted"});
    fixture.control("channel", request(made)).await;
    let ours = fixture.make_key("aCH").await;
    let theirs = fixture.control("key", request(json!({}))).await;
    assert_eq!(fixture.send_message(&ours).await, 401);
    let (_, keys) = fixture.call(Method::GET, &keys_path("aCH")).await;
    assert_eq!(keys["api_keys"][0]["id"], theirs["id"]);
    let named = fixture
        .control("key", request(json!({"id": "somebodys"})))
        .await;
    assert_eq!(named, json!({"id": "somebodys"}));
}

#[tokio::test]
async fn a_client_grants_and_revokes_with_or_without_a_webhook() {
    let fixture = Fixture::new().await;
    fixture
        .control("channel", request(json!({"stage": "running"})))
        .await;
    let granted = json!({"permission": "granted", "webhook": false});
    let shown = fixture.control("permission", request(granted)).await;
    assert_eq!(shown["permission"], "granted");
    fixture.make_key("aCH").await;
    let revoked = json!({"permission": "revoked", "webhook": true});
    fixture.control("permission", request(revoked)).await;
    assert_eq!(fixture.call(Method::POST, &keys_path("aCH")).await.0, 403);
    fixture
        .receiver
        .wait_for_event("channel_permission_revoked")
        .await;
    let events: BTreeSet<String> = fixture.receiver.events().into_iter().collect();
    assert_eq!(events.len(), 1, "{events:?}");
}

#[tokio::test]
async fn a_mistaken_request_is_refused() {
    let fixture = Fixture::new().await;
    let unknown = json!({"partner": "unknownPA"});
    for (control, more, status) in [
        ("channel", json!({"stage": "dead"}), 422),
        ("channel", json!({"clnt": "aCL"}), 422),
        ("channel", json!({"client": "a/b"}), 400),
        ("channel", unknown.clone(), 404),
        ("key", json!({}), 404),
        ("key", unknown.clone(), 404),
        ("permission", json!({"permission": "granted"}), 404),
        ("permission", json!({"permission": "unasked"}), 400),
        ("history", json!({}), 404),
        ("history", json!({"bodies": 1000}), 400),
    ] {
        let path = format!("/_hub/{control}");
        let (refused, answer) = fixture.post(&path, &request(more)).await;
        assert_eq!(refused, status, "{control} {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert_eq!(fixture.delete("/_hub/channels").await.0, 400);
    assert_eq!(fixture.get("/_hub/channel?partner=x").await.0, 400);
}
