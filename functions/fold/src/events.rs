//! The events for the partner's application; `docs/events.md` describes them.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use dialog360::id::{ChannelId, PartnerId};
use onboarding::channel::ChannelView;
use onboarding::fact::{Fact, Source};
use runtime::event_bus::{BusEvent, Unwritable};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::stream::Record;
use store::table::prefix;
use store::{Error, RawEvent, StoredChannel, StoredFact};

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

/// Reads the record of a fact, of a webhook without a channel, or of a channel. The error names the unreadable part.
pub(crate) fn read(record: &Record) -> Result<RecordContent, &'static str> {
    let new = record.new.as_ref().ok_or("a record without its image")?;
    let unreadable = |_: Error| "an item that is not in the form we write";
    let unwritable = |_: Unwritable| "an event that cannot be written";
    match record.kind() {
        prefix::RAW => {
            let raw = RawEvent::from_item(new).map_err(unreadable)?;
            let event = Some(event_from_raw(&raw).map_err(unwritable)?);
            Ok(RecordContent { fact: None, event })
        }
        prefix::FACT => {
            let stored = StoredFact::from_item(new).map_err(unreadable)?;
            let event = event_from_fact(&stored).map_err(unwritable)?;
            let fact = Some(stored.fact);
            Ok(RecordContent { fact, event })
        }
        _ => {
            let new = StoredChannel::from_item(new).map_err(unreadable)?;
            // A repaired channel is published whole: what it was before cannot be read.
            let old = record.old.as_ref().map(StoredChannel::from_item);
            let old = old.and_then(Result::ok);
            let event = channel_changed(old.as_ref(), &new).map_err(unwritable)?;
            Ok(RecordContent { fact: None, event })
        }
    }
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

impl HubEventDetail<'_> {
    /// The event with its body, or without it if it is too large for the bus.
    fn to_event(&self) -> Result<BusEvent, Unwritable> {
        let event = BusEvent::new(self.partner_id, self.id, HUB_EVENT, self)?;
        if event.fits() {
            return Ok(event);
        }
        let without = HubEventDetail {
            event: None,
            body_base64: None,
            is_body_omitted: true,
            received_at: self.received_at.clone(),
            ..*self
        };
        BusEvent::new(self.partner_id, self.id, HUB_EVENT, &without)
    }
}

/// The event for a webhook's fact; `None` for a fact from another source.
fn event_from_fact(StoredFact { fact, body }: &StoredFact) -> Result<Option<BusEvent>, Unwritable> {
    let Some(body) = body.as_ref().filter(|_| fact.source == Source::Webhook) else {
        return Ok(None);
    };
    let name = Some(fact.cause.as_str()).filter(|name| !name.is_empty());
    let (event, body_base64) = json_or_base64(body);
    let event = HubEventDetail {
        id: fact.id.as_str(),
        partner_id: &fact.channel.partner,
        channel_id: Some(&fact.channel.channel),
        name,
        received_at: fact.received_at.to_string(),
        event,
        body_base64,
        is_body_omitted: false,
    };
    event.to_event().map(Some)
}

/// The event for a webhook without a channel.
fn event_from_raw(raw: &RawEvent) -> Result<BusEvent, Unwritable> {
    let (event, body_base64) = json_or_base64(&raw.body);
    let event = HubEventDetail {
        id: &raw.id,
        partner_id: &raw.partner,
        channel_id: None,
        name: raw.name.as_deref(),
        received_at: raw.received_at.to_string(),
        event,
        body_base64,
        is_body_omitted: false,
    };
    event.to_event()
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
