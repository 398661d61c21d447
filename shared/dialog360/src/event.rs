//! The events of a partner webhook, read as far as they are understood and kept as they came.
//!
//! Reading never fails: what is not understood is an event with only its id and its bytes. The
//! stage comes from an event's *name*; `data.status` stays `ready` on live channels.
//! Source: <https://docs.360dialog.com/partner/onboarding/webhook-events-and-setup>.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::{Deserializer as _, MapAccess, Visitor};
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

/// The events that bring chats and contacts. Their `data.id` is a WhatsApp Business Account.
const CHATS: [&str; 2] = ["history", "smb_app_state_sync"];

/// The longest JSON text of a field that is read, bytes: longer ones are kept with the whole, and not understood.
const LONGEST_FIELD: usize = 16 * 1024;

/// The fields of the envelope that are read.
const ENVELOPE: [&str; 5] = ["id", "event", "type", "data", "payload"];

/// The JSON texts of an `id` that names nothing.
const NO_ID: [&str; 2] = ["null", "\"\""];

/// The fields of `data` that are read, beside those that describe a channel.
const DATA: [&str; 9] = [
    "id",
    "channel",
    "channel_id",
    "client",
    "client_id",
    "value",
    "cancelled_at",
    "hub_status",
    "waba_account",
];

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

    /// The id of the event with these bytes.
    pub fn hash(raw: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(raw)))
    }
}

impl FromStr for EventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 64 && text.bytes().all(is_digit);
        is_id
            .then(|| Self(text.to_owned()))
            .ok_or("an event id has 64 digits, 0-9 and a-f")
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
    /// Whether its envelope has an `id` of its own, so that the same bytes are surely the same event.
    pub has_own_id: bool,
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

    /// Whether it brings chats or contacts of a number that stays in the WhatsApp Business app: personal data.
    ///
    /// Source: <https://docs.360dialog.com/partner/onboarding/webhook-events-and-setup>, coexistence.
    pub fn holds_chats(&self) -> bool {
        match self.name.as_deref() {
            Some(name) => CHATS.contains(&name),
            // An array that is too long, or what is no JSON, may bring them all the same.
            None => CHATS.iter().any(|name| contains(&self.raw, name)),
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
            has_own_id: false,
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

    /// Reads an object without building what it does not need: a body may have megabytes of chats.
    fn read(element: &RawValue) -> Self {
        let kept = Self::kept(element.get().as_bytes());
        let Some(envelope) = fields(element.get(), |name| ENVELOPE.contains(&name)) else {
            return kept;
        };
        let named = |field| text(envelope.get(field).copied().and_then(value).as_ref());
        let mut event = kept.named(named("event").or_else(|| named("type")));
        let own = envelope.get("id").map(|id| id.get());
        event.has_own_id = own.is_some_and(|id| !NO_ID.contains(&id));
        if event.name.is_some() && event.holds_chats() {
            return event;
        }
        let is_read = |name: &str| DATA.contains(&name) || description::reads(name);
        let object = |field| fields(envelope.get(field).copied()?.get(), is_read);
        let data = object("data").or_else(|| object("payload"));
        let data = data.into_iter().flatten();
        let data = data.filter_map(|(name, raw)| Some((name, value(raw)?)));
        event.about(&data.collect())
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
        // A cancellation that is only asked for may be taken back.
        let is_request = name.starts_with("cancellation_");
        let mut description = description::read(data);
        if let Some(quality) = sample_quality(name, data) {
            description.entry(Field::Quality).or_insert(quality);
        }
        Self {
            channel: channel(data, is_channel),
            client: first_id([data.get("client_id"), data.pointer("/client/id")]),
            cancelled: self.cancelled || (is_channel && !is_request && shows_death(data)),
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

/// The fields of a JSON object whose names are `wanted`, unread; of two with one name the last. `None` if it is none.
fn fields(object: &str, wanted: impl Fn(&str) -> bool) -> Option<BTreeMap<String, &RawValue>> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Wanted(wanted)).ok()
}

/// Reads the wanted fields of an object.
struct Wanted<F>(F);

impl<'a, F: Fn(&str) -> bool> Visitor<'a> for Wanted<F> {
    type Value = BTreeMap<String, &'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(name) = map.next_key::<Cow<'a, str>>()? {
            let raw: &'a RawValue = map.next_value()?;
            if self.0(&name) {
                found.insert(name.into_owned(), raw);
            }
        }
        Ok(found)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let mut windows = bytes.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

/// The value of a field, unless it is too long.
fn value(raw: &RawValue) -> Option<Value> {
    let text = Some(raw.get()).filter(|text| text.len() <= LONGEST_FIELD);
    serde_json::from_str(text?).ok()
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
