//! The port to the partner's application: EventBridge on AWS, lines of a file on one machine, or nobody.

use std::sync::Arc;

use async_trait::async_trait;
use dialog360::id::PartnerId;
use serde::Serialize;
use serde_json::value::RawValue;

/// The most an entry may hold with all its texts, bytes: 256 KiB, less room for what the bus counts besides.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html>
pub const LARGEST_DETAIL: usize = 250 * 1024;

/// An event cannot be written as JSON; the message never holds one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an event cannot be written")]
pub struct Unwritable;

/// The bus has not taken all events; the message never holds one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event bus: {why}")]
pub struct NotTaken {
    /// What the bus said of the last of them.
    pub why: String,
    /// Their places in the list that was put, ascending. Some of them may have been taken all the same.
    pub places: Vec<usize>,
}

/// An event for the partner's application: one of `docs/events.md`.
#[derive(Clone, Debug, Serialize)]
pub struct BusEvent {
    /// The partner it is about.
    #[serde(skip)]
    pub partner: PartnerId,
    /// The `id` in its detail; the same event always has the same.
    #[serde(skip)]
    pub id: String,
    /// `channel.changed` or `hub.event`
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// A JSON object.
    pub detail: Arc<RawValue>,
}

impl BusEvent {
    /// The event `id` of the type `detail_type` that says `detail`, which must be written as an object with this `id`.
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
        })
    }

    /// Whether the bus takes so much.
    pub fn fits(&self) -> bool {
        self.detail.get().len() <= LARGEST_DETAIL
    }
}

/// What all events say of their origin.
pub const SOURCE: &str = "360dialog.onboarding";

/// Where events go. An event may come more than once, with the same `id` in its detail.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Hands over `events`, in order; an error names those that may not have been taken.
    async fn put(&self, events: &[BusEvent]) -> Result<(), NotTaken>;
}

/// Nobody listens.
pub struct NoBus;

#[async_trait]
impl EventBus for NoBus {
    async fn put(&self, _: &[BusEvent]) -> Result<(), NotTaken> {
        Ok(())
    }
}
