//! Publishes events to the partner's application: at once, or later from the outbox if the bus does not accept them.

use std::collections::VecDeque;

use dialog360::id::PartnerId;
use jiff::Timestamp;
use runtime::clock;
use runtime::event_bus::BusEvent;
use serde_json::value::RawValue;
use store::{Error, WaitingEvent};
use tokio::time::{Duration, Instant};

use crate::Fold;

/// How many waiting events are read in one page.
const PAGE: i32 = 50;

/// The run time that one page of waiting events may take: calls to the bus, at most 4 s each, and the writes
/// afterwards.
const PAGE_TIME: Duration = Duration::from_secs(8);

impl Fold {
    /// Publishes events, and puts those that the bus does not accept into the outbox. If that fails, returns the index
    /// of the first record to repeat.
    pub(crate) async fn publish(&self, events: Vec<(usize, BusEvent)>) -> Vec<usize> {
        let (places, events): (Vec<usize>, Vec<BusEvent>) = events.into_iter().unzip();
        let Err(not_taken) = self.bus.put(&events).await else {
            return Vec::new();
        };
        tracing::error!(
            why = not_taken.why,
            events = not_taken.places.len(),
            "events wait in the outbox"
        );
        let now = clock::now();
        for index in not_taken.places {
            let (Some(event), Some(place)) = (events.get(index), places.get(index)) else {
                continue;
            };
            if let Err(error) = self.outbox.keep(&to_waiting(event, now)).await {
                tracing::error!(%error, "events could not be put into the outbox: their records will be repeated");
                return vec![*place];
            }
        }
        Vec::new()
    }

    /// Sends the events of the outbox again, each once per run, page by page with the partners in turn. Gives up an
    /// event that has waited for a day. Begins no page that might not end before `until`.
    pub async fn send_again(&self, now: Timestamp, until: Instant) -> Result<(), Error> {
        let partners = self.settings.partner_ids.iter();
        let mut turns: VecDeque<(&PartnerId, Option<WaitingEvent>)> =
            partners.map(|partner| (partner, None)).collect();
        while let Some((partner, after)) = turns.pop_front() {
            if until.saturating_duration_since(Instant::now()) < PAGE_TIME {
                break;
            }
            let page = self.outbox.list(partner, after.as_ref(), PAGE).await?;
            if let Some(last) = page.last() {
                self.send_page(&page, now).await?;
                turns.push_back((partner, Some(last.clone())));
            }
        }
        Ok(())
    }

    async fn send_page(&self, page: &[WaitingEvent], now: Timestamp) -> Result<(), Error> {
        let events: Vec<BusEvent> = page.iter().map(to_bus_event).collect::<Result<_, _>>()?;
        let put = self.bus.put(&events).await;
        let not_taken = put.err().map_or_else(Vec::new, |error| error.places);
        for (place, event) in page.iter().enumerate() {
            if !not_taken.contains(&place) {
                self.outbox.remove(event).await?;
            } else if event.is_given_up(now) {
                let (partner, id) = (&event.partner, &event.id);
                tracing::error!(%partner, id, "the bus has not accepted an event for a day: it is given up");
                self.outbox.give_up(event, now).await?;
            }
        }
        Ok(())
    }
}

fn to_waiting(event: &BusEvent, now: Timestamp) -> WaitingEvent {
    WaitingEvent {
        partner: event.partner.clone(),
        id: event.id.clone(),
        detail_type: event.detail_type.clone(),
        detail: event.detail.get().to_owned(),
        put_at: now,
    }
}

fn to_bus_event(event: &WaitingEvent) -> Result<BusEvent, Error> {
    let detail = RawValue::from_string(event.detail.clone());
    Ok(BusEvent {
        partner: event.partner.clone(),
        id: event.id.clone(),
        detail_type: event.detail_type.clone(),
        detail: detail
            .map_err(|_| Error::Malformed("an event of the outbox"))?
            .into(),
    })
}
