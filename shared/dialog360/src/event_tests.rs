//! Tests of how events are read.

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::webhook::{UnverifiedEvent, sign_webhook};

fn parse(body: impl AsRef<[u8]>) -> Vec<HubEvent> {
    let (body, secret) = (body.as_ref(), Secret::new("s"));
    let header = sign_webhook(&secret, body);
    let event = UnverifiedEvent::new(body.to_vec());
    HubEvent::parse(event.verify(Some(header.as_bytes()), &[&secret]).unwrap().0)
}

fn one(body: &str) -> HubEvent {
    let [event] = parse(body).try_into().unwrap();
    event
}

fn id(text: &str) -> Option<ChannelId> {
    Some(text.parse().unwrap())
}

#[test]
fn a_real_body_is_read() {
    let body = r#"{"id":"evt_1","event":"channel_live","data":{"id":"tlbN64CH","status":"ready","account_mode":"live","phone_number":"15553785635","phone_name":"Homolog"}}"#;
    let event = one(body);
    assert!(event.is_understood());
    assert_eq!(
        (event.channel, event.stage),
        (id("tlbN64CH"), Some(Stage::Live))
    );
    assert_eq!(event.description[&Field::PhoneNumber], "15553785635");
    assert_eq!(event.description[&Field::DisplayName], "Homolog");
    assert_eq!(event.raw, body.as_bytes());
}

#[test]
fn an_event_is_named_by_the_sha256_of_its_bytes() {
    let id = one("{}").id;
    let expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!((id.as_str(), &*id.to_string()), (expected, expected));
}

