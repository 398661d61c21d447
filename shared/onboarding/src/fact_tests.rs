//! What a fact asserts, which kind it is and how long it is kept.

use dialog360::Field;
use dialog360::secret::Secret;
use dialog360::webhook::{UnverifiedEvent, sign_webhook};
use serde_json::json;

use super::*;

fn channel() -> ChannelRef {
    ChannelRef::new("xPA".parse().unwrap(), "xCH".parse().unwrap())
}

fn fact(assertion: Assertion, cause: &str) -> Fact {
    Fact::new(
        channel(),
        Source::Provision,
        assertion,
        Timestamp::UNIX_EPOCH,
        cause,
    )
}

fn event(body: &str) -> HubEvent {
    let secret = Secret::new("s");
    let header = sign_webhook(&secret, body.as_bytes());
    let event = UnverifiedEvent::new(body.into()).verify(Some(header.as_bytes()), &[&secret]);
    HubEvent::parse(event.unwrap().0).remove(0)
}

fn from_event(event: &HubEvent) -> Option<Fact> {
    Fact::from_event(&channel().partner, event, Timestamp::UNIX_EPOCH)
}

fn permission(permission: Permission) -> Assertion {
    Assertion {
        permission: Some(permission),
        ..Assertion::default()
    }
}

fn described(number: &str) -> Assertion {
    Assertion {
        client: Some("xCL".parse().unwrap()),
        description: [(Field::PhoneNumber, number.into())].into(),
        ..Assertion::default()
    }
}

#[test]
fn the_same_content_and_cause_is_the_same_fact_whenever_it_is_said() {
    let granted = || permission(Permission::Granted);
    assert_eq!(fact(granted(), "1").id, fact(granted(), "1").id);
    assert_ne!(fact(granted(), "1").id, fact(granted(), "2").id);
    let revoked = permission(Permission::Revoked);
    assert_ne!(fact(granted(), "1").id, fact(revoked, "1").id);
}

#[test]
fn only_unknown_events_stages_and_descriptions_are_forgotten() {
    let live = || Assertion {
        stage: Some(Stage::Live),
        ..described("1")
    };
    let with_key = |key| Assertion {
        key: Some(key),
        ..permission(Permission::Granted)
    };
    let waiting = KeyState::without_key(KeyStatus::Waiting, KeyReason::NotRunning);
    let stored = KeyState::stored(Some("1".into()));
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "xCL".parse().unwrap(),
        fresh: false,
    };
    let cancelled = |is_so| Assertion {
        cancelled: Some(is_so),
        ..live()
    };
    let revoked = Assertion {
        permission: Some(Permission::Revoked),
        ..live()
    };
    let claimed = Assertion {
        claimed: true,
        ..live()
    };
    let bound = Assertion {
        binding: Some(binding),
        ..with_key(stored.clone())
    };
    let webhook_set = Assertion {
        messaging_webhook: Some(MessagingWebhook::Set),
        ..described("1")
    };
    let kinds = [
        (Assertion::default(), Kind::Raw, true),
        (webhook_set, Kind::MessagingWebhook, false),
        (described("1"), Kind::Descriptive, true),
        (live(), Kind::Stage, true),
        (cancelled(true), Kind::Cancellation, false),
        (cancelled(false), Kind::Cancellation, false),
        (revoked, Kind::Permission, false),
        (claimed, Kind::Permission, false),
        (with_key(waiting), Kind::Key, false),
        (with_key(stored), Kind::KeyStored, false),
        (bound, Kind::Bound, false),
    ];
    let ninety_days = Timestamp::from_second(90 * 24 * 3600).unwrap();
    for (assertion, kind, is_forgotten) in kinds {
        let fact = fact(assertion, "");
        assert_eq!(fact.kind, kind);
        let expires_at = is_forgotten.then_some(ninety_days);
        assert_eq!(fact.expires_at(), expires_at, "{kind:?}");
        let source = Source::Operator;
        assert_eq!(Fact { source, ..fact }.expires_at(), None, "{kind:?}");
    }
}

#[test]
fn an_event_is_one_fact_named_by_its_bytes() {
    let event = event(r#"{"id":"evt_1","event":"channel_live","data":{"id":"xCH"}}"#);
    let fact = from_event(&event).unwrap();
    assert_eq!(fact.id.as_str(), event.id.as_str());
    assert_eq!((fact.channel, fact.source), (channel(), Source::Webhook));
    assert_eq!((fact.kind, &*fact.cause), (Kind::Stage, "channel_live"));
}

#[test]
fn a_grant_without_an_id_of_its_own_is_another_fact_in_another_hour() {
    let id_at = |body: &str, second| {
        let at = Timestamp::from_second(second).unwrap();
        let fact = Fact::from_event(&channel().partner, &event(body), at);
        fact.unwrap().id
    };
    let grant = r#"{"event":"channel_permission_granted","data":{"id":"xCH"}}"#;
    for (body, is_another) in [
        (grant, true),
        (&*grant.replacen('{', r#"{"id":null,"#, 1), true),
        (&*grant.replacen('{', r#"{"id":"","#, 1), true),
        (&*grant.replacen('{', r#"{"id":"evt_1","#, 1), false),
        (&*grant.replacen('{', r#"{"id":1,"#, 1), false),
        (&*grant.replace("granted", "revoked"), false),
        (
            &*grant.replace("channel_permission_granted", "cancellation_processed"),
            false,
        ),
    ] {
        let first = id_at(body, 7200);
        assert_eq!(first, id_at(body, 10_799), "{body}");
        assert_eq!(first != id_at(body, 10_800), is_another, "{body}");
    }
}

#[test]
fn an_event_asserts_what_its_name_and_its_data_say() {
    let asserted = |name: &str| {
        let data = r#"{"id":"xCH","client_id":"xCL","phone_number":"1"}"#;
        from_event(&event(&format!(r#"{{"event":"{name}","data":{data}}}"#)))
            .unwrap()
            .assertion
    };
    let live = Assertion {
        stage: Some(Stage::Live),
        ..described("1")
    };
    let revoked = Assertion {
        permission: Some(Permission::Revoked),
        ..described("1")
    };
    let cancelled = Assertion {
        cancelled: Some(true),
        ..described("1")
    };
    assert_eq!(asserted("channel_live"), live);
    assert_eq!(asserted("channel_permission_revoked"), revoked);
    assert_eq!(asserted("cancellation_processed"), cancelled);
    assert_eq!(asserted("channel_of_tomorrow"), Assertion::default());
}

#[test]
fn an_event_without_a_channel_is_no_fact() {
    let event = event(r#"{"event":"client_created","data":{"id":"xCL"}}"#);
    assert_eq!(from_event(&event), None);
}

#[test]
fn a_listed_channel_asserts_its_client_its_stage_and_what_describes_it() {
    let object = json!({
        "id": "xCH", "client_id": "xCL", "phone_number": "1", "hub_status": "live",
    });
    let expected = Assertion {
        stage: Some(Stage::Live),
        ..described("1")
    };
    let object = ChannelObject::parse(&object).unwrap();
    assert_eq!(Assertion::from(&object), expected);
}
