//! What is due, and the wake-ups that say so.

use jiff::SignedDuration;
use onboarding::claim::{Claim, ClaimId};
use platform::store::{Asked, Claims, Due, Leased, Made, Mints, NextLook, Subject, Wakes};
use platform::table::{EXPIRES_AT, Table};

use super::{NOW, after, channel, claim_of, items_of, number_of, other_partner, partner, tenant};

contract! {
    what_is_due_comes_longest_due_first,
    no_more_is_due_than_was_asked_for,
    only_what_is_due_by_now_is_due,
    what_is_due_at_one_partner_is_not_at_another,
    the_same_wake_up_in_the_same_minute_is_one_item,
    wake_ups_for_different_reasons_are_different_items,
    a_wake_up_names_what_to_look_at,
    a_wake_up_is_kept_for_an_hour,
}

/// Makes the key of the channel `id` due `seconds` after [`NOW`].
async fn channel_due(table: &Table, id: &str, seconds: i64) {
    let mints = Mints::new(table.clone());
    let leased = mints
        .lease((&partner(), &channel(id)), "a", Asked::ByChange, after(0))
        .await
        .expect("the table");
    let Leased::Ours(mint) = leased else {
        panic!("{leased:?}")
    };
    let next = NextLook {
        due_at: Some(after(seconds)),
        ..NextLook::default()
    };
    mints
        .release(&mint, &next, after(0))
        .await
        .expect("the table");
}

/// Makes the claim of the session `second` due `seconds` after [`NOW`].
async fn claim_due(table: &Table, second: i64, seconds: i64) {
    let claim = Claim {
        due_at: Some(after(seconds)),
        ..claim_of("acme", second, "client=aCL")
    };
    assert_eq!(
        Claims::new(table.clone())
            .make(&claim)
            .await
            .expect("the table"),
        Made::New
    );
}

fn of_channel(id: &str) -> Subject {
    Subject::Channel(channel(id))
}

fn of_claim(second: i64) -> Subject {
    Subject::Claim(ClaimId::from_table(second.to_string()))
}

async fn due(table: &Table, seconds: i64, limit: i32) -> Vec<Subject> {
    let due = Wakes::new(table.clone())
        .due(&partner(), after(seconds), limit)
        .await
        .expect("the table");
    due.into_iter().map(|due| due.subject).collect()
}

async fn what_is_due_comes_longest_due_first(table: Table) {
    for (id, seconds) in [("cCH", 30), ("aCH", -2_000), ("bCH", 9)] {
        channel_due(&table, id, seconds).await;
    }
    claim_due(&table, 1, 10).await;
    claim_due(&table, 2, -1_000).await;
    let all = [
        of_channel("aCH"),
        of_claim(2),
        of_channel("bCH"),
        of_claim(1),
        of_channel("cCH"),
    ];
    assert_eq!(due(&table, 100, 100).await, all);
}

async fn no_more_is_due_than_was_asked_for(table: Table) {
    for (id, seconds) in [("cCH", 3), ("aCH", 1), ("bCH", 2)] {
        channel_due(&table, id, seconds).await;
    }
    assert_eq!(
        due(&table, 100, 2).await,
        [of_channel("aCH"), of_channel("bCH")]
    );
}

async fn only_what_is_due_by_now_is_due(table: Table) {
    channel_due(&table, "aCH", 60).await;
    claim_due(&table, 1, 61).await;
    assert_eq!(due(&table, 59, 100).await, []);
    assert_eq!(due(&table, 60, 100).await, [of_channel("aCH")]);
    assert_eq!(due(&table, 61, 100).await, [of_channel("aCH"), of_claim(1)]);
    channel_due(&table, "aCH", 90).await;
    assert_eq!(due(&table, 61, 100).await, [of_claim(1)], "it was put off");
}

async fn what_is_due_at_one_partner_is_not_at_another(table: Table) {
    channel_due(&table, "aCH", 0).await;
    let elsewhere = Wakes::new(table.clone())
        .due(&other_partner(), after(100), 100)
        .await
        .expect("the table");
    assert_eq!(elsewhere, []);
    assert_eq!(due(&table, 100, 100).await, [of_channel("aCH")]);
}

fn due_at(subject: Subject, seconds: i64) -> Due {
    Due {
        partner: partner(),
        subject,
        due_at: after(seconds),
    }
}

async fn the_same_wake_up_in_the_same_minute_is_one_item(table: Table) {
    let wakes = Wakes::new(table.clone());
    let subject = due_at(of_channel("aCH"), -5);
    let minute = NOW.div_euclid(60) * 60 - NOW;
    for second in [0, 1, 59] {
        wakes
            .wake(&subject, after(minute + second))
            .await
            .expect("the table");
    }
    assert_eq!(items_of(&table, "WAKE#").await.len(), 1);
    wakes
        .wake(&subject, after(minute + 60))
        .await
        .expect("the table");
    assert_eq!(
        items_of(&table, "WAKE#").await.len(),
        2,
        "the first may have been lost"
    );
}

async fn wake_ups_for_different_reasons_are_different_items(table: Table) {
    let wakes = Wakes::new(table.clone());
    let all = [
        due_at(of_channel("aCH"), 0),
        due_at(of_channel("aCH"), 1),
        due_at(of_channel("bCH"), 0),
        due_at(of_claim(1), 0),
        Due {
            partner: other_partner(),
            ..due_at(of_channel("aCH"), 0)
        },
    ];
    for due in &all {
        wakes.wake(due, after(0)).await.expect("the table");
    }
    assert_eq!(items_of(&table, "WAKE#").await.len(), all.len());
}

async fn a_wake_up_names_what_to_look_at(table: Table) {
    let wakes = Wakes::new(table.clone());
    let query = onboarding::redirect::RedirectQuery::parse("client=aCL").expect("a query");
    let of_caller =
        Claim::of_caller(&partner(), &tenant("acme"), &query, after(0)).expect("a claim");
    let subjects = [
        of_channel("aCH"),
        of_channel("-_CH"),
        of_claim(NOW),
        Subject::Claim(of_caller.id),
    ];
    for subject in &subjects {
        wakes
            .wake(&due_at(subject.clone(), 0), after(0))
            .await
            .expect("the table");
    }
    let items = items_of(&table, "WAKE#").await;
    let mut read: Vec<_> = items.iter().filter_map(Wakes::subject).collect();
    read.sort();
    let mut written: Vec<_> = subjects
        .into_iter()
        .map(|subject| (partner(), subject))
        .collect();
    written.sort();
    assert_eq!(read, written);
}

async fn a_wake_up_is_kept_for_an_hour(table: Table) {
    Wakes::new(table.clone())
        .wake(&due_at(of_channel("aCH"), 0), after(0))
        .await
        .expect("the table");
    let items = items_of(&table, "WAKE#").await;
    let ends = number_of(&items[0], EXPIRES_AT).expect("an end");
    let kept = SignedDuration::from_secs(ends - NOW);
    assert!(
        kept > SignedDuration::from_mins(59) && kept <= SignedDuration::from_hours(1),
        "{kept}"
    );
}
