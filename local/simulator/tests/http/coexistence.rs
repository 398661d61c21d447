//! Numbers that stay in the WhatsApp Business app, and the chats that they bring.

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::support::{Fixture, PARTNER};

#[tokio::test]
async fn a_number_that_stays_in_the_app_brings_its_contacts_and_chats() {
    let fixture = Fixture::new().await;
    let choice = json!({"client": "aCL", "channels": ["aCH"], "coexistence": true});
    fixture.complete(choice).await;
    let bodies = fixture.receiver.wait_for(|all| {
        all.iter()
            .filter(|webhook| webhook.event() == "history")
            .count()
            >= 3
    });
    let bodies = bodies.await;
    let history = bodies
        .iter()
        .find(|webhook| webhook.event() == "history")
        .unwrap();
    assert!(history.body.len() > 256 * 1024, "{}", history.body.len());
    let live = fixture.receiver.wait_for_event("channel_live").await;
    let data = &history.json["data"];
    assert_eq!(data["id"], live.json["data"]["waba_account"]["external_id"]);
    let value = &data["changes"][0]["value"];
    let message = &value["history"][0]["threads"][0]["messages"][0];
    assert!(message["text"]["body"].is_string(), "{message}");
    let contacts = fixture.receiver.wait_for_event("smb_app_state_sync").await;
    assert_eq!(contacts.json["data"]["id"], data["id"]);
}

#[tokio::test]
async fn history_is_sent_on_request_in_bodies_of_the_size_asked_for() {
    let fixture = Fixture::new().await;
    let channel = json!({"partner": PARTNER, "channel": "aCH"});
    fixture.control("channel", channel).await;
    let asked = json!({"partner": PARTNER, "channel": "aCH", "bodies": 2, "bytes": 3000});
    let answer = fixture.control("history", asked.clone()).await;
    assert_eq!(answer, json!({"state_sync": 200, "statuses": [200, 200]}));
    let bodies = fixture.receiver.wait_for(|all| all.len() == 3).await;
    for body in &bodies[1..] {
        assert!(body.body.len() >= 3000);
    }
    fixture.receiver.answer_with(413);
    let answer = fixture.control("history", asked).await;
    assert_eq!(answer["statuses"], json!([413, 413]));
}

#[tokio::test]
async fn an_event_may_be_larger_than_a_history() {
    let fixture = Fixture::new().await;
    let text = "x".repeat(3 << 20);
    let event = json!({"partner": PARTNER, "event": "history", "data": {"text": text}});
    assert_eq!(
        fixture.control("event", event).await,
        json!({"status": 200})
    );
    let sent = fixture.receiver.wait_for(|all| !all.is_empty()).await;
    assert_eq!(sent[0].json["data"]["text"], Value::String(text));

    let event = r#"{"partner": "unknownPA", "event": "history", "data": "x"}"#;
    let padding = " ".repeat(16 << 20);
    let url = format!("{}/_hub/event", fixture.simulator.url());
    let request = fixture
        .http
        .post(url)
        .header(CONTENT_TYPE, "application/json");
    let answer = request.body(padding + event).send().await.unwrap();
    assert_eq!(answer.status(), 404, "it was read as a whole");
}
