//! Due work in the hands of workers: taken, done, come up, and what is left of a worker that died.

use std::slice;

use onboarding::queue::Lane;
use store::table::Table;
use store::{Clients, Leased, Mints, StoredEntry, Write};

use super::queue::{Line, at, at_keeping, background, in_line, key, look};
use super::{Succeeds, after, channel, claim_of, partner, tenant};

contract! {
    what_is_taken_is_put_off_for_a_minute_and_keeps_its_place,
    what_changed_since_it_was_read_is_not_taken,
    what_is_done_is_due_as_its_worker_says,
    what_was_made_due_or_taken_by_another_meanwhile_stays_due,
    failures_are_kept_until_the_next_outcome,
    what_comes_up_goes_to_the_place_it_kept_and_else_pays,
    the_work_of_a_dead_worker_keeps_its_place,
    what_changed_since_its_time_came_is_not_moved,
    the_oldest_is_the_head_of_the_line_or_an_alarm_that_has_come_up,
    who_pays_is_remembered,
    what_is_due_leaves_the_rest_of_its_item_alone,
}

async fn what_is_taken_is_put_off_for_a_minute_and_keeps_its_place(table: Table) {
    let line = Line::new(table);
    for (subject, due, taken) in [
        (key("aCH"), in_line(7), at_keeping(60, 7)),
        (key("bCH"), at_keeping(0, 7), at_keeping(60, 7)),
        (key("cCH"), background(0), background(60)),
    ] {
        line.make_due(&subject, due).await;
        line.take(&subject, "t", 0).await;
        let entry = line.entry(&subject).await.entry;
        assert_eq!(
            (entry.due, entry.taken.as_deref()),
            (Some(taken), Some("t"))
        );
        assert_eq!(line.rows(due.lane(), 59).await, []);
        assert_eq!(line.rows(taken.lane(), 60).await, slice::from_ref(&subject));
        line.done(&subject, "t", None).await;
    }
}

async fn what_changed_since_it_was_read_is_not_taken(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    line.make_due(&subject, background(0)).await;
    let seen = line.entry(&subject).await;
    line.make_due(&subject, in_line(3)).await;
    let conflict = Write::Conflict;
    assert_eq!(line.take_as(&subject, &seen, "t", 0).await, conflict);
    assert_eq!(line.due(&subject).await, Some(in_line(3)));
    let seen = line.entry(&subject).await;
    for round in 0..20 {
        let subject = look(&format!("c{round}CL"));
        line.make_due(&subject, in_line(3)).await;
        let seen = line.entry(&subject).await;
        let take = |token| line.take_as(&subject, &seen, token, 0);
        let (a, b) = tokio::join!(take("a"), take("b"));
        assert_ne!(a, b);
    }
    assert_eq!(line.take_as(&subject, &seen, "t", 0).await, Write::Done);
    assert_eq!(line.take_as(&subject, &seen, "t", 0).await, conflict);
    // It was never due.
    let (fresh, never) = (StoredEntry::default(), look("bCL"));
    line.make_due(&never, at(0)).await;
    assert_eq!(line.take_as(&never, &fresh, "t", 0).await, conflict);
}

async fn what_is_done_is_due_as_its_worker_says(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    let outcomes = [at(600), at_keeping(600, 2), in_line(4), background(600)];
    for next in outcomes.into_iter().map(Some).chain([None]) {
        line.make_due(&subject, in_line(3)).await;
        line.take(&subject, "t", 0).await;
        line.done(&subject, "t", next).await;
        let entry = line.entry(&subject).await.entry;
        assert_eq!((entry.due, entry.taken), (next, None));
        // Once is once.
        line.done(&subject, "t", Some(in_line(1))).await;
        assert_eq!(line.due(&subject).await, next);
    }
    for lane in Lane::ALL {
        assert_eq!(line.rows(lane, 9999).await, []);
    }
}

