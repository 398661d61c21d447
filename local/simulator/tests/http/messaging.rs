//! The messaging API, as the holder of a channel's key calls it.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use crate::support::{API_KEY, Fixture, PARTNER, answer};

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

async fn names(fixture: &Fixture, key: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/configs/templates{query}");
    let listed = request(fixture, Method::GET, &path, key).send().await;
    let (status, listed) = answer(listed.unwrap()).await;
    assert_eq!((status, &listed["sort"]), (200, &json!(["id"])));
    let templates = listed["waba_templates"].as_array().unwrap();
    assert_eq!(listed["total"], templates.len());
    templates.iter().map(|it| it["name"].clone()).collect()
}

#[tokio::test]
async fn templates_are_submitted_once_listed_by_name_and_deleted() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH", "bCH"]).await;
    let key = fixture.make_key("aCH").await;
    let path = "/v1/configs/templates";
    for name in ["one", "two"] {
        let template =
            json!({"name": name, "language": "de", "category": "UTILITY", "components": []});
        let (status, made) = post(&fixture, path, &key, &template).await;
        assert_eq!((status, &made["status"]), (201, &json!("submitted")));
        let (status, error) = post(&fixture, path, &key, &template).await;
        assert_eq!(status, 400);
        let message = error["meta"]["developer_message"].as_str().unwrap();
        assert!(message.contains("you have provided is already in use"));
    }
    assert_eq!(post(&fixture, path, &key, &json!({})).await.0, 400);
    assert_eq!(names(&fixture, &key, "").await.len(), 2);
    let by_name = r#"?filters={"business_templates.name":"two"}"#;
    assert_eq!(names(&fixture, &key, by_name).await, ["two"]);
    let other = fixture.make_key("bCH").await;
    assert_eq!(names(&fixture, &other, "").await, [] as [Value; 0]);
    for status in [200, 404] {
        let delete = request(&fixture, Method::DELETE, &format!("{path}/one"), &key);
        assert_eq!(answer(delete.send().await.unwrap()).await.0, status);
    }
    assert_eq!(names(&fixture, &key, "").await, ["two"]);
}

#[tokio::test]
async fn a_partner_edits_a_template() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    let path = "/v1/configs/templates";
    let template =
        json!({"name": "one", "language": "de", "category": "UTILITY", "components": []});
    let (_, made) = post(&fixture, path, &key, &template).await;
    let query = format!("{path}?filters={}", json!({"id": made["id"]}));
    let read = || async {
        let listed = request(&fixture, Method::GET, &query, &key).send().await;
        answer(listed.unwrap()).await.1["waba_templates"][0].clone()
    };
    let waba = read().await["waba_account_id"].clone();
    let components = json!([{"type": "BODY", "text": "Hello"}]);
    for (waba, status) in [(waba.as_str().unwrap(), 200), ("noWA", 404)] {
        let url = format!(
            "{}/v1/partners/{PARTNER}/waba_accounts/{waba}/waba_templates/{}",
            fixture.simulator.url(),
            made["id"].as_str().unwrap(),
        );
        let edit = fixture.http.patch(url).header("X-API-Key", API_KEY);
        let edit = edit.json(&json!({"components": components}));
        assert_eq!(answer(edit.send().await.unwrap()).await.0, status);
    }
    assert_eq!(read().await["components"], components);
    let calls = fixture.calls("call=edit_template").await;
    assert_eq!(calls[0]["partner"], PARTNER);
}

#[tokio::test]
async fn an_upload_can_be_fetched_until_it_is_deleted() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH", "bCH"]).await;
    let (key, other) = (fixture.make_key("aCH").await, fixture.make_key("bCH").await);
    let send = async |method, path: &str, key: &str| {
        let answered = request(&fixture, method, path, key).send().await;
        answer(answered.unwrap()).await
    };
    let upload = request(&fixture, Method::POST, "/media", &key)
        .header("content-type", "multipart/form-data; boundary=x")
        // Larger than the framework's limit.
        .body(vec![b'x'; 3 << 20]);
    let (status, uploaded) = answer(upload.send().await.unwrap()).await;
    assert_eq!(status, 200, "{uploaded}");
    let path = format!("/{}", uploaded["id"].as_str().unwrap());
    assert_eq!(send(Method::GET, &path, &other).await.0, 404);
    let (status, shown) = send(Method::GET, &path, &key).await;
    assert_eq!((status, &shown["mime_type"]), (200, &json!("image/gif")));
    let url = Url::parse(shown["url"].as_str().unwrap()).unwrap();
    let file = format!("{}?{}", url.path(), url.query().unwrap());
    let picture = request(&fixture, Method::GET, &file, &key).send().await;
    let picture = picture.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/gif");
    assert_eq!(shown["file_size"], picture.bytes().await.unwrap().len());
    assert_eq!(send(Method::DELETE, &path, &key).await.0, 200);
    for (method, path) in [
        (Method::GET, &path),
        (Method::GET, &file),
        (Method::DELETE, &path),
    ] {
        assert_eq!(send(method, path, &key).await.0, 404);
    }
    assert_eq!(send(Method::POST, "/media", &key).await.0, 400, "no form");
    assert_eq!(fixture.calls("call=media&channel=aCH").await.len(), 4);
}

#[tokio::test]
async fn a_profile_needs_a_live_key() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    let profile = json!({"messaging_product": "whatsapp", "about": "Hello"});
    let path = "/whatsapp_business_profile";
    let set = post(&fixture, path, &key, &profile).await;
    assert_eq!(set, (200, json!({"success": true})));
    assert_eq!(post(&fixture, path, "no_key", &profile).await.0, 401);
}
