//! EventBridge.

use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use crate::event_bus::{BusEvent, EventBus, LARGEST_DETAIL, NotTaken, SOURCE};
use store::sdk_error::code;

/// How many entries one call may have.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>
const MOST_ENTRIES: usize = 10;

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
            .detail_type(&event.detail_type)
            .detail(event.detail.get())
            .build()
    }

    /// Makes one call. Returns the indexes of the events that the bus refused, and its error codes. The error is the
    /// code of a call that failed.
    async fn put_call(&self, events: &[BusEvent]) -> Result<(Vec<usize>, Vec<String>), String> {
        let entries = events.iter().map(|event| self.entry(event)).collect();
        let put = self.client.put_events().set_entries(Some(entries));
        let put = put.send().await.map_err(|error| code(&error).to_owned())?;
        // The call is answered 200 even if some or all entries were refused.
        let results = put.entries.unwrap_or_default().into_iter().enumerate();
        let refused = results.filter_map(|(place, entry)| Some((place, entry.error_code?)));
        Ok(refused.unzip())
    }
}

/// The end index of a call that begins at `from`: at most ten events, and at most `LARGEST_DETAIL` bytes.
fn end_of_call(events: &[BusEvent], from: usize) -> usize {
    let mut size = 0_usize;
    let rest = events.iter().enumerate().skip(from).take(MOST_ENTRIES);
    let fits = rest.take_while(|(place, event)| {
        size = size.saturating_add(event.detail.get().len());
        *place == from || size <= LARGEST_DETAIL
    });
    fits.last()
        .map_or(from, |(place, _)| place.saturating_add(1))
}

#[async_trait]
impl EventBus for EventBridge {
    async fn put(&self, events: &[BusEvent]) -> Result<(), NotTaken> {
        let mut not_taken = NotTaken {
            why: String::new(),
            places: Vec::new(),
            tried: 0,
        };
        while not_taken.tried < events.len() {
            let (from, end) = (not_taken.tried, end_of_call(events, not_taken.tried));
            not_taken.tried = end;
            match self
                .put_call(events.get(from..end).unwrap_or_default())
                .await
            {
                Ok((refused, codes)) => {
                    let places = refused.into_iter().map(|place| from.saturating_add(place));
                    not_taken.places.extend(places);
                    not_taken.why = codes.into_iter().last().unwrap_or(not_taken.why);
                }
                // A bus that fails is not called again now: each call may take seconds.
                Err(why) => {
                    not_taken.why = why;
                    not_taken.places.extend(from..events.len());
                    break;
                }
            }
        }
        if not_taken.places.is_empty() {
            Ok(())
        } else {
            Err(not_taken)
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};

    use super::*;
    use crate::sdk_connector;

    #[test]
    fn a_call_has_at_most_ten_events_and_a_million_bytes() {
        let partner = "aPA".parse().unwrap();
        let event =
            |length: usize| BusEvent::new(&partner, "1", "hub.event", &"x".repeat(length)).unwrap();
        let small: Vec<BusEvent> = (0..25).map(|_| event(1)).collect();
        let ends = [0, 10, 20, 25].map(|from| end_of_call(&small, from));
        assert_eq!(ends, [10, 20, 25, 25]);
        let large = [
            event(LARGEST_DETAIL / 2),
            event(LARGEST_DETAIL / 2),
            event(LARGEST_DETAIL),
        ];
        assert_eq!([0, 1, 2].map(|from| end_of_call(&large, from)), [1, 2, 3]);
    }

    /// I1
    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_a_call_that_fails_is_not_taken_either() {
        let nobody_listens = aws_sdk_eventbridge::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .endpoint_url("http://127.0.0.1:1")
            .http_client(sdk_connector::without_tls())
            .build();
        let bus = EventBridge::new(Client::from_conf(nobody_listens), "bus");
        let partner = "aPA".parse().unwrap();
        let event = || BusEvent::new(&partner, "1", "hub.event", &"x").unwrap();
        let events: Vec<BusEvent> = (0..25).map(|_| event()).collect();
        let not_taken = bus.put(&events).await.unwrap_err();
        assert_eq!(not_taken.places, (0..25).collect::<Vec<_>>());
        assert_eq!(not_taken.tried, 10);
    }
}
