//! Publishes events to the partner's application: at once, or later from the outbox if the bus does not accept them.

use std::collections::VecDeque;

use dialog360::id::PartnerId;
use jiff::Timestamp;
use runtime::clock;
use runtime::event_bus::{BusEvent, EventBus, NotTaken};
use runtime::metric::Metric;
use serde_json::value::RawValue;
use store::{Error, WaitingEvent};
use tokio::time::{Duration, Instant, timeout_at};

use crate::Fold;

/// How many waiting events are read in one page: those of one call to the bus, unless they are large.
const PAGE: i32 = 10;

/// The run time that is left for the outbox when the bus is waited for no longer.
const OUTBOX_TIME: Duration = Duration::from_secs(10);

/// The run time that one page of waiting events may take: calls to the bus, at most 4 s each, and the writes
/// afterwards.
const PAGE_TIME: Duration = Duration::from_secs(8);

impl Fold {
    /// Publishes events, and puts those that the bus does not accept in time into the outbox. If that fails, returns
    /// the index of the first record to repeat.
    pub(crate) async fn publish(
        &self,
        events: Vec<(usize, BusEvent)>,
        until: Instant,
    ) -> Vec<usize> {
        let Some(bus) = &self.bus else {
            return Vec::new();
        };
        let (places, events): (Vec<usize>, Vec<BusEvent>) = events.into_iter().unzip();
        let end = until.checked_sub(OUTBOX_TIME).unwrap_or(until);
        let put = timeout_at(end, bus.put(&events)).await;
        let Err(not_taken) =
            put.unwrap_or_else(|_| Err(NotTaken::all(&events, "the bus is slow".to_owned())))
        else {
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
    ///
    /// A partner whose events cannot be read or removed does not stop the others; the last such error is returned.
    pub async fn send_again(&self, now: Timestamp, until: Instant) -> Result<(), Error> {
        // Without a bus, what waits stays for the day there is one again.
        let Some(bus) = &self.bus else {
            return Ok(());
        };
        let partners = self.settings.partner_ids.iter();
        let mut turns: VecDeque<(&PartnerId, Option<String>)> =
            partners.map(|partner| (partner, None)).collect();
        let mut result = Ok(());
        while let Some((partner, after)) = turns.pop_front() {
            if until.saturating_duration_since(Instant::now()) < PAGE_TIME {
                break;
            }
            match self.send_page(&**bus, partner, after, now).await {
                Ok(None) => {}
                Ok(last) => turns.push_back((partner, last)),
                Err(error) => {
                    tracing::error!(%error, %partner, "events of the outbox could not be sent again");
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Sends a page of the outbox. Returns what the next page comes after; `None` if this one is empty.
    async fn send_page(
        &self,
        bus: &dyn EventBus,
        partner: &PartnerId,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<Option<String>, Error> {
        let page = self.outbox.list(partner, after.as_deref(), PAGE).await?;
        if page.unreadable > 0 {
            tracing::error!(%partner, events = page.unreadable, "events of the outbox cannot be read: they were skipped");
        }
        let readable = page.events.into_iter().filter_map(|waiting| {
            let event = to_bus_event(&waiting)?;
            Some((waiting, event))
        });
        let (waiting, events): (Vec<WaitingEvent>, Vec<BusEvent>) = readable.unzip();
        let not_taken = bus.put(&events).await.err();
        let (why, not_taken, tried) = match not_taken {
            None => (String::new(), Vec::new(), events.len()),
            Some(error) => (error.why, error.places, error.tried),
        };
        for (place, event) in waiting.iter().enumerate() {
            if !not_taken.contains(&place) {
                self.outbox.remove(event).await?;
            } else if place < tried && event.is_given_up(now) {
                let (partner, id) = (&event.partner, &event.id);
                tracing::error!(%partner, id, why, "the bus has not accepted an event for a day: it is given up");
                self.outbox.give_up(event, &why, now).await?;
                Metric::EventsGivenUp.count();
            }
        }
        Ok(page.last)
    }
}

fn to_waiting(event: &BusEvent, now: Timestamp) -> WaitingEvent {
    WaitingEvent {
        partner: event.partner.clone(),
        id: event.id.clone(),
        detail_type: event.detail_type.clone(),
        detail: event.detail_for_the_table().get().to_owned(),
        put_at: now,
    }
}

/// The event; `None`, with an error in the log, if its detail is not JSON.
fn to_bus_event(event: &WaitingEvent) -> Option<BusEvent> {
    let (partner, id) = (&event.partner, &event.id);
    let Ok(detail) = RawValue::from_string(event.detail.clone()) else {
        tracing::error!(%partner, id, "an event of the outbox cannot be read: it was skipped");
        return None;
    };
    Some(BusEvent {
        partner: partner.clone(),
        id: id.clone(),
        detail_type: event.detail_type.clone(),
        detail: detail.into(),
        without_body: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use runtime::aws::local;

    use super::*;
    use crate::Settings;

    /// Accepts nothing.
    struct Away;

    #[async_trait]
    impl EventBus for Away {
        async fn put(&self, events: &[BusEvent]) -> Result<(), NotTaken> {
            Err(NotTaken::all(events, "away".to_owned()))
        }
    }

    /// Accepts everything, after a while.
    struct Slow(Duration);

    #[async_trait]
    impl EventBus for Slow {
        async fn put(&self, _: &[BusEvent]) -> Result<(), NotTaken> {
            tokio::time::sleep(self.0).await;
            Ok(())
        }
    }

    /// `fold` with a table that nobody reaches.
    fn fold(bus: Option<Arc<dyn EventBus>>) -> Fold {
        let settings = Settings {
            table_name: "table".to_owned(),
            bodies_table_name: "bodies".to_owned(),
            partner_ids: "aPA".parse().unwrap(),
        };
        let table = local::table("http://127.0.0.1:1", "table");
        Fold::new(settings, table.clone(), table, bus)
    }

    fn in_seconds(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// Two events, of the records 3 and 5.
    fn events() -> Vec<(usize, BusEvent)> {
        let partner = "aPA".parse().unwrap();
        let event = |id: &str| BusEvent::new(&partner, id, "hub.event", &"x").unwrap();
        vec![(3, event("a")), (5, event("b"))]
    }

    /// I1
    #[tokio::test(start_paused = true)]
    async fn an_event_that_neither_bus_nor_outbox_takes_has_its_record_repeated() {
        let fold = fold(Some(Arc::new(Away)));
        assert_eq!(fold.publish(events(), in_seconds(60)).await, [3]);
    }

    /// I1
    #[tokio::test(start_paused = true)]
    async fn a_slow_bus_is_waited_for_until_only_the_outbox_s_time_is_left() {
        for (takes, repeated) in [(49, None), (51, Some(3))] {
            let fold = fold(Some(Arc::new(Slow(Duration::from_secs(takes)))));
            // Nobody reaches the outbox, so that the record has to be repeated.
            let failed = fold.publish(events(), in_seconds(60)).await;
            assert_eq!(failed.first().copied(), repeated, "{takes} s");
        }
    }

    /// I1
    #[tokio::test(start_paused = true)]
    async fn the_outbox_is_left_alone_without_a_bus() {
        for (bus, is_left_alone) in [(None, true), (Some(Arc::new(Away) as Arc<_>), false)] {
            let sent = fold(bus).send_again(clock::now(), in_seconds(60)).await;
            assert_eq!(sent.is_ok(), is_left_alone);
        }
    }
}
