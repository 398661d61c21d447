//! The events for the partner's application; `docs/events.md` describes them.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use dialog360::id::{ChannelId, PartnerId};
use jiff::Timestamp;
use onboarding::channel::ChannelView;
use onboarding::fact::{Fact, Source};
use runtime::clock;
use runtime::event_bus::{BusEvent, LARGEST_DETAIL, Unwritable};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::stream::Record;
use store::table::{Item, prefix};
use store::{Error, RawEvent, StoredBody, StoredChannel, StoredFact};

use tokio::time::{Instant, timeout_at};

use crate::Fold;

/// A channel changed in a field that `GET /channels` shows.
const CHANNEL_CHANGED: &str = "channel.changed";
/// 360dialog sent a webhook.
const HUB_EVENT: &str = "hub.event";

/// A change of this field alone is not published.
const UPDATED_AT: &str = "updated_at";

/// The content of a record.
#[derive(Default)]
pub(crate) struct RecordContent {
    /// A fact to join.
    pub(crate) fact: Option<Fact>,
    /// An event to publish.
    pub(crate) event: Option<BusEvent>,
}

/// The limits of a batch for large bodies.
pub(crate) struct Room {
    /// How many bytes they may still have together.
    pub(crate) bytes: usize,
    /// When the last read must have ended.
    pub(crate) until: Instant,
}

impl Fold {
    /// Reads the record of a fact, of a webhook without a channel, or of a channel. The error names the unreadable part.
    ///
    /// Large bodies are read as long as there is `room`.
    pub(crate) async fn read(
        &self,
        record: &Record,
        room: &mut Room,
    ) -> Result<RecordContent, &'static str> {
        let new = record.new.as_ref().ok_or("a record without its image")?;
        match record.kind() {
            prefix::RAW => {
                let raw = RawEvent::from_item(new).map_err(unreadable)?;
                let webhook = Webhook::from_raw(&raw);
                let event = Some(self.published(webhook, room).await.map_err(unwritable)?);
                Ok(RecordContent { fact: None, event })
            }
            prefix::FACT => {
                let stored = StoredFact::from_item(new).map_err(unreadable)?;
                let event = match Webhook::from_fact(&stored) {
                    Some(webhook) => Some(self.published(webhook, room).await.map_err(unwritable)?),
                    None => None,
                };
                let fact = Some(stored.fact);
                Ok(RecordContent { fact, event })
            }
            _ => read_channel(record, new),
        }
    }

    /// The event for a webhook, with its body if that can be read and is small enough for the bus.
    async fn published(
        &self,
        webhook: Webhook<'_>,
        room: &mut Room,
    ) -> Result<BusEvent, Unwritable> {
        let (size, apart) = match webhook.body {
            StoredBody::Here(body) => return webhook.to_event(Some(body)),
            StoredBody::Apart { size } => (*size, webhook.to_event(None)?),
        };
        if size > LARGEST_DETAIL || size > room.bytes {
            return Ok(apart);
        }
        room.bytes = room.bytes.saturating_sub(size);
        let (partner, id) = (webhook.partner, webhook.id);
        let read = self.bodies.read(partner, id, clock::now());
        let read = timeout_at(room.until, read).await;
        let slow = |_| Error::Unavailable("it is slow".to_owned());
        match read.unwrap_or_else(|elapsed| Err(slow(elapsed))) {
            Ok(Some(body)) => Ok(BusEvent {
                without_body: Some(apart.detail),
                ..webhook.to_event(Some(&body))?
            }),
            Ok(None) => Ok(apart),
            Err(error) => {
                tracing::warn!(%error, %partner, id, "a large body could not be read: its event, and those of the batch after it, are published without");
                room.bytes = 0;
                Ok(apart)
            }
        }
    }
}

fn unreadable(_: Error) -> &'static str {
    "an item that is not in the form we write"
}

fn unwritable(_: Unwritable) -> &'static str {
    "an event that cannot be written"
}

fn read_channel(record: &Record, new: &Item) -> Result<RecordContent, &'static str> {
    let new = StoredChannel::from_item(new).map_err(unreadable)?;
    // A repaired channel is published whole: what it was before cannot be read.
    let old = record.old.as_ref().map(StoredChannel::from_item);
    let old = old.and_then(Result::ok);
    let event = channel_changed(old.as_ref(), &new).map_err(unwritable)?;
    Ok(RecordContent { fact: None, event })
}

