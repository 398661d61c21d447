//! The port to the partner's application: EventBridge on AWS, lines of a file on one machine, or nobody.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;

/// The most an entry may hold with all its texts, bytes: 256 KiB, less room for what the bus counts besides.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html>
pub const LARGEST_DETAIL: usize = 250 * 1024;

/// The bus did not take an event; the message never holds one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("event bus: {0}")]
pub struct BusError(pub String);

/// An event for the partner's application: one of `docs/events.md`.
#[derive(Clone, Debug, Serialize)]
pub struct BusEvent {
    /// `channel.changed` or `hub.event`
    #[serde(rename = "detail-type")]
    pub detail_type: &'static str,
    /// A JSON object.
    pub detail: Arc<RawValue>,
}

impl BusEvent {
    /// An event of the type `detail_type` that says `detail`, which must be written as an object.
    pub fn new(detail_type: &'static str, detail: &impl Serialize) -> Result<Self, BusError> {
        let detail = serde_json::value::to_raw_value(detail)
            .map_err(|_| BusError("an event cannot be written".into()))?;
        Ok(Self {
            detail_type,
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
    /// Hands over `events`, in order; an error if any of them may not have been taken.
    async fn put(&self, events: &[BusEvent]) -> Result<(), BusError>;
}

/// Nobody listens.
pub struct NoBus;

#[async_trait]
impl EventBus for NoBus {
    async fn put(&self, _: &[BusEvent]) -> Result<(), BusError> {
        Ok(())
    }
}
