//! Facts: written once, never changed, kept byte for byte.

use dialog360::Field;
use dialog360::event::{Permission, Stage};
use dialog360::id::{ChannelRef, PartnerId};
use onboarding::fact::{Assertion, PASSING_FACT_HOURS};
use store::table::{EXPIRES_AT, SK, Table};
use store::{Bodies, Events, Facts, StoredBody, StoredFact, Write};
use tests::{bodies, id};

use super::{Succeeds, after, bodies_beside, channel, event, fact_of, items_of, named, number_of};
use super::{other_partner, partner};

contract! {
    a_fact_is_appended_once_and_stays_as_it_was,
    the_same_fact_at_once_from_two_sides_is_one,
    only_facts_that_pass_have_an_end,
    the_facts_of_a_channel_come_oldest_first,
    a_channel_shows_no_fact_of_another_channel_or_partner,
    more_facts_than_fit_one_answer_all_come_back_whole,
    an_event_keeps_its_own_bytes,
    an_event_without_a_channel_is_kept_byte_for_byte_beside_the_facts_and_passes,
    the_same_event_of_two_partners_is_kept_twice,
    a_grant_that_comes_again_in_a_later_hour_is_a_fact_again_and_keeps_its_bytes,
}

fn granted() -> Assertion {
    Assertion {
        permission: Some(Permission::Granted),
        ..Assertion::default()
    }
}

/// A body that lies in the item itself.
fn here(body: StoredBody) -> Vec<u8> {
    match body {
        StoredBody::Here(body) => body,
        StoredBody::Apart { size } => panic!("{size} bytes lie apart"),
    }
}

async fn append(facts: &Facts, id: &str, assertion: Assertion, seconds: i64) -> bool {
    let fact = fact_of(id, assertion, seconds, "");
    facts.append(&fact).ok().await == Write::Done
}

async fn facts_of(facts: &Facts, id: &str) -> Vec<StoredFact> {
    facts.list(&channel(id)).ok().await
}

async fn append_event(table: &Table, partner: &PartnerId, body: &[u8]) -> bool {
    let events = Events::new(table.clone(), bodies_beside(table).await);
    let (event, now) = (event(body), after(0));
    events.append(partner, &event, now).ok().await == Write::Done
}

async fn a_fact_is_appended_once_and_stays_as_it_was(table: Table) {
    let facts = Facts::new(table);
    assert!(append(&facts, "oneCH", granted(), 0).await);
    assert!(!append(&facts, "oneCH", granted(), 0).await);
    assert!(!append(&facts, "oneCH", granted(), 60).await);
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].fact, fact_of("oneCH", granted(), 0, ""));
    assert_eq!(stored[0].body, None);
}

async fn the_same_fact_at_once_from_two_sides_is_one(table: Table) {
    let facts = Facts::new(table);
    for round in 0..20 {
        let fact = fact_of("oneCH", granted(), 0, &round.to_string());
        let (a, b) = tokio::join!(facts.append(&fact).ok(), facts.append(&fact).ok());
        assert_ne!(a, b);
    }
    assert_eq!(facts_of(&facts, "oneCH").await.len(), 20);
}

async fn only_facts_that_pass_have_an_end(table: Table) {
    let facts = Facts::new(table.clone());
    let live = Assertion {
        stage: Some(Stage::Live),
        ..Assertion::default()
    };
    let ninety_days = Some(after(PASSING_FACT_HOURS * 3600).as_second());
    let cancelled = Assertion {
        cancelled: Some(true),
        ..live.clone()
    };
    for (id, assertion, end) in [
        ("rawCH", Assertion::default(), ninety_days),
        ("nameCH", named("a"), ninety_days),
        ("stageCH", live, ninety_days),
        ("grantCH", granted(), None),
        ("endCH", cancelled, None),
    ] {
        assert!(append(&facts, id, assertion, 0).await);
        let items = items_of(&table, &format!("FACT#{}#{id}", partner())).await;
        let ends = items.iter().map(|item| number_of(item, EXPIRES_AT));
        assert_eq!(ends.collect::<Vec<_>>(), [end], "{id}");
    }
}

async fn the_facts_of_a_channel_come_oldest_first(table: Table) {
    let facts = Facts::new(table);
    for (name, seconds) in [("third", 3), ("first", -9), ("fourth", 4), ("second", 2)] {
        assert!(append(&facts, "oneCH", named(name), seconds).await);
    }
    let stored = facts_of(&facts, "oneCH").await.into_iter();
    let names = stored.map(|it| it.fact.assertion.description[&Field::DisplayName].clone());
    let wanted = ["first", "second", "third", "fourth"];
    assert_eq!(names.collect::<Vec<_>>(), wanted);
}

async fn a_channel_shows_no_fact_of_another_channel_or_partner(table: Table) {
    let facts = Facts::new(table);
    for id in ["oneCH", "oneCH2"] {
        assert!(append(&facts, id, granted(), 0).await);
    }
    assert_eq!(facts_of(&facts, "oneCH").await.len(), 1);
    let one = ChannelRef::new(other_partner(), id("oneCH"));
    let others = facts.list(&one).ok().await;
    assert!(others.is_empty());
}

