//! Large bodies and chats: in a table of their own, in parts, whole or not there, and for 14 days.

use dialog360::event::EventId;
use store::table::{EXPIRES_AT, Item, PK, Table};
use store::{Bodies, Events, StoredBody, StoredFact, Write};

use super::{Succeeds, after, bodies_beside, event, items_of, number_of, partner};

contract! {
    a_large_body_lies_apart_and_comes_back_byte_for_byte,
    chats_lie_apart_whatever_their_size,
    an_event_that_was_cut_off_is_stored_once_and_whole_when_it_comes_again,
    a_body_without_all_its_parts_or_behind_its_end_is_not_there,
    an_event_that_comes_again_keeps_its_body_no_longer_and_brings_none_back,
    parts_of_an_attempt_that_was_cut_off_are_written_anew,
}

const FORTNIGHT: i64 = 14 * 24 * 3600;

/// Bytes that cannot be compressed.
fn noise(length: usize) -> Vec<u8> {
    let step = |it: &u64| Some(it.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let numbers = std::iter::successors(Some(7_u64), step);
    numbers.map(|it| (it >> 33) as u8).take(length).collect()
}

async fn append(table: &Table, body: &[u8], seconds: i64) -> Write {
    let events = Events::new(table.clone(), bodies_beside(table).await);
    events
        .append(&partner(), &event(body), after(seconds))
        .ok()
        .await
}

async fn read(table: &Table, body: &[u8], seconds: i64) -> Option<Vec<u8>> {
    let bodies = Bodies::new(bodies_beside(table).await);
    let id = EventId::hash(body);
    bodies
        .read(&partner(), id.as_str(), after(seconds))
        .ok()
        .await
}

async fn parts(table: &Table) -> Vec<Item> {
    bodies_beside(table).await.scan().ok().await
}

async fn a_large_body_lies_apart_and_comes_back_byte_for_byte(table: Table) {
    let event = |length: usize| {
        let start = r#"{"event":"channel_live","data":{"id":"oneCH","x":""#;
        format!("{start}{}\"}}}}", "x".repeat(length - start.len() - 3)).into_bytes()
    };
    for (body, number_of_parts) in [
        (event(64 * 1024), 0),
        (event(64 * 1024 + 1), 1),
        (noise(256 * 1024), 1),
        (noise(256 * 1024 + 1), 2),
        (event(1024 * 1024), 4),
    ] {
        let before = parts(&table).await.len();
        assert_eq!(append(&table, &body, 0).await, Write::Done);
        assert_eq!(append(&table, &body, 0).await, Write::Conflict);
        assert_eq!(parts(&table).await.len() - before, number_of_parts);
        let apart = Some(body.clone()).filter(|_| number_of_parts > 0);
        assert!(read(&table, &body, 1).await == apart, "{}", body.len());
    }
    let stored = items_of(&table, "FACT#").await;
    let sizes = stored.iter().map(
        |item| match StoredFact::from_item(item).expect("a fact").body {
            Some(StoredBody::Here(body)) => body.len(),
            Some(StoredBody::Apart { size }) => size,
            None => 0,
        },
    );
    let mut sizes: Vec<usize> = sizes.collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [64 * 1024, 64 * 1024 + 1, 1024 * 1024]);
    let largest = stored
        .iter()
        .find(|item| number_of(item, "body_parts") == Some(4));
    assert!(
        largest.is_some_and(|item| item.contains_key("body_sha256") && !item.contains_key("body"))
    );
    for part in parts(&table).await {
        let data = part["data"].as_b().expect("bytes");
        assert!(data.as_ref().len() <= 300_000);
        assert_eq!(
            number_of(&part, EXPIRES_AT),
            Some(after(FORTNIGHT).as_second())
        );
    }
}

async fn chats_lie_apart_whatever_their_size(table: Table) {
    for name in ["history", "smb_app_state_sync"] {
        let body = format!(r#"{{"event":"{name}","data":{{"id":"aWABA","chats":["needle"]}}}}"#);
        assert_eq!(append(&table, body.as_bytes(), 0).await, Write::Done);
        assert_eq!(
            read(&table, body.as_bytes(), 1).await,
            Some(body.into_bytes())
        );
    }
    let items = table.scan().ok().await;
    assert_eq!((items.len(), parts(&table).await.len()), (2, 2));
    assert!(!format!("{items:?}").contains("needle"));
    assert!(items.iter().all(|item| !item.contains_key("body")));
}

/// I1
async fn an_event_that_was_cut_off_is_stored_once_and_whole_when_it_comes_again(table: Table) {
    let body = noise(600 * 1024);
    let _new = append(&table, &body, 0).await;
    let (all, item) = (parts(&table).await, table.scan().ok().await);
    assert_eq!((all.len(), item.len()), (3, 1));
    let bodies = bodies_beside(&table).await;
    // Every set of writes that may have been done before the process was killed; the event itself is the last.
    for done in 0..8_usize {
        for (index, part) in all.iter().enumerate() {
            if done & (1 << index) == 0 {
                bodies.remove(part).ok().await;
            }
        }
        table.remove(&item[0]).ok().await;
        assert_eq!(append(&table, &body, 60).await, Write::Done);
        assert!(
            read(&table, &body, 61).await.as_deref() == Some(&*body),
            "{done}"
        );
        assert_eq!(
            (parts(&table).await.len(), table.scan().ok().await.len()),
            (3, 1)
        );
    }
}

async fn a_body_without_all_its_parts_or_behind_its_end_is_not_there(table: Table) {
    let body = noise(300 * 1024);
    assert_eq!(read(&table, &body, 0).await, None);
    let _new = append(&table, &body, 0).await;
    assert!(read(&table, &body, FORTNIGHT - 1).await.is_some());
    assert_eq!(read(&table, &body, FORTNIGHT).await, None);
    let bodies = bodies_beside(&table).await;
    let second = parts(&table).await.into_iter();
    let second = second.filter(|part| part[PK].as_s().is_ok_and(|pk| pk.ends_with("#1")));
    for part in second {
        bodies.remove(&part).ok().await;
    }
    assert_eq!(read(&table, &body, 1).await, None);
}

async fn an_event_that_comes_again_keeps_its_body_no_longer_and_brings_none_back(table: Table) {
    let body = noise(100 * 1024);
    assert_eq!(append(&table, &body, 0).await, Write::Done);
    assert_eq!(append(&table, &body, 3600).await, Write::Conflict);
    let end = Some(after(FORTNIGHT).as_second());
    let stored = parts(&table).await;
    assert!(stored.iter().all(|part| number_of(part, EXPIRES_AT) == end));
    let bodies = bodies_beside(&table).await;
    for part in &stored {
        bodies.remove(part).ok().await;
    }
    assert_eq!(append(&table, &body, 2 * FORTNIGHT).await, Write::Conflict);
    assert!(parts(&table).await.is_empty());
}

/// What an attempt that was cut off has left may have expired, and is not yet removed.
async fn parts_of_an_attempt_that_was_cut_off_are_written_anew(table: Table) {
    let body = noise(100 * 1024);
    assert_eq!(append(&table, &body, 0).await, Write::Done);
    let item = table.scan().ok().await;
    table.remove(&item[0]).ok().await;
    let later = FORTNIGHT + 60;
    assert_eq!(append(&table, &body, later).await, Write::Done);
    assert!(read(&table, &body, later + FORTNIGHT - 1).await.as_deref() == Some(&*body));
}
