//! EventBridge.

use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use crate::event_bus::{BusError, BusEvent, EventBus, LARGEST_DETAIL, SOURCE};
use crate::sdk_error::words;

/// The most entries of one call.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>
const MOST_ENTRIES: usize = 10;

/// What the bus says of an entry that it would not take the next time either: such a one must not block the others.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html>
const FOR_GOOD: [&str; 5] = [
    "InvalidArgument",
    "MalformedDetail",
    "NotAuthorizedForDetailTypeException",
    "NotAuthorizedForSourceException",
    "RedactionFailure",
];

/// One bus.
pub struct EventBridge {
    client: Client,
    name: String,
}

impl EventBridge {
    /// The bus `name` (or its ARN).
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
        }
    }

    fn entry(&self, event: &BusEvent) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(event.detail_type)
            .detail(event.detail.get())
            .build()
    }

    async fn put_call(&self, events: &[BusEvent]) -> Result<(), BusError> {
        let entries = events.iter().map(|event| self.entry(event)).collect();
        let put = self
            .client
            .put_events()
            .set_entries(Some(entries))
            .send()
            .await;
        let put = put.map_err(|error| BusError(words(&error).to_owned()))?;
        if put.failed_entry_count == 0 {
            return Ok(());
        }
        // The whole call was answered 200 all the same; what was taken comes again with the rest.
        let codes = || {
            put.entries
                .iter()
                .flatten()
                .filter_map(|entry| entry.error_code.as_deref())
        };
        for code in codes().filter(|code| FOR_GOOD.contains(code)) {
            tracing::error!(code, "an event was passed: the bus will never take it");
        }
        match codes().find(|code| !FOR_GOOD.contains(code)) {
            Some(code) => Err(BusError(code.to_owned())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl EventBus for EventBridge {
    async fn put(&self, events: &[BusEvent]) -> Result<(), BusError> {
        let mut call: Vec<BusEvent> = Vec::new();
        let mut size = 0_usize;
        for event in events {
            let length = event.detail.get().len();
            if call.len() == MOST_ENTRIES
                || (!call.is_empty() && size.saturating_add(length) > LARGEST_DETAIL)
            {
                self.put_call(&call).await?;
                (call, size) = (Vec::new(), 0);
            }
            size = size.saturating_add(length);
            call.push(event.clone());
        }
        if call.is_empty() {
            Ok(())
        } else {
            self.put_call(&call).await
        }
    }
}