async fn more_facts_than_fit_one_answer_all_come_back_whole(table: Table) {
    let facts = Facts::new(table.clone());
    // DynamoDB cuts an answer at 1 MB.
    let large_event = |number: usize| {
        let start = format!(r#"{{"event":"channel_live","data":{{"id":"oneCH","n":"{number:02}"#);
        let rest = "x".repeat(60_000 - start.len() - 3);
        format!("{start}{rest}\"}}}}").into_bytes()
    };
    let mut events: Vec<Vec<u8>> = (0..20).map(large_event).collect();
    for event in &events {
        assert_eq!(event.len(), 60_000);
        assert!(append_event(&table, &partner(), event).await);
    }
    let mut kept = Vec::new();
    for stored in facts_of(&facts, "oneCH").await {
        assert_eq!(stored.fact.assertion.stage, Some(Stage::Live));
        kept.extend(stored.body.map(here));
    }
    kept.sort();
    events.sort();
    assert!(kept == events, "{} came back", kept.len());
}

async fn an_event_keeps_its_own_bytes(table: Table) {
    let facts = Facts::new(table.clone());
    let body = "  {\"data\" :\t{\"id\":\"oneCH\", \"x\":\"\\u00fc ü\"},\r\n\"event\":\"channel_live\",\"event\":\"channel_running\"}\n";
    assert!(append_event(&table, &partner(), body.as_bytes()).await);
    assert!(!append_event(&table, &partner(), body.as_bytes()).await);
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored.len(), 1);
    let kept = stored[0].body.clone().map(here);
    let kept = kept.as_deref();
    assert_eq!(kept, Some(body.trim().as_bytes()));
    assert_eq!(kept, Some(event(body.as_bytes()).raw.as_slice()));
}

async fn an_event_without_a_channel_is_kept_byte_for_byte_beside_the_facts_and_passes(
    table: Table,
) {
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(60_000).collect();
    for body in [
        br#"{"event":"something_new","data":{}}"#.as_slice(),
        &every_byte,
        &[0],
        &[0xff, 0xfe, 0xfd],
        b"[]",
        b"null",
    ] {
        assert!(append_event(&table, &partner(), body).await);
        assert!(!append_event(&table, &partner(), body).await);
        let mut kept = items_of(&table, &format!("RAW#{}", partner())).await;
        kept.retain(|item| *item[SK].as_s().expect("a text") == event(body).id.to_string());
        assert_eq!(bodies(&kept), [body], "{}", body.len());
        let ninety_days = after(PASSING_FACT_HOURS * 3600).as_second();
        assert_eq!(number_of(&kept[0], EXPIRES_AT), Some(ninety_days));
    }
    assert!(items_of(&table, "FACT#").await.is_empty());
}

async fn the_same_event_of_two_partners_is_kept_twice(table: Table) {
    for body in [
        br#"{"event":"something_new"}"#.as_slice(),
        br#"{"event":"channel_live","data":{"id":"oneCH"}}"#,
    ] {
        assert!(append_event(&table, &partner(), body).await);
        assert!(append_event(&table, &other_partner(), body).await);
    }
    assert_eq!(table.scan().ok().await.len(), 4);
}

async fn a_grant_that_comes_again_in_a_later_hour_is_a_fact_again_and_keeps_its_bytes(
    table: Table,
) {
    let bodies = bodies_beside(&table).await;
    let events = Events::new(table.clone(), bodies.clone());
    let padding = "x".repeat(100 * 1024);
    for padding in ["", &padding] {
        let body = |own: &str, what: &str| {
            let data = format!(r#"{{"id":"oneCH","x":"{padding}"}}"#);
            let text = format!(r#"{{{own}"event":"channel_permission_{what}","data":{data}}}"#);
            event(text.as_bytes())
        };
        let (own, of_us) = (r#""id":"evt_1","#, partner());
        for (event, seconds, written) in [
            (body("", "granted"), 0, Write::Done),
            (body("", "granted"), 3599, Write::Conflict),
            (body("", "revoked"), 3599, Write::Done),
            (body("", "granted"), 3600, Write::Done),
            (body("", "revoked"), 3600, Write::Conflict),
            (body(own, "granted"), 0, Write::Done),
            (body(own, "granted"), 3600, Write::Conflict),
        ] {
            let appended = events.append(&of_us, &event, after(seconds)).ok().await;
            assert_eq!(appended, written, "{:?} {seconds}", event.name);
        }
    }
    let stored = facts_of(&Facts::new(table), "oneCH").await;
    assert_eq!(stored.len(), 8);
    let last = stored.last().expect("a fact");
    assert_eq!(last.fact.assertion, granted());
    let bodies = Bodies::new(bodies);
    for fact in stored {
        let size = match fact.body.expect("a body") {
            StoredBody::Here(body) => body.len(),
            StoredBody::Apart { size } => {
                let id = fact.fact.id.as_str();
                let read = bodies.read(&partner(), id, after(3600)).ok().await;
                assert_eq!(read.map(|body| body.len()), Some(size));
                continue;
            }
        };
        assert!(size < 200);
    }
}
