//! The port for events to the partner's application: EventBridge on AWS, a file on one machine.

use std::sync::Arc;

use async_trait::async_trait;
use dialog360::id::PartnerId;
use serde::Serialize;
use serde_json::value::RawValue;

/// The largest detail of an event, bytes. An entry may have 1 MiB since January 2026; the rest is for its other fields.
/// Source: <https://aws.amazon.com/blogs/compute/more-room-to-build-serverless-services-now-support-payloads-up-to-1-mb/>
pub const LARGEST_DETAIL: usize = 1_000_000;

/// An event cannot be written as JSON. The message never quotes it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an event cannot be written")]
pub struct Unwritable;

/// The bus has not accepted all events. The message never quotes one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event bus: {why}")]
pub struct NotTaken {
    /// The bus's error for the last of them.
    pub why: String,
    /// Their indexes in the list that was put, ascending. Some of them may have been accepted all the same.
    pub places: Vec<usize>,
    /// How many of the list, from its beginning, were tried.
    pub tried: usize,
}

impl NotTaken {
    /// None of `events`, all of which were tried, is known to have been accepted.
    pub fn all(events: &[BusEvent], why: String) -> Self {
        Self {
            why,
            places: (0..events.len()).collect(),
            tried: events.len(),
        }
    }
}

/// An event for the partner's application: one of `docs/events.md`.
#[derive(Clone, Debug, Serialize)]
pub struct BusEvent {
    /// The partner it is about.
    #[serde(skip)]
    pub partner: PartnerId,
    /// The `id` in its detail. The same event always has the same id.
    #[serde(skip)]
    pub id: String,
    /// `channel.changed` or `hub.event`
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// A JSON object.
    pub detail: Arc<RawValue>,
    /// The detail without a body that must not lie in the table: it is large, or holds chats.
    #[serde(skip)]
    pub without_body: Option<Arc<RawValue>>,
}

impl BusEvent {
    /// The event `id` of the type `detail_type`. `detail` must serialize to an object with this `id`.
    pub fn new(
        partner: &PartnerId,
        id: &str,
        detail_type: &str,
        detail: &impl Serialize,
    ) -> Result<Self, Unwritable> {
        let detail = serde_json::value::to_raw_value(detail).map_err(|_| Unwritable)?;
        Ok(Self {
            partner: partner.clone(),
            id: id.to_owned(),
            detail_type: detail_type.to_owned(),
            detail: detail.into(),
            without_body: None,
        })
    }

    /// The detail as it may wait in the table.
    pub fn detail_for_the_table(&self) -> &RawValue {
        self.without_body.as_ref().unwrap_or(&self.detail)
    }

    /// Whether the event is small enough for the bus.
    pub fn fits(&self) -> bool {
        self.detail.get().len() <= LARGEST_DETAIL
    }
}

/// The `source` of all events.
pub const SOURCE: &str = "360dialog.onboarding";

/// A bus for events. It may deliver an event more than once, with the same `id` in its detail.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Puts `events`, in order. The error names those that may not have been accepted.
    async fn put(&self, events: &[BusEvent]) -> Result<(), NotTaken>;
}
