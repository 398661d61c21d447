//! Tests of the published events, and of when nothing is published.

use dialog360::event::Stage;
use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding};
use runtime::event_bus::LARGEST_DETAIL;
use serde_json::json;

use super::*;

fn id() -> ChannelRef {
    ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap())
}

fn fact(second: i64, assertion: Assertion, cause: &str) -> Fact {
    Fact::new(
        id(),
        Source::Webhook,
        assertion,
        Timestamp::from_second(second).unwrap(),
        cause,
    )
}

fn bound() -> Assertion {
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "cCL".parse().unwrap(),
        fresh: true,
    };
    Assertion {
        binding: Some(binding),
        ..Assertion::default()
    }
}

fn running() -> Assertion {
    Assertion {
        stage: Some(Stage::Running),
        ..Assertion::default()
    }
}

fn saved(version: i64, facts: &[Fact]) -> StoredChannel {
    let mut channel = Channel::unknown(id());
    channel.join_all(facts);
    StoredChannel { channel, version }
}

fn published(old: Option<&StoredChannel>, new: &StoredChannel) -> Option<Value> {
    let event = channel_changed(old, new).unwrap()?;
    assert_eq!(event.detail_type, "channel.changed");
    Some(serde_json::from_str(event.detail.get()).unwrap())
}

#[test]
fn a_channel_is_published_once_it_has_a_tenant_and_then_when_a_shown_field_changes() {
    let unclaimed = saved(1, &[fact(1, running(), "channel_running")]);
    assert_eq!(published(None, &unclaimed), None);

    let all = [
        fact(1, running(), "channel_running"),
        fact(2, bound(), "claim"),
    ];
    let first = published(Some(&unclaimed), &saved(2, &all)).unwrap();
    assert_eq!(
        (&first["id"], &first["version"]),
        (&json!("aPA/bCH/2"), &json!(2))
    );
    assert_eq!(first["channel"]["tenant"], "acme");
    let changed: Vec<&str> = first["changed"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        changed,
        [
            "claim",
            "client_id",
            "id",
            "key",
            "messaging_webhook",
            "partner_id",
            "permission",
            "stage",
            "tenant"
        ]
    );

    // A later fact with the same content changes only the time.
    let again = [
        all[0].clone(),
        all[1].clone(),
        fact(9, running(), "channel_status_running"),
    ];
    assert_eq!(published(Some(&saved(2, &all)), &saved(3, &again)), None);

    let live = Assertion {
        stage: Some(Stage::Live),
        ..Assertion::default()
    };
    let live = [
        all[0].clone(),
        all[1].clone(),
        fact(3, live, "channel_live"),
    ];
    assert_eq!(
        published(Some(&saved(3, &all)), &saved(4, &live)).unwrap()["changed"],
        json!(["stage"])
    );
}

fn detail(body: &[u8]) -> Value {
    serde_json::from_str(&detail_text(body)).unwrap()
}

fn detail_text(body: &[u8]) -> String {
    let stored = StoredFact {
        fact: fact(7, running(), "channel_running"),
        body: Some(StoredBody::Here(body.to_vec())),
    };
    let webhook = Webhook::from_fact(&stored).unwrap();
    let event = webhook.to_event(Some(body)).unwrap();
    assert!(event.fits());
    assert_eq!(event.detail_type, "hub.event");
    event.detail.get().to_owned()
}

#[test]
fn a_webhook_is_published_with_its_raw_body() {
    // Byte for byte, even a number that no double can hold.
    let body = r#"{"event":"channel_running", "n":1e999}"#;
    assert!(
        detail_text(body.as_bytes()).contains(&format!(r#""event":{body},"body_base64":null"#))
    );
    let published = detail(b"{}");
    assert_eq!(
        (
            &published["name"],
            &published["event"],
            &published["is_body_omitted"]
        ),
        (&json!("channel_running"), &json!({}), &json!(false))
    );
    let published = detail(b"\xff no JSON");
    assert_eq!(
        (&published["event"], &published["body_base64"]),
        (&json!(null), &json!("/yBubyBKU09O"))
    );
}

#[test]
fn a_webhook_too_large_for_the_bus_is_published_without_its_body() {
    let published = detail(
        json!({"event": "x".repeat(LARGEST_DETAIL)})
            .to_string()
            .as_bytes(),
    );
    assert_eq!(
        (&published["event"], &published["is_body_omitted"]),
        (&json!(null), &json!(true))
    );
}

#[test]
fn only_facts_from_webhooks_are_published_as_hub_events() {
    let stored = StoredFact {
        fact: fact(7, bound(), "claim"),
        body: None,
    };
    assert!(Webhook::from_fact(&stored).is_none());
}
