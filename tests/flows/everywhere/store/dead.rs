//! Events that were given up: listed without their details, and put back once.

use jiff::Timestamp;
use store::table::{EXPIRES_AT, Table};
use store::{DeadEvent, DeadEvents, Outbox, WaitingEvent};

use super::{Succeeds, after, items_of, number_of, other_partner, partner};

contract! {
    what_was_given_up_is_listed_by_age_and_for_its_partner_alone,
    an_event_that_is_put_back_waits_as_if_it_were_new,
}

fn waiting(id: &str, put_at: Timestamp) -> WaitingEvent {
    WaitingEvent {
        partner: partner(),
        id: id.to_owned(),
        detail_type: "channel.changed".to_owned(),
        detail: r#"{"id":"x"}"#.to_owned(),
        put_at,
    }
}

async fn gives_up(table: &Table, event: &WaitingEvent) {
    let outbox = Outbox::new(table.clone());
    outbox.keep(event).ok().await;
    outbox.give_up(event, "away", after(9)).ok().await;
}

async fn dead(table: &Table) -> Vec<DeadEvent> {
    let partner = partner();
    let dead = DeadEvents::new(table.clone());
    let listed = dead.list(&partner).ok().await;
    assert_eq!(listed.unreadable, 0);
    listed.events
}

async fn what_was_given_up_is_listed_by_age_and_for_its_partner_alone(table: Table) {
    // Ids that begin like another one's, and like the kind itself.
    let ids = [("aPA/oneCH/2", 2), ("aPA/oneCH/22", 1), ("OUTBOX#x", 3)];
    for (id, seconds) in ids {
        gives_up(&table, &waiting(id, after(seconds))).await;
    }
    let of_other = WaitingEvent {
        partner: other_partner(),
        ..waiting("theirs", after(0))
    };
    gives_up(&table, &of_other).await;
    let listed = dead(&table).await;
    let wanted = [("aPA/oneCH/22", 1), ("aPA/oneCH/2", 2), ("OUTBOX#x", 3)];
    let wanted = wanted.map(|(id, seconds)| DeadEvent {
        id: id.to_owned(),
        detail_type: "channel.changed".to_owned(),
        size: 10,
        put_at: after(seconds),
        given_up_at: after(9),
        why: "away".to_owned(),
    });
    assert_eq!(listed, wanted);
    assert!(items_of(&table, "OUTBOX#").await.is_empty());
    let ninety_days = after(9 + 90 * 24 * 3600).as_second();
    for item in items_of(&table, "DEAD#").await {
        assert_eq!(number_of(&item, EXPIRES_AT), Some(ninety_days));
    }
}

async fn an_event_that_is_put_back_waits_as_if_it_were_new(table: Table) {
    for id in ["one", "two"] {
        gives_up(&table, &waiting(id, after(0))).await;
    }
    let (given_up, one) = (DeadEvents::new(table.clone()), dead(&table).await.remove(0));
    let day_later = after(24 * 3600);
    // Twice does no harm.
    for now in [day_later, after(48 * 3600)] {
        given_up.put_back(&partner(), &one, now).ok().await;
    }
    let partner = partner();
    let outbox = Outbox::new(table.clone());
    let page = outbox.list(&partner, None, 10).ok().await;
    assert_eq!(page.events, [waiting("one", day_later)]);
    assert!(!page.events[0].is_given_up(after(47 * 3600)));
    let left = dead(&table).await.into_iter().map(|event| event.id);
    assert_eq!(left.collect::<Vec<_>>(), ["two"]);
}
