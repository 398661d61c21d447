//! What the partner's application is told: `docs/events.md` describes it.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use onboarding::channel::ChannelView;
use onboarding::fact::Source;
use onboarding::id::{ChannelId, PartnerId};
use platform::event_bus::{BusError, BusEvent};
use platform::store::{RawEvent, StoredChannel, StoredFact};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A channel changed in a field that `GET /channels` shows.
const CHANNEL_CHANGED: &str = "channel.changed";
/// The hub sent a webhook.
const HUB_EVENT: &str = "hub.event";

/// The field that says only when, not what.
const UPDATED_AT: &str = "updated_at";

#[derive(Serialize)]
struct ChannelChanged<'a> {
    id: String,
    partner_id: &'a PartnerId,
    version: i64,
    changed: BTreeSet<String>,
    channel: Map<String, Value>,
}

/// What a save of a channel tells; `None` if it belongs to nobody, or nothing that is shown has changed.
pub(crate) fn channel_changed(
    old: Option<&StoredChannel>,
    new: &StoredChannel,
) -> Result<Option<BusEvent>, BusError> {
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
    let (partner_id, version) = (&new.channel.partner, new.version);
    let id = format!("{partner_id}/{}/{version}", new.channel.id);
    BusEvent::new(
        CHANNEL_CHANGED,
        &ChannelChanged {
            id,
            partner_id,
            version,
            changed,
            channel,
        },
    )
    .map(Some)
}

fn fields(view: &ChannelView) -> Map<String, Value> {
    match serde_json::to_value(view) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[derive(Serialize)]
struct FromHub<'a> {
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

impl FromHub<'_> {
    /// With its body, or, if the bus does not take so much, without it.
    fn to_event(&self) -> Result<BusEvent, BusError> {
        let event = BusEvent::new(HUB_EVENT, self)?;
        if event.fits() {
            return Ok(event);
        }
        let without = FromHub {
            event: None,
            body_base64: None,
            is_body_omitted: true,
            received_at: self.received_at.clone(),
            ..*self
        };
        BusEvent::new(HUB_EVENT, &without)
    }
}

/// What a webhook's fact tells; `None` for a fact from elsewhere.
pub(crate) fn of_fact(
    StoredFact { fact, body }: &StoredFact,
) -> Result<Option<BusEvent>, BusError> {
    let Some(body) = body.as_ref().filter(|_| fact.source == Source::Webhook) else {
        return Ok(None);
    };
    let name = Some(fact.cause.as_str()).filter(|name| !name.is_empty());
    let (event, body_base64) = read(body);
    let event = FromHub {
        id: fact.id.as_str(),
        partner_id: &fact.partner,
        channel_id: Some(&fact.channel),
        name,
        received_at: fact.received_at.to_string(),
        event,
        body_base64,
        is_body_omitted: false,
    };
    event.to_event().map(Some)
}

/// What a webhook without a channel tells.
pub(crate) fn of_raw(raw: &RawEvent) -> Result<BusEvent, BusError> {
    let (event, body_base64) = read(&raw.body);
    let event = FromHub {
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

fn read(body: &[u8]) -> (Option<&RawValue>, Option<String>) {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(json) => (Some(json), None),
        Err(_) => (None, Some(BASE64.encode(body))),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
