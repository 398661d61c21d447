//! What the partner's application is told, against the schemas of `docs/events.md`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Bundle, PARTNER, text, until_seen};

/// I8, I9
#[tokio::test]
async fn every_event_is_as_documented_and_holds_no_secret() {
    let bundle = Bundle::start().await;
    let large = json!({"event": "large", "data": "x".repeat(255 * 1024)}).to_string();
    for body in [
        r#"{"event":"new_thing","data":{"channel":"xCH"}}"#,
        r#"{ "event": 7 }"#,
        "this is no JSON {",
        &large,
    ] {
        bundle.webhook(PARTNER, body).await.is(200);
    }
    bundle.grant("acme", "oneCH").await;
    let is_about = |event: &Value, path: &str, value: &str| {
        event["detail"].pointer(path) == Some(&json!(value))
    };
    let is_over = |events: &Vec<Value>| {
        let is_told = |path, value| events.iter().any(|event| is_about(event, path, value));
        is_told("/channel/stage", "live")
            && is_told("/channel/key/status", "stored")
            && is_told("/name", "large")
    };
    let events = until_seen(|| bundle.events(), is_over).await;

    let schemas = schemas();
    for event in &events {
        assert_eq!(event["source"], "360dialog.onboarding");
        let schema = &schemas[text(&event["detail-type"])];
        let faults = schema.iter_errors(&event["detail"]);
        let faults: Vec<String> = faults.map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} {event}");
        // The largest webhook fits.
        assert_ne!(event["detail"]["is_body_omitted"], true);
    }
    let key = bundle.stored_key(PARTNER, "oneCH").await.expect("a key");
    let all = json!(events).to_string();
    for secret in ["needle", text(&key["api_key"])] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_event_shows_what_the_tenant_sees_and_versions_grow() {
    let (_api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let shown = bundle.stored(PARTNER, "acme", NUMBER).await;
    let of_channel = || async {
        let mut events = bundle.events().await;
        events.retain(|event| event["detail-type"] == "channel.changed");
        events
    };
    let is_shown = |events: &Vec<Value>| {
        let version = |event: &&Value| event["detail"]["version"].as_i64();
        let last = events.iter().max_by_key(version);
        last.is_some_and(|last| last["detail"]["channel"] == shown)
    };
    let events = until_seen(of_channel, is_shown).await;
    // The same event may come twice, but no two different ones under one id.
    let mut by_id: BTreeMap<&str, &Value> = BTreeMap::new();
    for event in &events {
        let (id, version) = (text(&event["detail"]["id"]), &event["detail"]["version"]);
        assert_eq!(id, format!("{PARTNER}/{NUMBER}/{version}"));
        assert_eq!(*by_id.entry(id).or_insert(event), event);
    }
}

/// The schemas of `docs/events.md` by the type of event.
fn schemas() -> BTreeMap<String, jsonschema::Validator> {
    let text = include_str!("../../../docs/events.md");
    let marked = text.split("<!-- schema: ").skip(1);
    let read = |marked: &str| {
        let (name, rest) = marked.split_once(" -->").expect("a name");
        let (_, rest) = rest.split_once("```json").expect("a block");
        let (schema, _) = rest.split_once("```").expect("its end");
        let schema = serde_json::from_str(schema).expect("JSON");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        (name.to_owned(), schema)
    };
    marked.map(read).collect()
}
