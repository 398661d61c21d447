//! MINT: one holder at a time, and only the holder writes.

use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Mark;
use onboarding::fact::{Fact, KeyReason, KeyState, KeyStatus, Said, Source};
use platform::store::{Asked, Intent, Leased, Mint, Mints, NextLook, Subject, Wakes};
use platform::table::Table;

use super::{after, channel, items_of, partner};

contract! {
    a_free_lease_is_taken_and_is_due_at_its_end,
    a_lease_that_is_held_is_taken_and_the_holder_looks_again_at_once,
    a_release_without_word_leaves_what_the_holder_says,
    a_look_by_the_clock_waits_until_it_is_due,
    a_look_by_the_clock_leaves_no_word,
    a_lease_holds_to_its_end_and_is_taken_over_behind_it,
    the_same_holder_may_ask_again,
    of_two_who_race_for_a_lease_one_gets_it,
    an_old_token_writes_nothing_any_more,
    word_left_for_an_old_holder_does_not_bother_the_new_one,
    a_renewed_lease_holds_longer,
    a_lease_that_ran_out_cannot_be_renewed,
    an_intent_is_found_by_the_next_holder_until_it_is_closed,
    an_intent_survives_word_left_meanwhile,
    the_tries_are_kept,
    a_wait_and_a_verdict_are_kept_until_the_next_look_says_otherwise,
    two_channels_have_leases_of_their_own,
}

/// How long a lease holds.
const LEASE: SignedDuration = SignedDuration::from_secs(25);

async fn ask(mints: &Mints, token: &str, asked: Asked, now: Timestamp) -> Leased {
    mints
        .lease((&partner(), &channel("oneCH")), token, asked, now)
        .await
        .expect("the table")
}

async fn lease(mints: &Mints, token: &str, now: Timestamp) -> Mint {
    ours(ask(mints, token, Asked::ByChange, now).await)
}

fn ours(leased: Leased) -> Mint {
    match leased {
        Leased::Ours(mint) => *mint,
        other => panic!("{other:?}"),
    }
}

async fn outlook(mints: &Mints) -> (Option<Timestamp>, Option<Intent>) {
    mints
        .outlook(&partner(), &channel("oneCH"))
        .await
        .expect("the table")
}

async fn release(mints: &Mints, mint: &Mint, next: NextLook, now: Timestamp) {
    mints.release(mint, &next, now).await.expect("the table");
}

fn never() -> NextLook {
    NextLook::default()
}

fn at(due_at: Timestamp) -> NextLook {
    NextLook {
        due_at: Some(due_at),
        ..never()
    }
}

fn intent(attempt: &str) -> Intent {
    Intent {
        attempt: attempt.to_owned(),
        sent_at: after(0),
        baseline: vec!["1".into(), "2".into()],
        posts: 3,
    }
}

async fn a_free_lease_is_taken_and_is_due_at_its_end(table: Table) {
    let mints = Mints::new(table.clone());
    let mint = lease(&mints, "a", after(0)).await;
    assert_eq!((mint.intent, mint.tries), (None, 0));
    assert_eq!(
        outlook(&mints).await,
        (Some(after(0) + LEASE), None),
        "a holder that dies is not forgotten"
    );
    let due = Wakes::new(table)
        .due(&partner(), after(25), 10)
        .await
        .expect("the table");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].subject, Subject::Channel(channel("oneCH")));
}

async fn a_lease_that_is_held_is_taken_and_the_holder_looks_again_at_once(table: Table) {
    let mints = Mints::new(table);
    let held = lease(&mints, "a", after(0)).await;
    assert!(matches!(
        ask(&mints, "b", Asked::ByChange, after(1)).await,
        Leased::Taken
    ));
    release(&mints, &held, never(), after(2)).await;
    assert_eq!(outlook(&mints).await, (Some(after(2)), None));
    let again = ours(ask(&mints, "c", Asked::ByClock, after(2)).await);
    release(&mints, &again, never(), after(3)).await;
    assert_eq!(outlook(&mints).await, (None, None), "the word was heard");
}

async fn a_release_without_word_leaves_what_the_holder_says(table: Table) {
    let (mints, wakes) = (Mints::new(table.clone()), Wakes::new(table));
    let mint = lease(&mints, "a", after(0)).await;
    release(&mints, &mint, at(after(3600)), after(1)).await;
    assert_eq!(outlook(&mints).await, (Some(after(3600)), None));
    let mint = lease(&mints, "b", after(1)).await;
    release(&mints, &mint, never(), after(2)).await;
    assert_eq!(outlook(&mints).await, (None, None));
    assert!(
        wakes
            .due(&partner(), after(1_000_000), 10)
            .await
            .expect("the table")
            .is_empty()
    );
}

