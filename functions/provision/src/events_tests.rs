//! What is told, and when nothing is.

use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Binding, Fact, Said};
use onboarding::hub_event::Stage;
use serde_json::json;

use super::*;

fn fact(second: i64, said: Said, cause: &str) -> Fact {
    let about = ("aPA".parse().unwrap(), "bCH".parse().unwrap());
    Fact::new(
        (&about.0, &about.1),
        Source::Webhook,
        said,
        Timestamp::from_second(second).unwrap(),
        cause,
    )
}

fn bound() -> Said {
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "cCL".parse().unwrap(),
        fresh: true,
    };
    Said {
        binding: Some(binding),
        ..Said::default()
    }
}

fn running() -> Said {
    Said {
        stage: Some(Stage::Running),
        ..Said::default()
    }
}

fn saved(version: i64, facts: &[Fact]) -> StoredChannel {
    let mut channel = Channel::unknown("aPA".parse().unwrap(), "bCH".parse().unwrap());
    channel.join_all(facts);
    StoredChannel { channel, version }
}

fn told(old: Option<&StoredChannel>, new: &StoredChannel) -> Option<Value> {
    let event = channel_changed(old, new).unwrap()?;
    assert_eq!(event.detail_type, "channel.changed");
    Some(serde_json::from_str(event.detail.get()).unwrap())
}

#[test]
fn a_channel_is_told_of_once_it_is_somebodys_and_then_when_what_is_shown_changes() {
    let unclaimed = saved(1, &[fact(1, running(), "channel_running")]);
    assert_eq!(told(None, &unclaimed), None);

    let all = [
        fact(1, running(), "channel_running"),
        fact(2, bound(), "claim"),
    ];
    let first = told(Some(&unclaimed), &saved(2, &all)).unwrap();
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
            "partner_id",
            "permission",
            "stage",
            "tenant"
        ]
    );

    // The same said again later changes only the time.
    let again = [
        all[0].clone(),
        all[1].clone(),
        fact(9, running(), "channel_status_running"),
    ];
    assert_eq!(told(Some(&saved(2, &all)), &saved(3, &again)), None);

    let live = Said {
        stage: Some(Stage::Live),
        ..Said::default()
    };
    let live = [
        all[0].clone(),
        all[1].clone(),
        fact(3, live, "channel_live"),
    ];
    assert_eq!(
        told(Some(&saved(3, &all)), &saved(4, &live)).unwrap()["changed"],
        json!(["stage"])
    );
}

fn from_hub(body: &[u8]) -> Value {
    serde_json::from_str(&text_from_hub(body)).unwrap()
}

fn text_from_hub(body: &[u8]) -> String {
    let stored = StoredFact {
        fact: fact(7, running(), "channel_running"),
        body: Some(body.to_vec()),
    };
    let event = of_fact(&stored).unwrap().unwrap();
    assert!(event.fits());
    assert_eq!(event.detail_type, "hub.event");
    event.detail.get().to_owned()
}

#[test]
fn a_webhook_is_told_as_it_came() {
    // To the letter, also what no double can hold.
    let body = r#"{"event":"channel_running", "n":1e999}"#;
    assert!(
        text_from_hub(body.as_bytes()).contains(&format!(r#""event":{body},"body_base64":null"#))
    );
    let told = from_hub(b"{}");
    assert_eq!(
        (&told["name"], &told["event"], &told["is_body_omitted"]),
        (&json!("channel_running"), &json!({}), &json!(false))
    );
    let told = from_hub(b"\xff no JSON");
    assert_eq!(
        (&told["event"], &told["body_base64"]),
        (&json!(null), &json!("/yBubyBKU09O"))
    );
}

#[test]
fn a_webhook_that_is_too_large_for_the_bus_is_told_without_its_body() {
    let told = from_hub(
        json!({"event": "x".repeat(256 * 1024)})
            .to_string()
            .as_bytes(),
    );
    assert_eq!(
        (&told["event"], &told["is_body_omitted"]),
        (&json!(null), &json!(true))
    );
}

#[test]
fn only_the_hub_s_own_facts_are_told_as_its_events() {
    let stored = StoredFact {
        fact: fact(7, bound(), "claim"),
        body: None,
    };
    assert!(of_fact(&stored).unwrap().is_none());
}
