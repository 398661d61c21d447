//! The messaging API, as the holder of a channel's key calls it.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Fixture, answer};

const WEBHOOK: &str = "/v1/configs/webhook";

fn request(fixture: &Fixture, method: Method, path: &str, key: &str) -> RequestBuilder {
    let url = format!("{}/waba{path}", fixture.simulator.url());
    fixture
        .http
        .request(method, url)
        .header("D360-API-KEY", key)
}

async fn call(fixture: &Fixture, method: Method, key: &str, body: &Value) -> (u16, Value) {
    let request = request(fixture, method, WEBHOOK, key).json(body);
    answer(request.send().await.unwrap()).await
}

async fn post(fixture: &Fixture, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let request = request(fixture, Method::POST, path, key).json(body);
    answer(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_holder_of_a_live_key_sets_where_messages_go() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    let webhook = json!({"url": "https://app.example", "headers": {"x-a": "b"}});
    let set = call(&fixture, Method::POST, &key, &webhook).await;
    assert_eq!(set, (200, webhook.clone()));
    let next = fixture.make_key("aCH").await;
    let read = call(&fixture, Method::GET, &next, &json!({})).await;
    assert_eq!(read, (200, webhook.clone()), "it outlives the key");
    for method in [Method::GET, Method::POST] {
        let (status, error) = call(&fixture, method, &key, &webhook).await;
        assert_eq!((status, &error["meta"]["http_code"]), (401, &json!(401)));
    }
}

#[tokio::test]
async fn a_messaging_webhook_needs_an_address() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    for body in [json!({}), json!({"url": "x"}), json!({"url": "ftp://x/"})] {
        let (status, error) = call(&fixture, Method::POST, &key, &body).await;
        assert_eq!((status, &error["meta"]["success"]), (400, &json!(false)));
    }
    let read = call(&fixture, Method::GET, &key, &json!({})).await;
    assert_eq!(read, (200, json!({"url": null, "headers": {}})));
}

#[tokio::test]
async fn a_message_is_answered_with_its_recipient_and_shown_among_the_calls() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    let text = json!({"to": "12125550123", "type": "text", "text": {"body": "Hello"}});
    let (status, sent) = post(&fixture, "/messages", &key, &text).await;
    assert_eq!(
        (status, &sent["messaging_product"]),
        (200, &json!("whatsapp"))
    );
    let contact = json!({"input": "12125550123", "wa_id": "12125550123"});
    assert_eq!(sent["contacts"], json!([contact]));
    assert!(
        sent["messages"][0]["id"]
            .as_str()
            .unwrap()
            .starts_with("wamid.")
    );
    let read = json!({"status": "read", "message_id": sent["messages"][0]["id"]});
    let answered = post(&fixture, "/messages", &key, &read).await;
    assert_eq!(answered, (200, json!({"success": true})));
    let calls = fixture.calls("call=message&channel=aCH").await;
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["credential"], "channel_key");
}
