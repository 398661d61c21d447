//! Where a channel's messages go, as the holder of its key sets it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fixture, answer};

const PATH: &str = "/waba/v1/configs/webhook";

async fn call(fixture: &Fixture, method: Method, key: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}{PATH}", fixture.simulator.url());
    let request = fixture
        .http
        .request(method, url)
        .header("D360-API-KEY", key);
    answer(request.json(body).send().await.unwrap()).await
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
