//! The events that the partner's application gets: `docs/events.md` describes them.

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

/// The field that says only when, not what.
const UPDATED_AT: &str = "updated_at";

/// What a record brings.
#[derive(Default)]
pub(crate) struct Read {
    /// A fact to be joined.
    pub(crate) fact: Option<Fact>,
    /// An event to be published.
    pub(crate) event: Option<BusEvent>,
}

/// Reads a record of a fact, of an event without a channel, or of a channel; the error says what cannot be read.
pub(crate) fn read(record: &Record) -> Result<Read, &'static str> {
    let new = record.new.as_ref().ok_or("a record without its image")?;
    let unreadable = |_: Error| "an item that is not in the form we write";
    let unwritable = |_: Unwritable| "an event that cannot be written";
    match record.kind() {
        prefix::RAW => {
            let raw = RawEvent::from_item(new).map_err(unreadable)?;
            let event = Some(event_of_raw(&raw).map_err(unwritable)?);
            Ok(Read { fact: None, event })
        }
        prefix::FACT => {
            let stored = StoredFact::from_item(new).map_err(unreadable)?;
            let event = event_of_fact(&stored).map_err(unwritable)?;
            let fact = Some(stored.fact);
            Ok(Read { fact, event })
        }
        _ => {
            let new = StoredChannel::from_item(new).map_err(unreadable)?;
            let old = record.old.as_ref().map(StoredChannel::from_item);
            let old = old.transpose().map_err(unreadable)?;
            let event = channel_changed(old.as_ref(), &new).map_err(unwritable)?;
            Ok(Read { fact: None, event })
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

/// The event of a save of a channel; `None` if it belongs to nobody, or nothing that is shown has changed.
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
    let is_new = |(name, value): &(&String, &Value)| {
        name.as_str() != UPDATED_AT && before.get(*name).unwrap_or(&Value::Null) != *value
    };
    let changed: BTreeSet<String> = channel
        .iter()
        .filter(is_new)
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
    /// The body to the letter, if it is JSON.
    event: Option<&'a RawValue>,
    /// The body, if it is not.
    body_base64: Option<String>,
    /// Whether the body was too large for the bus.
    is_body_omitted: bool,
}

impl HubEventDetail<'_> {
    /// With its body, or, if the bus does not take so much, without it.
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

/// The event of a webhook's fact; `None` for a fact from elsewhere.
fn event_of_fact(StoredFact { fact, body }: &StoredFact) -> Result<Option<BusEvent>, Unwritable> {
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

/// The event of a webhook without a channel.
fn event_of_raw(raw: &RawEvent) -> Result<BusEvent, Unwritable> {
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