async fn what_was_made_due_or_taken_by_another_meanwhile_stays_due(table: Table) {
    let line = Line::new(table);
    let made_due = key("aCH");
    line.make_due(&made_due, in_line(3)).await;
    line.take(&made_due, "t", 0).await;
    line.make_due(&made_due, at(300)).await;
    line.done(&made_due, "t", None).await;
    // Never later than it was: the worker may have read before.
    assert_eq!(line.due(&made_due).await, Some(at_keeping(60, 3)));

    let joined = key("bCH");
    assert_eq!(line.join(&joined, "acme", 2).await, 0);
    line.take(&joined, "t", 0).await;
    assert_eq!(line.join(&joined, "acme", 2).await, 2);
    line.done(&joined, "t", Some(at(300))).await;
    assert_eq!(line.rows(Lane::Line, 0).await, [joined]);

    let retaken = key("cCH");
    line.make_due(&retaken, at_keeping(0, 7)).await;
    line.take(&retaken, "dead", 0).await;
    line.take(&retaken, "t", 60).await;
    let before = line.entry(&retaken).await;
    line.done(&retaken, "dead", None).await;
    assert_eq!(line.entry(&retaken).await, before);
    line.done(&retaken, "t", None).await;
    assert_eq!(line.due(&retaken).await, None);
}

async fn failures_are_kept_until_the_next_outcome(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    assert_eq!(line.entry(&subject).await.failures, 0);
    line.make_due(&subject, in_line(3)).await;
    line.take(&subject, "a", 0).await;
    line.failed(&subject, "a", Some(at(60)), 2).await;
    assert_eq!(line.entry(&subject).await.failures, 2);
    line.join(&subject, "acme", 1).await;
    line.take(&subject, "b", 0).await;
    assert_eq!(line.entry(&subject).await.failures, 2);
    // Made due meanwhile: its due time stays, and it has failed once more.
    line.make_due(&subject, in_line(5)).await;
    line.failed(&subject, "b", Some(at(60)), 3).await;
    let entry = line.entry(&subject).await;
    assert_eq!((entry.entry.due, entry.failures), (Some(in_line(5)), 3));
    line.take(&subject, "c", 0).await;
    line.done(&subject, "c", None).await;
    assert_eq!(line.entry(&subject).await.failures, 0);
}

async fn what_comes_up_goes_to_the_place_it_kept_and_else_pays(table: Table) {
    let line = Line::new(table);
    let (paid, pays) = (key("aCH"), look("aCL"));
    line.make_due(&paid, at_keeping(60, 7)).await;
    line.make_due(&pays, at(60)).await;
    line.reach(100).await;
    for subject in [&paid, &pays] {
        let seen = line.entry(subject).await;
        line.come_up(subject, &seen, "acme", 3).await;
    }
    assert_eq!(line.due(&paid).await, Some(in_line(7)));
    assert_eq!(line.due(&pays).await, Some(in_line(100)));
    assert_eq!(line.rows(Lane::Line, 60).await, [paid, pays]);
    assert_eq!(line.rows(Lane::Alarm, 9999).await, []);
    assert_eq!(line.join(&look("bCL"), "acme", 1).await, 103);
}

async fn the_work_of_a_dead_worker_keeps_its_place(table: Table) {
    let line = Line::new(table);
    let subject = key("aCH");
    line.join(&look("aCL"), "acme", 3).await;
    let place = line.join(&subject, "acme", 2).await;
    line.take(&subject, "dead", 0).await;
    assert_eq!(line.rows(Lane::Alarm, 60).await, slice::from_ref(&subject));
    let seen = line.entry(&subject).await;
    line.come_up(&subject, &seen, "acme", 2).await;
    let entry = line.entry(&subject).await.entry;
    assert_eq!((entry.due, entry.taken), (Some(in_line(place)), None));
    // It was not dead, only late.
    line.done(&subject, "dead", None).await;
    assert_eq!(line.due(&subject).await, Some(in_line(place)));
    assert_eq!(line.join(&look("bCL"), "acme", 1).await, place + 2);
}

async fn what_changed_since_its_time_came_is_not_moved(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    line.make_due(&subject, at_keeping(60, 7)).await;
    let seen = line.entry(&subject).await;
    line.take(&subject, "t", 60).await;
    line.done(&subject, "t", Some(at(600))).await;
    line.come_up(&subject, &seen, "acme", 1).await;
    assert_eq!(line.due(&subject).await, Some(at(600)));
}