#[derive(Serialize)]
struct ChannelChanged<'a> {
    id: &'a str,
    partner_id: &'a PartnerId,
    version: i64,
    changed: BTreeSet<String>,
    channel: Map<String, Value>,
}

/// The event for a saved channel; `None` if it has no tenant, or if no shown field has changed.
fn channel_changed(
    old: Option<&StoredChannel>,
    new: &StoredChannel,
) -> Result<Option<BusEvent>, Unwritable> {
    let Some(view) = new.channel.view() else {
        return Ok(None);
    };
    let before = old.and_then(|old| old.channel.view());
    let (before, channel) = (
        before.as_ref().map(fields).unwrap_or_default(),
        fields(&view),
    );
    let is_changed = |(name, value): &(&String, &Value)| {
        name.as_str() != UPDATED_AT && before.get(*name).unwrap_or(&Value::Null) != *value
    };
    let changed: BTreeSet<String> = channel
        .iter()
        .filter(is_changed)
        .map(|(name, _)| name.clone())
        .collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let (partner_id, version) = (&view.partner_id, new.version);
    let id = format!("{partner_id}/{}/{version}", view.id);
    let detail = ChannelChanged {
        id: &id,
        partner_id,
        version,
        changed,
        channel,
    };
    BusEvent::new(partner_id, &id, CHANNEL_CHANGED, &detail).map(Some)
}

fn fields(view: &ChannelView) -> Map<String, Value> {
    match serde_json::to_value(view) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[derive(Serialize)]
struct HubEventDetail<'a> {
    id: &'a str,
    partner_id: &'a PartnerId,
    channel_id: Option<&'a ChannelId>,
    name: Option<&'a str>,
    received_at: String,
    /// The raw body, if it is JSON.
    event: Option<&'a RawValue>,
    /// The body, if it is not JSON.
    body_base64: Option<String>,
    /// Whether the body was left out because it is too large for the bus.
    is_body_omitted: bool,
}

/// A webhook, as a FACT or a RAW item holds it.
struct Webhook<'a> {
    id: &'a str,
    partner: &'a PartnerId,
    channel: Option<&'a ChannelId>,
    name: Option<&'a str>,
    received_at: Timestamp,
    body: &'a StoredBody,
}

impl<'a> Webhook<'a> {
    /// The webhook of a fact; `None` for a fact from another source.
    fn from_fact(StoredFact { fact, body }: &'a StoredFact) -> Option<Self> {
        Some(Self {
            id: fact.id.as_str(),
            partner: &fact.channel.partner,
            channel: Some(&fact.channel.channel),
            name: Some(fact.cause.as_str()).filter(|name| !name.is_empty()),
            received_at: fact.received_at,
            body: body.as_ref().filter(|_| fact.source == Source::Webhook)?,
        })
    }

    /// A webhook without a channel.
    fn from_raw(raw: &'a RawEvent) -> Self {
        Self {
            id: &raw.id,
            partner: &raw.partner,
            channel: None,
            name: raw.name.as_deref(),
            received_at: raw.received_at,
            body: &raw.body,
        }
    }

    /// The event with `body`; without it if there is none, or if it is too large for the bus.
    fn to_event(&self, body: Option<&[u8]>) -> Result<BusEvent, Unwritable> {
        let (event, body_base64) = body.map(json_or_base64).unwrap_or_default();
        let detail = HubEventDetail {
            id: self.id,
            partner_id: self.partner,
            channel_id: self.channel,
            name: self.name,
            received_at: self.received_at.to_string(),
            event,
            body_base64,
            is_body_omitted: body.is_none(),
        };
        let event = BusEvent::new(self.partner, self.id, HUB_EVENT, &detail)?;
        if body.is_none() || event.fits() {
            return Ok(event);
        }
        self.to_event(None)
    }
}

fn json_or_base64(body: &[u8]) -> (Option<&RawValue>, Option<String>) {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(json) => (Some(json), None),
        Err(_) => (None, Some(BASE64.encode(body))),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
