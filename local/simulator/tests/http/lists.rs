//! Faults of lists: they lag, ignore filters, or find nothing; numbers come late.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fixture, PARTNER};

const BY_ID: &str = "filters=%7B%22id%22:%22aCH%22%7D";
const BY_CLIENT: &str = "filters=%7B%22client_id%22:%22zCL%22%7D";

async fn channel(fixture: &Fixture, more: Value) {
    let mut request = json!({"partner": PARTNER, "channel": "aCH", "client": "aCL"});
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fixture.control("channel", request).await;
}

async fn list(fixture: &Fixture, query: &str) -> Vec<Value> {
    let path = format!("/partners/{PARTNER}/channels?{query}");
    let (_, list) = fixture.call(Method::GET, &path).await;
    list["partner_channels"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_bulk_list_lags_behind_the_read_of_one_channel() {
    let fixture = Fixture::new().await;
    channel(&fixture, json!({"stage": "created"})).await;
    fixture
        .control("lists", json!({"partner": PARTNER, "lag_ms": 3_600_000}))
        .await;
    channel(&fixture, json!({"stage": "running"})).await;
    channel(&fixture, json!({"channel": "newCH"})).await;
    let lagging = list(&fixture, "").await;
    assert_eq!(
        (lagging.len(), &lagging[0]["status"]),
        (1, &json!("created"))
    );
    assert_eq!(list(&fixture, BY_ID).await[0]["status"], "ready");
    fixture.control("lists", json!({"partner": PARTNER})).await;
    assert_eq!(list(&fixture, "").await.len(), 2);
}

#[tokio::test]
async fn a_lag_of_nothing_shows_what_is() {
    let fixture = Fixture::new().await;
    fixture
        .control("lists", json!({"partner": PARTNER, "lag_ms": 0}))
        .await;
    channel(&fixture, json!({"stage": "running"})).await;
    assert_eq!(list(&fixture, "").await, list(&fixture, BY_ID).await);
}

#[tokio::test]
async fn filters_are_ignored_or_find_nothing() {
    let fixture = Fixture::new().await;
    channel(&fixture, json!({})).await;
    assert!(list(&fixture, BY_CLIENT).await.is_empty());
    fixture
        .control(
            "lists",
            json!({"partner": PARTNER, "ignores_filters": true}),
        )
        .await;
    assert_eq!(list(&fixture, BY_CLIENT).await.len(), 1);
    let shown = fixture
        .control("lists", json!({"partner": PARTNER, "finds_nothing": true}))
        .await;
    let expected = json!({"lag_ms": null, "ignores_filters": false, "finds_nothing": true, "late_numbers": false});
    assert_eq!(shown, expected);
    assert!(list(&fixture, BY_ID).await.is_empty());
    assert_eq!(list(&fixture, "").await.len(), 1);
}

#[tokio::test]
async fn a_phone_number_comes_with_the_quality() {
    let fixture = Fixture::new().await;
    fixture
        .control("lists", json!({"partner": PARTNER, "late_numbers": true}))
        .await;
    fixture.onboard(&["aCH"]).await;
    let live = fixture.receiver.wait_for_event("channel_live").await;
    assert_eq!(live.json["data"]["setup_info"].get("phone_number"), None);
    let quality = fixture
        .receiver
        .wait_for_event("phone_number_quality_changed")
        .await;
    assert!(quality.json["data"]["setup_info"]["phone_number"].is_string());
}

#[tokio::test]
async fn a_mistaken_fault_of_lists_is_refused() {
    let fixture = Fixture::new().await;
    for (body, status) in [
        (json!({"lag_ms": 1}), 404),
        (json!({"partner": PARTNER, "lag": 1}), 422),
        (json!({"partner": PARTNER, "lag_ms": -1}), 422),
    ] {
        assert_eq!(fixture.post("/_hub/lists", &body).await.0, status, "{body}");
    }
}