async fn the_oldest_is_the_head_of_the_line_or_an_alarm_that_has_come_up(table: Table) {
    let line = Line::new(table);
    assert_eq!(line.oldest(1000).await, None);
    line.make_due(&look("aCL"), background(0)).await;
    line.make_due(&look("bCL"), at(500)).await;
    assert_eq!(line.oldest(499).await, None);
    assert_eq!(line.oldest(1000).await, Some(500));
    let (head, second) = (key("aCH"), key("bCH"));
    line.join_at(&head, "acme", 2, 700).await;
    line.join_at(&second, "acme", 2, 600).await;
    assert_eq!(line.oldest(499).await, Some(700));
    assert_eq!(line.oldest(1000).await, Some(500));
    // Who asks again has not come only now.
    line.join_at(&head, "acme", 2, 900).await;
    assert_eq!(line.oldest(499).await, Some(700));
    line.take(&head, "t", 900).await;
    assert_eq!(line.oldest(499).await, Some(600));
    line.done(&head, "t", Some(in_line(0))).await;
    // It is in the line again, and no failure that is told later puts that off.
    assert_eq!(line.oldest(499).await, Some(1));
    line.take(&head, "t", 2).await;
    line.make_due(&head, in_line(0)).await;
    line.failed(&head, "t", None, 1).await;
    assert_eq!(line.oldest(499).await, Some(0));
}

async fn who_pays_is_remembered(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    let payer = async || {
        let payer = line.entry(&subject).await.payer;
        payer.map(|payer| payer.as_str().to_owned())
    };
    let make_due = async |due, who: &str| {
        line.0
            .make_due(&subject, due, Some(&tenant(who)), after(0))
            .ok()
            .await;
    };
    line.make_due(&subject, background(60)).await;
    assert_eq!(payer().await, None);
    make_due(at(60), "a # tenant").await;
    line.make_due(&subject, at(50)).await;
    line.take(&subject, "t", 60).await;
    line.done(&subject, "t", Some(at(90))).await;
    assert_eq!(payer().await.as_deref(), Some("a # tenant"));
    line.join(&subject, "other", 1).await;
    assert_eq!(payer().await.as_deref(), Some("other"));
}

async fn what_is_due_leaves_the_rest_of_its_item_alone(table: Table) {
    let line = Line::new(table);
    let (clients, mints) = (Clients::new(line.1.clone()), Mints::new(line.1.clone()));
    let claim = claim_of("acme", 1, "client=aCL");
    let seen = clients.register(&claim).ok().await;
    let acme = tenant("acme");
    let bound = clients
        .bind(&partner(), &claim.client, &seen, &acme)
        .ok()
        .await;
    assert_eq!(bound, Write::Done);
    let seen = clients.read(&partner(), &claim.client).ok().await;
    let leased = mints.lease(&channel("aCH"), "t", after(0)).ok().await;
    let Leased::Ours(mint) = leased else {
        panic!("{leased:?}");
    };
    for subject in [look("aCL"), key("aCH")] {
        line.join(&subject, "acme", 1).await;
        line.take(&subject, "t", 0).await;
        line.failed(&subject, "t", Some(at(60)), 1).await;
        let entry = line.entry(&subject).await;
        line.come_up(&subject, &entry, "acme", 1).await;
        line.take(&subject, "t", 60).await;
        line.done(&subject, "t", None).await;
    }
    let now = clients.read(&partner(), &claim.client).ok().await;
    assert_eq!(now, seen);
    assert_eq!(now.owner, Some(acme.clone()));
    let renewed = mints.renew(&mint, after(1)).ok().await;
    assert_eq!(renewed, Write::Done);

    // And the other way round.
    line.make_due(&look("aCL"), in_line(9)).await;
    let entry = line.entry(&look("aCL")).await;
    clients.register(&claim).ok().await;
    clients.decide(&partner(), &claim.client, &acme).ok().await;
    let seen = clients.read(&partner(), &claim.client).ok().await;
    let bound = clients
        .bind(&partner(), &claim.client, &seen, &acme)
        .ok()
        .await;
    assert_eq!(bound, Write::Done);
    assert_eq!(line.entry(&look("aCL")).await, entry);
}