#[test]
fn type_and_payload_are_read_like_event_and_data() {
    let event =
        one(r#"{"type":"phone_number_quality_changed","payload":{"channel":"aCH","value":"RED"}}"#);
    assert!(event.is_understood());
    assert_eq!(
        (event.channel, event.description[&Field::Quality].as_str()),
        (id("aCH"), "RED")
    );
}

#[test]
fn the_stage_comes_from_the_name_alone() {
    for (name, stage) in [
        ("channel_created", Some(Stage::Created)),
        ("channel_ready", Some(Stage::Ready)),
        ("channel_running", Some(Stage::Running)),
        ("channel_status_running", Some(Stage::Running)),
        ("channel_live", Some(Stage::Live)),
        ("channel_submitted", None),
    ] {
        let event = one(&format!(
            r#"{{"event":"{name}","data":{{"id":"aCH","status":"live"}}}}"#
        ));
        assert_eq!((event.channel, event.stage), (id("aCH"), stage), "{name}");
        assert_eq!(
            one(std::str::from_utf8(&event.raw).unwrap()).is_understood(),
            stage.is_some()
        );
    }
    assert!(Stage::Created < Stage::Ready && Stage::Running < Stage::Live);
}

#[test]
fn permission_and_cancellation_come_from_the_name() {
    let event = |name| one(&format!(r#"{{"event":"{name}","data":{{"id":"aCH"}}}}"#));
    assert_eq!(
        event("channel_permission_granted").permission,
        Some(Permission::Granted)
    );
    assert_eq!(
        event("channel_permission_revoked").permission,
        Some(Permission::Revoked)
    );
    assert!(event("cancellation_processed").cancelled);
    assert!(!event("cancellation_request").cancelled);
    assert_eq!(event("cancellation_request").channel, id("aCH"));
    let dead = one(r#"{"event":"channel_live","data":{"id":"aCH","hub_status":"deleted"}}"#);
    assert!(dead.cancelled);
    let asked =
        one(r#"{"event":"cancellation_request","data":{"id":"aCH","cancelled_at":"2026-04-09"}}"#);
    assert!(!asked.cancelled);
}

#[test]
fn the_id_of_something_else_is_no_channel() {
    let event = one(r#"{"event":"client_created","data":{"id":"oaY9LLfUCL"}}"#);
    assert_eq!(
        (event.channel.clone(), event.is_understood()),
        (None, false)
    );
    let event = one(
        r#"{"event":"account_violation","data":{"id":"x","channel_id":"aCH","created_at":"2026-04-09T12:00:00Z"}}"#,
    );
    assert_eq!(event.channel, id("aCH"));
}

#[test]
fn the_id_in_a_history_is_no_channel_and_its_chats_are_not_read() {
    for name in ["history", "smb_app_state_sync"] {
        let chats = "x".repeat(100_000);
        let event = one(&format!(
            r#"{{"id":"evt_1","event":"{name}","data":{{"id":"aCH","channel":"bCH","chats":"{chats}"}}}}"#
        ));
        assert!(event.holds_chats() && !event.is_understood());
        assert_eq!((event.channel, event.client), (None, None));
    }
    let template =
        one(r#"{"event":"waba_template_status_changed","data":{"id":"aWABA","status":"x"}}"#);
    assert_eq!(
        (template.channel.clone(), template.holds_chats()),
        (None, false)
    );
    assert!(!one(r#"{"event":"channel_live","data":{"id":"aCH"}}"#).holds_chats());
    // What cannot be read as an event may bring chats, too.
    let many = vec![r#"{"event":"history"}"#; 26].join(",");
    for unreadable in [format!("[{many}]"), r#"{"event":"history","#.to_owned()] {
        assert!(one(&unreadable).holds_chats(), "{unreadable}");
    }
    assert!(!one("no JSON").holds_chats());
}

#[test]
fn a_field_that_is_too_long_is_left_out_and_the_last_of_two_counts() {
    let long = "x".repeat(LONGEST_FIELD);
    let event = one(&format!(
        r#"{{"event":"channel_live","data":{{"id":"aCH","client":{{"id":"xCL","note":"{long}"}},"other":"{long}","id":"bCH","phone_number":"1"}}}}"#
    ));
    assert_eq!((event.channel, event.client), (id("bCH"), None));
    assert_eq!(event.description[&Field::PhoneNumber], "1");
}

#[test]
fn an_event_id_has_64_digits() {
    let id = EventId::hash(b"x");
    assert_eq!(id.as_str().parse(), Ok(id.clone()));
    for bad in ["", "x", &id.as_str()[1..], &id.as_str().to_uppercase()] {
        assert!(bad.parse::<EventId>().is_err(), "{bad}");
    }
}

#[test]
fn a_bad_id_is_not_taken_over_and_the_event_is_kept() {
    let body = r#"{"event":"channel_live","data":{"id":"../x","client_id":7}}"#;
    let event = one(body);
    assert!(!event.is_understood());
    assert_eq!((event.channel, event.client), (None, None));
    assert_eq!(event.raw, body.as_bytes());
}

#[test]
fn the_client_is_named_in_two_ways() {
    for client in [r#""client":{"id":"xCL"}"#, r#""client_id":"xCL""#] {
        let body = format!(r#"{{"event":"channel_running","data":{{"id":"aCH",{client}}}}}"#);
        assert_eq!(one(&body).client.unwrap().as_str(), "xCL");
    }
}

#[test]
fn each_element_of_an_array_has_its_own_bytes_and_id() {
    let (a, b) = (r#"{ "event":"channel_live","data":{"id":"aCH"} }"#, "7");
    let events = parse(format!(" [ {a} ,\n{b}]"));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], one(a));
    assert_eq!(events[1], one(b));
}

#[test]
fn what_is_no_event_is_kept_whole() {
    let many = format!("[{}]", vec!["{}"; 26].join(","));
    let deep = "[".repeat(100_000);
    for body in ["", "[]", "null", "\"x\"", "{", "{} {}", &many, &deep] {
        let event = one(body);
        assert_eq!(event, HubEvent::kept(body.as_bytes()));
    }
    assert_eq!(parse(b"\xff\x00")[0].raw, b"\xff\x00");
    assert_eq!(parse(format!("[{}]", vec!["{}"; 25].join(","))).len(), 25);
}

proptest! {
    #[test]
    fn no_body_is_fatal_and_none_is_lost(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!parse(body).is_empty());
    }

    #[test]
    fn an_event_of_any_shape_is_kept(name in ".*", value in "null|1|\"x\"|\\[\\]|\\{\\}", field in "id|client|setup_info|created_at|value") {
        let name = serde_json::to_string(&name).unwrap();
        let body = format!(r#"{{"event":{name},"data":{{"{field}":{value}}}}}"#);
        prop_assert_eq!(one(&body).raw, body.into_bytes());
    }
}
