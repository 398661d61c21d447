//! Facts: written once, never changed, kept byte for byte.

use onboarding::fact::{PASSING_FACT_HOURS, Said};
use onboarding::hub_event::{Permission, Stage};
use onboarding::id::PartnerId;
use platform::store::{Facts, StoredFact};
use platform::table::{EXPIRES_AT, Item, SK, Table};

use super::{after, channel, event, fact_of, items_of, number_of, other_partner, partner, text_of};

contract! {
    a_fact_is_appended_once,
    the_same_fact_at_once_from_two_sides_is_one,
    a_fact_that_comes_again_leaves_the_first_as_it_was,
    only_facts_that_pass_have_an_end,
    the_facts_of_a_channel_come_oldest_first,
    a_channel_shows_no_fact_of_another_channel_or_partner,
    more_facts_than_fit_one_answer_all_come_back,
    an_event_keeps_its_own_bytes,
    an_event_of_100_000_bytes_survives,
    an_event_without_a_channel_is_kept_beside_the_facts_and_passes,
    an_event_that_is_no_text_at_all_is_kept_byte_for_byte,
    the_same_event_of_two_partners_is_kept_twice,
}

fn granted() -> Said {
    Said {
        permission: Some(Permission::Granted),
        ..Said::default()
    }
}

fn named(name: &str) -> Said {
    Said {
        display_name: Some(name.to_owned()),
        ..Said::default()
    }
}

async fn facts_of(facts: &Facts, id: &str) -> Vec<StoredFact> {
    facts
        .of_channel(&partner(), &channel(id))
        .await
        .expect("the table")
}

async fn append_event(facts: &Facts, partner: &PartnerId, body: &[u8]) -> bool {
    facts
        .append_event(partner, &event(body), after(0))
        .await
        .expect("the table")
}

async fn a_fact_is_appended_once(table: Table) {
    let facts = Facts::new(table);
    let fact = fact_of("oneCH", granted(), 0, "a claim");
    assert!(facts.append(&fact).await.expect("the table"));
    assert!(!facts.append(&fact).await.expect("the table"));
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0].fact, &stored[0].body), (&fact, &None));
}

async fn the_same_fact_at_once_from_two_sides_is_one(table: Table) {
    let facts = Facts::new(table);
    for round in 0..20 {
        let fact = fact_of("oneCH", granted(), 0, &round.to_string());
        let (a, b) = tokio::join!(facts.append(&fact), facts.append(&fact));
        assert!(a.expect("the table") ^ b.expect("the table"));
    }
    assert_eq!(facts_of(&facts, "oneCH").await.len(), 20);
}

async fn a_fact_that_comes_again_leaves_the_first_as_it_was(table: Table) {
    let facts = Facts::new(table);
    assert!(
        facts
            .append(&fact_of("oneCH", granted(), 0, "a claim"))
            .await
            .expect("the table")
    );
    assert!(
        !facts
            .append(&fact_of("oneCH", granted(), 60, "a claim"))
            .await
            .expect("the table")
    );
    assert_eq!(
        facts_of(&facts, "oneCH").await[0].fact.received_at,
        after(0)
    );
}

async fn only_facts_that_pass_have_an_end(table: Table) {
    let facts = Facts::new(table.clone());
    let live = Said {
        stage: Some(Stage::Live),
        ..Said::default()
    };
    let said = [
        ("rawCH", Said::default()),
        ("nameCH", named("a")),
        ("stageCH", live),
        ("grantCH", granted()),
    ];
    for (id, said) in said {
        assert!(
            facts
                .append(&fact_of(id, said, 0, ""))
                .await
                .expect("the table")
        );
    }
    let ninety_days = Some(after(PASSING_FACT_HOURS * 3600).as_second());
    for (id, end) in [
        ("rawCH", ninety_days),
        ("nameCH", ninety_days),
        ("stageCH", ninety_days),
        ("grantCH", None),
    ] {
        let items = items_of(&table, &format!("FACT#{}#{id}", partner())).await;
        let ends: Vec<Option<i64>> = items
            .iter()
            .map(|item| number_of(item, EXPIRES_AT))
            .collect();
        assert_eq!(ends, [end], "{id}");
    }
}

async fn the_facts_of_a_channel_come_oldest_first(table: Table) {
    let facts = Facts::new(table);
    for (name, seconds) in [("third", 3), ("first", -9), ("fourth", 4), ("second", 2)] {
        assert!(
            facts
                .append(&fact_of("oneCH", named(name), seconds, ""))
                .await
                .expect("the table")
        );
    }
    let stored = facts_of(&facts, "oneCH").await;
    let names: Vec<&str> = stored
        .iter()
        .filter_map(|stored| stored.fact.said.display_name.as_deref())
        .collect();
    assert_eq!(names, ["first", "second", "third", "fourth"]);
}

