//! The events of a partner webhook, read as far as they are understood and kept as they came.
//!
//! Reading never fails: what is not understood is an event with only its id and its bytes. The
//! stage comes from an event's *name*; `data.status` stays `ready` on live channels.
//! Source: <https://docs.360dialog.com/partner/onboarding/webhook-events-and-setup>.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::channel::shows_death;
use crate::description::{self, Description, Field, text};
use crate::id::{ChannelId, ClientId};
use crate::webhook::VerifiedEvent;

/// Most events that one webhook may carry as an array; each is one write.
const EVENTS_MAX: usize = 25;

/// What names an event: the SHA-256 of the raw bytes of its element, in lower-case hexadecimal.
///
/// 360dialog's own `id` is not used: whether it is unique, and stable across retries, is unknown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hash(raw: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(raw)))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a number has come; later is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The channel exists.
    Created,
    /// Its set-up is done. It cannot have a key yet.
    Ready,
    /// It runs: a key can be made.
    Running,
    /// It is live.
    Live,
}

/// What the client decided about the partner's right to make keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Keys may be made.
    Granted,
    /// No more keys may be made.
    Revoked,
}

/// One event, as far as it is understood. A field that is absent, too long or of another shape is
/// `None`; `raw` always holds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubEvent {
    /// What names it; the same bytes have the same id.
    pub id: EventId,
    /// `event` or `type`, at most 256 characters; it need not be one we know.
    pub name: Option<String>,
    /// The channel it is about.
    pub channel: Option<ChannelId>,
    /// The client it is about.
    pub client: Option<ClientId>,
    /// The stage that the event's name announces.
    pub stage: Option<Stage>,
    /// The permission that the event's name announces.
    pub permission: Option<Permission>,
    /// Whether the channel is dead: its cancellation has been carried out, or its data shows it.
    pub cancelled: bool,
    /// What describes the channel.
    pub description: Description,
    /// The element's own bytes, exactly as received.
    pub raw: Vec<u8>,
}

impl HubEvent {
    /// Reads one webhook: an object is one event, an array of 1 to 25 is one event per element.
    ///
    /// Never fails and never returns nothing: anything else is one event with only `id` and `raw`.
    pub fn parse(event: VerifiedEvent) -> Vec<Self> {
        let body = event.bytes();
        let Ok(whole) = serde_json::from_slice::<&RawValue>(body) else {
            return vec![Self::kept(body)];
        };
        if whole.get().starts_with('{') {
            return vec![Self::read(whole)];
        }
        match serde_json::from_str::<Vec<&RawValue>>(whole.get()) {
            Ok(all) if (1..=EVENTS_MAX).contains(&all.len()) => {
                all.into_iter().map(Self::read).collect()
            }
            _ => vec![Self::kept(body)],
        }
    }

    /// Whether the name is one that changes a channel, and a channel is named.
    pub fn is_understood(&self) -> bool {
        self.channel.is_some()
            && self
                .name
                .as_deref()
                .is_some_and(|name| meaning(name).is_some())
    }

    fn kept(raw: &[u8]) -> Self {
        Self {
            id: EventId::hash(raw),
            name: None,
            channel: None,
            client: None,
            stage: None,
            permission: None,
            cancelled: false,
            description: Description::new(),
            raw: raw.to_vec(),
        }
    }

    fn read(element: &RawValue) -> Self {
        let kept = Self::kept(element.get().as_bytes());
        let Ok(envelope @ Value::Object(_)) = serde_json::from_str(element.get()) else {
            return kept;
        };
        let name = text(envelope.get("event")).or_else(|| text(envelope.get("type")));
        let data = object(envelope.get("data")).or_else(|| object(envelope.get("payload")));
        kept.named(name).about(data.unwrap_or(&Value::Null))
    }

    fn named(self, name: Option<String>) -> Self {
        let mut event = Self { name, ..self };
        match event.name.as_deref().and_then(meaning) {
            Some(Meaning::Stage(stage)) => event.stage = Some(stage),
            Some(Meaning::Permission(permission)) => event.permission = Some(permission),
            Some(Meaning::Cancelled) => event.cancelled = true,
            Some(Meaning::Description) | None => {}
        }
        event
    }

    fn about(self, data: &Value) -> Self {
        let name = self.name.as_deref().unwrap_or_default();
        let is_channel = data_is_the_channel(name);
        let mut description = description::read(data);
        if let Some(quality) = sample_quality(name, data) {
            description.entry(Field::Quality).or_insert(quality);
        }
        Self {
            channel: channel(data, is_channel),
            client: first_id([data.get("client_id"), data.pointer("/client/id")]),
            cancelled: self.cancelled || (is_channel && shows_death(data)),
            description,
            ..self
        }
    }
}

/// What a name that we know says about a channel.
#[derive(Clone, Copy)]
enum Meaning {
    Stage(Stage),
    Permission(Permission),
    Cancelled,
    Description,
}

fn meaning(name: &str) -> Option<Meaning> {
    Some(match name {
        "channel_created" => Meaning::Stage(Stage::Created),
        "channel_ready" => Meaning::Stage(Stage::Ready),
        "channel_running" | "channel_status_running" => Meaning::Stage(Stage::Running),
        "channel_live" => Meaning::Stage(Stage::Live),
        "channel_permission_granted" => Meaning::Permission(Permission::Granted),
        "channel_permission_revoked" => Meaning::Permission(Permission::Revoked),
        "cancellation_processed" => Meaning::Cancelled,
        "phone_number_quality_changed" => Meaning::Description,
        _ => return None,
    })
}

/// Whether `data` is the channel, so that `data.id` names it. Elsewhere it may name anything.
fn data_is_the_channel(name: &str) -> bool {
    name.starts_with("channel_")
        || name.starts_with("cancellation_")
        || name == "phone_number_quality_changed"
}

fn channel(data: &Value, is_channel: bool) -> Option<ChannelId> {
    let own = data.get("id").filter(|_| is_channel);
    first_id([own, data.get("channel"), data.get("channel_id")])
}

fn first_id<Id: std::str::FromStr, const N: usize>(values: [Option<&Value>; N]) -> Option<Id> {
    values
        .into_iter()
        .flatten()
        .find_map(|value| value.as_str()?.parse().ok())
}

/// The documentation's sample writes a new quality as `payload.value`.
fn sample_quality(name: &str, data: &Value) -> Option<String> {
    let is_quality = name == "phone_number_quality_changed";
    text(data.get("value").filter(|_| is_quality))
}

fn object(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| value.is_object())
}

#[cfg(test)]
mod tests {
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
        let event = one(
            r#"{"type":"phone_number_quality_changed","payload":{"channel":"aCH","value":"RED"}}"#,
        );
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
}