async fn a_look_by_the_clock_waits_until_it_is_due(table: Table) {
    let mints = Mints::new(table.clone());
    assert!(
        matches!(
            ask(&mints, "a", Asked::ByClock, after(0)).await,
            Leased::NotDue
        ),
        "nothing is known of it"
    );
    assert!(items_of(&table, "MINT#").await.is_empty());
    let mint = lease(&mints, "a", after(0)).await;
    release(&mints, &mint, at(after(60)), after(1)).await;
    assert!(matches!(
        ask(&mints, "b", Asked::ByClock, after(59)).await,
        Leased::NotDue
    ));
    let mint = ours(ask(&mints, "b", Asked::ByClock, after(60)).await);
    release(&mints, &mint, never(), after(61)).await;
    assert!(matches!(
        ask(&mints, "c", Asked::ByClock, after(9999)).await,
        Leased::NotDue
    ));
}

async fn a_look_by_the_clock_leaves_no_word(table: Table) {
    let mints = Mints::new(table);
    let held = lease(&mints, "a", after(0)).await;
    assert!(matches!(
        ask(&mints, "b", Asked::ByClock, after(25)).await,
        Leased::Taken
    ));
    release(&mints, &held, never(), after(25)).await;
    assert_eq!(outlook(&mints).await, (None, None));
}

async fn a_lease_holds_to_its_end_and_is_taken_over_behind_it(table: Table) {
    for asked in [Asked::ByChange, Asked::ByClock] {
        let mints = Mints::new(table.clone());
        let start = after(if asked == Asked::ByChange { 0 } else { 1000 });
        let end = start + LEASE;
        lease(&mints, "a", start).await;
        assert!(
            matches!(ask(&mints, "b", asked, end).await, Leased::Taken),
            "{asked:?}"
        );
        let behind = end + SignedDuration::from_millis(1);
        let mint = ours(ask(&mints, "c", asked, behind).await);
        assert_eq!(outlook(&mints).await.0, Some(behind + LEASE));
        release(&mints, &mint, never(), behind).await;
    }
}

async fn the_same_holder_may_ask_again(table: Table) {
    let mints = Mints::new(table);
    lease(&mints, "a", after(0)).await;
    lease(&mints, "a", after(10)).await;
    assert_eq!(outlook(&mints).await.0, Some(after(10) + LEASE));
}

async fn of_two_who_race_for_a_lease_one_gets_it(table: Table) {
    let mints = Mints::new(table);
    for round in 0..20 {
        let now = after(round * 100);
        let both = tokio::join!(
            ask(&mints, "a", Asked::ByChange, now),
            ask(&mints, "b", Asked::ByChange, now)
        );
        let mint = match both {
            (Leased::Ours(mint), Leased::Taken) | (Leased::Taken, Leased::Ours(mint)) => mint,
            both => panic!("{both:?}"),
        };
        release(&mints, &mint, never(), now).await;
        assert_eq!(
            outlook(&mints).await.0,
            Some(now),
            "the other one left word"
        );
    }
}

async fn an_old_token_writes_nothing_any_more(table: Table) {
    let mints = Mints::new(table.clone());
    let old = lease(&mints, "old", after(0)).await;
    assert!(
        mints
            .intend(&old, &intent("first"))
            .await
            .expect("the table")
    );
    let new = lease(&mints, "new", after(26)).await;
    let before = items_of(&table, "MINT#").await;

    assert!(
        !mints
            .intend(&old, &intent("second"))
            .await
            .expect("the table")
    );
    assert!(!mints.renew(&old, after(26)).await.expect("the table"));
    release(&mints, &old, at(after(9999)), after(27)).await;
    assert_eq!(items_of(&table, "MINT#").await, before);

    assert!(
        mints
            .intend(&new, &intent("third"))
            .await
            .expect("the table")
    );
    release(&mints, &new, never(), after(28)).await;
    let released = items_of(&table, "MINT#").await;
    assert!(
        !mints
            .intend(&new, &intent("fourth"))
            .await
            .expect("the table"),
        "given back is given back"
    );
    assert!(!mints.renew(&new, after(28)).await.expect("the table"));
    release(&mints, &new, at(after(9999)), after(29)).await;
    assert_eq!(items_of(&table, "MINT#").await, released);
}

async fn word_left_for_an_old_holder_does_not_bother_the_new_one(table: Table) {
    let mints = Mints::new(table);
    lease(&mints, "a", after(0)).await;
    assert!(matches!(
        ask(&mints, "b", Asked::ByChange, after(1)).await,
        Leased::Taken
    ));
    let new = lease(&mints, "c", after(26)).await;
    release(&mints, &new, never(), after(27)).await;
    assert_eq!(
        outlook(&mints).await,
        (None, None),
        "it looked after the word was left"
    );
}

async fn a_renewed_lease_holds_longer(table: Table) {
    let mints = Mints::new(table);
    let mint = lease(&mints, "a", after(0)).await;
    assert!(mints.renew(&mint, after(20)).await.expect("the table"));
    assert_eq!(outlook(&mints).await.0, Some(after(20) + LEASE));
    assert!(matches!(
        ask(&mints, "b", Asked::ByChange, after(26)).await,
        Leased::Taken
    ));
}