async fn a_channel_shows_no_fact_of_another_channel_or_partner(table: Table) {
    let facts = Facts::new(table);
    assert!(
        facts
            .append(&fact_of("oneCH", granted(), 0, ""))
            .await
            .expect("the table")
    );
    assert!(
        facts
            .append(&fact_of("oneCH2", granted(), 0, ""))
            .await
            .expect("the table")
    );
    assert_eq!(facts_of(&facts, "oneCH").await.len(), 1);
    let others = facts
        .of_channel(&other_partner(), &channel("oneCH"))
        .await
        .expect("the table");
    assert!(others.is_empty());
}

async fn more_facts_than_fit_one_answer_all_come_back(table: Table) {
    let facts = Facts::new(table);
    // DynamoDB cuts an answer at 1 MB.
    for number in 0..12 {
        assert!(append_event(&facts, &partner(), &large_event(number)).await);
    }
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored.len(), 12);
    assert!((0..12).all(|number| {
        stored
            .iter()
            .any(|stored| stored.body.as_deref() == Some(&large_event(number)))
    }));
}

fn large_event(number: usize) -> Vec<u8> {
    let frame = format!(
        r#"{{"event":"channel_live","data":{{"id":"oneCH","number":"{number:02}","more":""}}}}"#
    );
    frame
        .replace(
            r#""more":"""#,
            &format!(r#""more":"{}""#, "x".repeat(100_000 - frame.len())),
        )
        .into_bytes()
}

async fn an_event_keeps_its_own_bytes(table: Table) {
    let facts = Facts::new(table);
    let body = "  {\"data\" :\t{\"id\":\"oneCH\", \"x\":\"\\u00fc ü\"},\r\n\"event\":\"channel_live\",\"event\":\"channel_running\"}\n";
    assert!(append_event(&facts, &partner(), body.as_bytes()).await);
    assert!(!append_event(&facts, &partner(), body.as_bytes()).await);
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored.len(), 1);
    assert_eq!(
        stored[0].body.as_deref(),
        Some(event(body.as_bytes()).raw.as_slice())
    );
    assert_eq!(
        String::from_utf8_lossy(stored[0].body.as_deref().unwrap_or_default()),
        body.trim()
    );
}

async fn an_event_of_100_000_bytes_survives(table: Table) {
    let facts = Facts::new(table);
    let body = large_event(7);
    assert_eq!(body.len(), 100_000);
    assert!(append_event(&facts, &partner(), &body).await);
    let stored = facts_of(&facts, "oneCH").await;
    assert_eq!(stored[0].body.as_ref(), Some(&body));
    assert_eq!(stored[0].fact.said.stage, Some(Stage::Live));
}

async fn an_event_without_a_channel_is_kept_beside_the_facts_and_passes(table: Table) {
    let facts = Facts::new(table.clone());
    let body = br#"{"event":"something_new","data":{}}"#;
    assert!(append_event(&facts, &partner(), body).await);
    assert!(!append_event(&facts, &partner(), body).await);
    assert!(items_of(&table, "FACT#").await.is_empty());
    let kept = items_of(&table, &format!("RAW#{}", partner())).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (text_of(&kept[0], SK), body_of(&kept[0])),
        (event(body).id.as_str(), body.as_slice())
    );
    assert_eq!(
        number_of(&kept[0], EXPIRES_AT),
        Some(after(PASSING_FACT_HOURS * 3600).as_second())
    );
}

async fn an_event_that_is_no_text_at_all_is_kept_byte_for_byte(table: Table) {
    let facts = Facts::new(table.clone());
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for body in [
        every_byte.as_slice(),
        &[0],
        &[0xff, 0xfe, 0xfd],
        b"[]",
        b"null",
    ] {
        assert!(append_event(&facts, &partner(), body).await);
        let kept = items_of(&table, "RAW#").await;
        assert!(
            kept.iter().any(|item| body_of(item) == body),
            "{} bytes",
            body.len()
        );
    }
}

async fn the_same_event_of_two_partners_is_kept_twice(table: Table) {
    let facts = Facts::new(table.clone());
    for body in [
        br#"{"event":"something_new"}"#.as_slice(),
        br#"{"event":"channel_live","data":{"id":"oneCH"}}"#,
    ] {
        assert!(append_event(&facts, &partner(), body).await);
        assert!(append_event(&facts, &other_partner(), body).await);
    }
    assert_eq!(table.scan().await.expect("a scan").len(), 4);
}

fn body_of(item: &Item) -> &[u8] {
    item["body"].as_b().expect("bytes").as_ref()
}
