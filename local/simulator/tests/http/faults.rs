//! Faults of calls: 360dialog answers other than usual.

use reqwest::Method;
use serde_json::{Value, json};

use tokio::time::timeout;

use crate::support::{API_KEY, Fixture, LONG, PARTNER, PATIENCE, answer, keys_path};

async fn fixture_with_channel() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    fixture
}

async fn key_ids(fixture: &Fixture) -> usize {
    let (_, keys) = fixture.call(Method::GET, &keys_path("aCH")).await;
    keys["api_keys"].as_array().unwrap().len()
}

async fn wait_for_keys(fixture: &Fixture, keys: usize) {
    let arrived = async { while key_ids(fixture).await < keys {} };
    timeout(PATIENCE, arrived).await.expect("no key was made");
    assert_eq!(key_ids(fixture).await, keys);
}

/// Asks for a key in the background.
fn ask_for_key(fixture: &Fixture) -> tokio::task::JoinHandle<(u16, Value)> {
    let request = fixture.api(Method::POST, &keys_path("aCH"));
    let request = request.header("X-API-Key", API_KEY).timeout(LONG);
    tokio::spawn(async move { answer(request.send().await.unwrap()).await })
}

#[tokio::test]
async fn an_answer_replaces_the_usual_one_for_so_many_times() {
    let fixture = fixture_with_channel().await;
    let answer = json!({"status": 429, "headers": {"retry-after": "7"}});
    let fault =
        json!({"call": "new_key", "channel": "aCH", "skip": 1, "times": 1, "answer": answer});
    let listed = fixture.control("faults", fault.clone()).await;
    assert_eq!(listed, json!({"faults": [fault]}));
    fixture.make_key("aCH").await;
    let request = fixture.api(Method::POST, &keys_path("aCH"));
    let refused = request.header("X-API-Key", API_KEY).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "7");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["meta"]["http_code"], 429, "the error form");
    fixture.make_key("aCH").await;
    let (_, listed) = fixture.get("/_hub/faults").await;
    assert_eq!(listed, json!({"faults": []}), "it is used up");
}

#[tokio::test]
async fn a_call_takes_its_effect_only_if_the_fault_says_so() {
    let fixture = fixture_with_channel().await;
    for (is_done, keys) in [(false, 0), (true, 1)] {
        let answer = json!({"status": 500, "body": "lost"});
        let fault = json!({"call": "new_key", "is_done": is_done, "times": 1, "answer": answer});
        fixture.control("faults", fault).await;
        let answered = fixture.call(Method::POST, &keys_path("aCH")).await;
        assert_eq!(answered, (500, json!("lost")));
        assert_eq!(key_ids(&fixture).await, keys);
    }
}

#[tokio::test]
async fn a_success_without_a_body_has_the_usual_one_and_changes_nothing() {
    let fixture = fixture_with_channel().await;
    let fault = json!({"call": "any", "answer": {"status": 202}});
    fixture.control("faults", fault).await;
    let (status, key) = fixture.call(Method::POST, &keys_path("aCH")).await;
    assert!(status == 202 && key["api_key"].is_string(), "{key}");
    let path =
        format!("/partners/{PARTNER}/clients/oneCL/channels/aCH/control/cancellation_request");
    assert_eq!(fixture.call(Method::POST, &path).await.0, 202);
    let (status, list) = fixture.call(Method::GET, &keys_path("aCH")).await;
    assert_eq!((status, list), (202, json!({"api_keys": []})));
    fixture.delete("/_hub/faults").await;
    let (_, list) = fixture
        .call(Method::GET, &format!("/partners/{PARTNER}/channels"))
        .await;
    assert_eq!(list["partner_channels"][0]["cancelled_at"], Value::Null);
    assert!(
        !fixture
            .receiver
            .events()
            .contains(&"cancellation_request".to_owned())
    );
}

#[tokio::test]
async fn silence_lasts_until_the_caller_goes_with_or_without_the_effect() {
    let fixture = fixture_with_channel().await;
    for (is_done, keys) in [(false, 0), (true, 1)] {
        let fault = json!({"call": "new_key", "is_done": is_done, "times": 1, "answer": "silence"});
        fixture.control("faults", fault).await;
        fixture.delete("/_hub/calls").await;
        let asked = ask_for_key(&fixture);
        let call = fixture.wait_for_call("call=new_key").await;
        assert_eq!(call["status"], Value::Null);
        wait_for_keys(&fixture, keys).await;
        assert!(!asked.is_finished());
        asked.abort();
    }
}

#[tokio::test]
async fn a_call_that_is_held_is_done_once_faults_are_removed() {
    let fixture = fixture_with_channel().await;
    fixture
        .control("faults", json!({"call": "new_key", "hold": true}))
        .await;
    let asked = ask_for_key(&fixture);
    fixture.wait_for_call("call=new_key").await;
    assert_eq!(key_ids(&fixture).await, 0);
    assert!(!asked.is_finished());
    assert_eq!(
        fixture.delete("/_hub/faults").await,
        (200, json!({"faults": []}))
    );
    assert_eq!(asked.await.unwrap().0, 201);
    assert_eq!(key_ids(&fixture).await, 1);
}

#[tokio::test]
async fn a_new_key_comes_late_and_in_another_form() {
    let fixture = fixture_with_channel().await;
    let forms = json!([
        {"call": "new_key", "form": "api_keys", "delay_ms": 1},
        {"call": "new_key", "form": "key", "times": 1},
    ]);
    fixture.control("faults", forms).await;
    let (_, key) = fixture.call(Method::POST, &keys_path("aCH")).await;
    assert!(
        key["key"].is_string() && key["api_key"].is_null(),
        "the newest wins: {key}"
    );
    let (status, key) = fixture.call(Method::POST, &keys_path("aCH")).await;
    assert!(
        status == 201 && key["api_keys"][0]["api_key"].is_string(),
        "{key}"
    );
    let sample = "/partners/channels/aCH/api-keys";
    fixture
        .control("faults", json!({"call": "new_key", "form": "api_key"}))
        .await;
    let (_, key) = fixture.call(Method::POST, sample).await;
    assert!(key["api_key"].is_string(), "{key}");
}

#[tokio::test]
async fn a_faulty_fault_is_refused_and_none_of_its_list_is_added() {
    let fixture = Fixture::new().await;
    for (faults, status) in [
        (json!([{"call": "any"}, {"call": "anny"}]), 422),
        (json!({"call": "any", "unknown": 1}), 422),
        (json!([{"call": "any"}, {}]), 400),
        (json!({"call": "any", "partner": "unknownPA"}), 404),
    ] {
        let (refused, answer) = fixture.post("/_hub/faults", &faults).await;
        assert_eq!(refused, status, "{answer}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(fixture.get("/_hub/faults").await.1, json!({"faults": []}));
}