async fn a_lease_that_ran_out_cannot_be_renewed(table: Table) {
    let mints = Mints::new(table);
    let mint = lease(&mints, "a", after(0)).await;
    assert!(
        mints.renew(&mint, after(25)).await.expect("the table"),
        "its end is still its own"
    );
    assert!(!mints.renew(&mint, after(51)).await.expect("the table"));
    assert_eq!(outlook(&mints).await.0, Some(after(50)));
}

async fn an_intent_is_found_by_the_next_holder_until_it_is_closed(table: Table) {
    let mints = Mints::new(table);
    let mint = lease(&mints, "a", after(0)).await;
    assert!(
        mints
            .intend(&mint, &intent("first"))
            .await
            .expect("the table")
    );
    assert_eq!(outlook(&mints).await.1, Some(intent("first")));

    let after_a_crash = lease(&mints, "b", after(26)).await;
    assert_eq!(after_a_crash.intent, Some(intent("first")));
    let left_open = NextLook {
        intent: Some(intent("second")),
        ..at(after(60))
    };
    release(&mints, &after_a_crash, left_open, after(27)).await;
    assert_eq!(
        outlook(&mints).await,
        (Some(after(60)), Some(intent("second")))
    );

    let next = lease(&mints, "c", after(60)).await;
    assert_eq!(next.intent, Some(intent("second")));
    release(
        &mints,
        &next,
        NextLook {
            intent: next.intent.clone(),
            ..never()
        },
        after(61),
    )
    .await;
    assert_eq!(
        outlook(&mints).await,
        (None, Some(intent("second"))),
        "open, and due only by a change"
    );

    let last = lease(&mints, "d", after(62)).await;
    release(&mints, &last, at(after(90)), after(63)).await;
    assert_eq!(outlook(&mints).await, (Some(after(90)), None), "closed");
}

async fn an_intent_survives_word_left_meanwhile(table: Table) {
    let mints = Mints::new(table);
    let mint = lease(&mints, "a", after(0)).await;
    assert!(
        mints
            .intend(&mint, &intent("first"))
            .await
            .expect("the table")
    );
    assert!(matches!(
        ask(&mints, "b", Asked::ByChange, after(1)).await,
        Leased::Taken
    ));
    let next = NextLook {
        due_at: Some(after(3600)),
        intent: Some(intent("first")),
        tries: 4,
        ..never()
    };
    release(&mints, &mint, next, after(2)).await;
    assert_eq!(
        outlook(&mints).await,
        (Some(after(2)), Some(intent("first"))),
        "due at once, nothing lost"
    );
    assert_eq!(lease(&mints, "c", after(2)).await.tries, 4);
}

async fn a_wait_and_a_verdict_are_kept_until_the_next_look_says_otherwise(table: Table) {
    let mints = Mints::new(table);
    let verdict = KeyState::without_key(KeyStatus::Waiting, KeyReason::HubUnavailable);
    let said = Said {
        key: Some(verdict),
        ..Said::default()
    };
    let fact = Fact::new(
        (&partner(), &channel("oneCH")),
        Source::Provision,
        said.clone(),
        after(1),
        "a look",
    );
    let verdict = said.key.map(|value| Mark {
        value,
        at: fact.received_at,
        fact: fact.id,
    });
    let mint = lease(&mints, "a", after(0)).await;
    let next = NextLook {
        not_before: Some(after(7200)),
        verdict: verdict.clone(),
        ..at(after(7200))
    };
    release(&mints, &mint, next, after(1)).await;
    let again = lease(&mints, "b", after(2)).await;
    assert_eq!(
        (again.not_before, &again.verdict),
        (Some(after(7200)), &verdict)
    );
    release(
        &mints,
        &again,
        NextLook {
            verdict: verdict.clone(),
            ..never()
        },
        after(3),
    )
    .await;
    let last = lease(&mints, "c", after(4)).await;
    assert_eq!((last.not_before, last.verdict), (None, verdict));
}

async fn the_tries_are_kept(table: Table) {
    let mints = Mints::new(table);
    for tries in [1, 2, 9, 0] {
        let mint = lease(&mints, "a", after(0)).await;
        release(&mints, &mint, NextLook { tries, ..never() }, after(0)).await;
        assert_eq!(lease(&mints, "a", after(0)).await.tries, tries);
    }
}

async fn two_channels_have_leases_of_their_own(table: Table) {
    let mints = Mints::new(table);
    lease(&mints, "a", after(0)).await;
    let other = mints
        .lease(
            (&partner(), &channel("twoCH")),
            "b",
            Asked::ByChange,
            after(0),
        )
        .await;
    assert!(matches!(other.expect("the table"), Leased::Ours(_)));
}
