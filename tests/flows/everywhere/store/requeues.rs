//! What is due, and the requeues that say so.

use dialog360::id::ChannelRef;
use dialog360::redirect::RedirectQuery;
use onboarding::claim::{Claim, ClaimId};
use store::table::{EXPIRES_AT, Table};
use store::{Claims, Due, Leased, Mints, NextRun, Recorded, Requeues, Subject, Trigger};
use tests::id;

use super::{
    NOW, Succeeds, after, channel, claim_of, items_of, number_of, other_partner, partner, tenant,
};

contract! {
    what_is_due_comes_longest_due_first,
    only_what_is_due_by_now_is_due,
    what_is_due_at_one_partner_is_not_at_another,
    the_same_requeue_in_the_same_minute_is_one_item_for_an_hour,
    requeues_for_different_reasons_are_different_items,
    a_requeue_names_what_is_due,
}

/// Makes the key of the channel `id` due `seconds` after [`NOW`].
async fn channel_due(table: &Table, id: &str, seconds: i64) {
    let mints = Mints::new(table.clone());
    let (channel, now) = (channel(id), after(0));
    let leased = mints.lease(&channel, "a", Trigger::Change, now).ok().await;
    let Leased::Ours(mint) = leased else {
        panic!("{leased:?}")
    };
    let next = NextRun {
        due_at: Some(after(seconds)),
        ..NextRun::default()
    };
    mints.release(&mint, &next, after(0)).ok().await;
}

/// Makes the claim of the session `second` due `seconds` after [`NOW`].
async fn claim_due(table: &Table, second: i64, seconds: i64) {
    let claim = Claim {
        due_at: Some(after(seconds)),
        ..claim_of("acme", second, "client=aCL")
    };
    let made = Claims::new(table.clone()).record(&claim).ok().await;
    assert_eq!(made, Recorded::New);
}

fn of_channel(id: &str) -> Subject {
    Subject::Channel(channel(id))
}

fn of_claim(second: i64) -> Subject {
    Subject::Claim(partner(), ClaimId::from_table(second.to_string()))
}

async fn due(table: &Table, seconds: i64, limit: i32) -> Vec<Subject> {
    let requeues = Requeues::new(table.clone());
    let due = requeues.due(&partner(), after(seconds), limit).ok().await;
    due.into_iter().map(|due| due.subject).collect()
}

async fn what_is_due_comes_longest_due_first(table: Table) {
    for (id, seconds) in [("cCH", 30), ("aCH", -2_000), ("bCH", 9)] {
        channel_due(&table, id, seconds).await;
    }
    claim_due(&table, 1, 10).await;
    claim_due(&table, 2, -1_000).await;
    let [a, b, c] = ["aCH", "bCH", "cCH"].map(of_channel);
    let all = [a, of_claim(2), b, of_claim(1), c];
    assert_eq!(due(&table, 100, 100).await, all);
    // No more is due than was asked for.
    assert_eq!(due(&table, 100, 2).await, all[..2]);
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
    let requeues = Requeues::new(table.clone());
    let elsewhere = requeues.due(&other_partner(), after(100), 100).ok().await;
    assert_eq!(elsewhere, []);
    assert_eq!(due(&table, 100, 100).await, [of_channel("aCH")]);
}

fn due_at(subject: Subject, seconds: i64) -> Due {
    Due {
        subject,
        due_at: after(seconds),
    }
}

async fn the_same_requeue_in_the_same_minute_is_one_item_for_an_hour(table: Table) {
    let requeues = Requeues::new(table.clone());
    let subject = due_at(of_channel("aCH"), -5);
    let minute = NOW.div_euclid(60) * 60 - NOW;
    for second in [0, 1, 59] {
        let now = after(minute + second);
        requeues.requeue(&subject, now).ok().await;
    }
    let items = items_of(&table, "WAKE#").await;
    assert_eq!(items.len(), 1);
    let ends = number_of(&items[0], EXPIRES_AT).expect("an end") - NOW - minute;
    assert!((59 * 60..=3600).contains(&ends), "{ends}");
    requeues.requeue(&subject, after(minute + 60)).ok().await;
    // The first may have been lost.
    assert_eq!(items_of(&table, "WAKE#").await.len(), 2);
}

async fn requeues_for_different_reasons_are_different_items(table: Table) {
    let requeues = Requeues::new(table.clone());
    let a = || of_channel("aCH");
    let elsewhere = ChannelRef::new(other_partner(), id("aCH"));
    let elsewhere = due_at(Subject::Channel(elsewhere), 0);
    let [first, later] = [due_at(a(), 0), due_at(a(), 1)];
    let others = [of_channel("bCH"), of_claim(1)].map(|it| due_at(it, 0));
    let all = [&first, &later, &elsewhere, &others[0], &others[1]];
    for due in all {
        requeues.requeue(due, after(0)).ok().await;
    }
    assert_eq!(items_of(&table, "WAKE#").await.len(), all.len());
}

async fn a_requeue_names_what_is_due(table: Table) {
    let requeues = Requeues::new(table.clone());
    let query = RedirectQuery::parse("client=aCL").expect("a query");
    let of_caller = Claim::from_caller(&partner(), &tenant("acme"), &query, after(0));
    let of_caller = Subject::Claim(partner(), of_caller.expect("a claim").id);
    let [a, dashes] = ["aCH", "-_CH"].map(of_channel);
    let subjects = [a, dashes, of_claim(NOW), of_caller];
    for subject in subjects.clone() {
        requeues.requeue(&due_at(subject, 0), after(0)).ok().await;
    }
    let items = items_of(&table, "WAKE#").await;
    let mut read: Vec<_> = items.iter().filter_map(Requeues::subject).collect();
    read.sort();
    let mut written = subjects;
    written.sort();
    assert_eq!(read, written);
}
