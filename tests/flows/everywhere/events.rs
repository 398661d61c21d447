//! What the partner's application is told, against the schemas of `docs/events.md`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{Bundle, PARTNER, until};

use crate::partner_api::{NUMBER, StandIn, claim};

/// I8, I9
#[tokio::test]
async fn every_event_is_as_documented_and_holds_no_secret() {
    let bundle = Bundle::start().await;
    for body in [
        r#"{"event":"new_thing","data":{"channel":"xCH"}}"#.to_owned(),
        r#"{ "event": 7 }"#.to_owned(),
        "this is no JSON {".to_owned(),
        json!({"event": "large", "data": "x".repeat(255 * 1024)}).to_string(),
    ] {
        assert_eq!(
            bundle.webhook(PARTNER, &body).await.status(),
            200,
            "{body:.40}"
        );
    }
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    let live =
        |event: &Value| changed(event, "oneCH") && event["detail"]["channel"]["stage"] == "live";
    let stored = |event: &Value| {
        changed(event, "oneCH") && event["detail"]["channel"]["key"]["status"] == "stored"
    };
    let kept =
        |event: &Value| event["detail-type"] == "hub.event" && event["detail"]["name"] == "large";
    let events = until(|| async {
        let events = bundle.events().await;
        let all: [&dyn Fn(&Value) -> bool; 3] = [&live, &stored, &kept];
        if all.iter().all(|wanted| events.iter().any(wanted)) {
            Ok(events)
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;

    let schemas = schemas();
    for event in &events {
        assert_eq!(event["source"], "360dialog.onboarding");
        let schema = &schemas[event["detail-type"].as_str().expect("a type")];
        let faults: Vec<String> = schema
            .iter_errors(&event["detail"])
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{faults:?} {event}");
    }
    let omitted: Vec<&Value> = events
        .iter()
        .filter(|event| event["detail"]["is_body_omitted"] == true)
        .collect();
    assert_eq!(
        omitted
            .iter()
            .map(|event| &event["detail"]["name"])
            .collect::<Vec<_>>(),
        ["large"]
    );
    let key = bundle.vault_key(PARTNER, "oneCH").expect("a key");
    let all = json!(events).to_string();
    for secret in ["needle", key["api_key"].as_str().expect("a key")] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_event_shows_what_the_tenant_sees_and_versions_grow() {
    let (_hub, bundle) = StandIn::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let shown = bundle.stored(PARTNER, "acme", NUMBER).await;
    let events = until(|| async {
        let events: Vec<Value> = bundle
            .events()
            .await
            .into_iter()
            .filter(|event| changed(event, NUMBER))
            .collect();
        let last = events
            .iter()
            .max_by_key(|event| event["detail"]["version"].as_i64());
        if last.is_some_and(|last| last["detail"]["channel"] == shown) {
            Ok(events)
        } else {
            Err(json!(events).to_string())
        }
    })
    .await;
    // The same event may come twice, but no two different ones under one id.
    let mut by_id: BTreeMap<String, &Value> = BTreeMap::new();
    for event in &events {
        let id = event["detail"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            id,
            format!("{PARTNER}/{NUMBER}/{}", event["detail"]["version"])
        );
        assert_eq!(*by_id.entry(id).or_insert(event), event);
    }
}

fn changed(event: &Value, channel: &str) -> bool {
    event["detail-type"] == "channel.changed" && event["detail"]["channel"]["id"] == channel
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
        (
            name.to_owned(),
            jsonschema::validator_for(&schema).expect("a schema"),
        )
    };
    marked.map(read).collect()
}
