//! MINT: one holder at a time, and only the holder writes.

use jiff::{SignedDuration, Timestamp};
use onboarding::channel::LastWrite;
use onboarding::fact::{Assertion, KeyReason, KeyState, KeyStatus};
use store::table::Table;
use store::{
    Intent, LastAnswer, Leased, Mint, MintState, Mints, NextRun, Requeues, Subject, Trigger, Write,
};

use super::{Succeeds, after, channel, fact_of, items_of, partner};

contract! {
    a_free_lease_is_taken_and_is_due_at_its_end,
    a_lease_that_is_held_is_taken_and_the_holder_reruns_at_once,
    a_release_without_a_request_leaves_what_the_holder_says,
    a_run_by_the_clock_waits_until_it_is_due_and_requests_no_rerun,
    a_lease_holds_to_its_end_and_is_taken_over_behind_it,
    of_two_who_race_for_a_lease_one_gets_it,
    an_old_token_writes_nothing_any_more,
    a_rerun_requested_of_an_old_holder_does_not_bother_the_new_one,
    a_lease_that_is_renewed_or_asked_for_again_holds_longer_unless_it_ran_out,
    an_intent_is_found_by_the_next_holder_until_it_is_closed,
    intent_and_tries_survive_a_rerun_requested_meanwhile,
    a_wait_a_verdict_and_the_last_answer_are_kept_until_the_next_run_says_otherwise,
    two_channels_have_leases_of_their_own,
}

/// How long a lease holds, s.
const LEASE: i64 = 25;

/// The key of one channel; times are seconds.
struct Key(Mints, Table);

impl Key {
    fn new(table: Table) -> Self {
        Self(Mints::new(table.clone()), table)
    }

    async fn ask(&self, token: &str, trigger: Trigger, now: Timestamp) -> Leased {
        let one = channel("oneCH");
        self.0.lease(&one, token, trigger, now).ok().await
    }

    async fn by_change(&self, token: &str, now: i64) -> Leased {
        self.ask(token, Trigger::Change, after(now)).await
    }

    async fn by_clock(&self, token: &str, now: i64) -> Leased {
        self.ask(token, Trigger::Clock, after(now)).await
    }

    async fn lease(&self, token: &str, now: i64) -> Mint {
        ours(self.by_change(token, now).await)
    }

    async fn intend(&self, mint: &Mint, attempt: &str) -> bool {
        self.0.intend(mint, &intent(attempt)).ok().await == Write::Done
    }

    async fn renew(&self, mint: &Mint, now: i64) -> bool {
        self.0.renew(mint, after(now)).ok().await == Write::Done
    }

    async fn release(&self, mint: &Mint, next: NextRun, now: i64) {
        self.0.release(mint, &next, after(now)).ok().await;
    }

    /// When it is due, and the attempt of the open intent.
    async fn inspect(&self) -> (Option<i64>, Option<String>) {
        let MintState { due_at, intent, .. } = self.0.inspect(&channel("oneCH")).ok().await;
        let due_at = due_at.map(|at| at.as_second() - after(0).as_second());
        (due_at, intent.map(|intent| intent.attempt))
    }

    async fn due_at(&self) -> Option<i64> {
        self.inspect().await.0
    }

    async fn subjects_due(&self, now: i64) -> Vec<Subject> {
        let requeues = Requeues::new(self.1.clone());
        let due = requeues.due(&partner(), after(now), 10).ok().await;
        due.into_iter().map(|due| due.subject).collect()
    }
}

fn ours(leased: Leased) -> Mint {
    match leased {
        Leased::Ours(mint) => *mint,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_taken(leased: Leased) {
    assert!(matches!(leased, Leased::Taken), "{leased:?}");
}

#[track_caller]
fn is_not_due(leased: Leased) {
    assert!(matches!(leased, Leased::NotDue), "{leased:?}");
}

fn never() -> NextRun {
    NextRun::default()
}

fn at(due_at: i64) -> NextRun {
    NextRun {
        due_at: Some(after(due_at)),
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

fn open(attempt: &str) -> Option<String> {
    Some(attempt.to_owned())
}

async fn a_free_lease_is_taken_and_is_due_at_its_end(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    assert_eq!((mint.intent, mint.tries), (None, 0));
    // A holder that dies is not forgotten.
    assert_eq!(key.inspect().await, (Some(LEASE), None));
    let due = key.subjects_due(LEASE).await;
    assert_eq!(due, [Subject::Channel(channel("oneCH"))]);
}

async fn a_lease_that_is_held_is_taken_and_the_holder_reruns_at_once(table: Table) {
    let key = Key::new(table);
    let held = key.lease("a", 0).await;
    is_taken(key.by_change("b", 1).await);
    key.release(&held, never(), 2).await;
    assert_eq!(key.inspect().await, (Some(2), None));
    let again = ours(key.by_clock("c", 2).await);
    key.release(&again, never(), 3).await;
    assert_eq!(key.due_at().await, None, "the request was heard");
}

async fn a_release_without_a_request_leaves_what_the_holder_says(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    key.release(&mint, at(3600), 1).await;
    assert_eq!(key.inspect().await, (Some(3600), None));
    let mint = key.lease("b", 1).await;
    key.release(&mint, never(), 2).await;
    assert_eq!(key.inspect().await, (None, None));
    assert_eq!(key.subjects_due(1_000_000).await, []);
}

async fn a_run_by_the_clock_waits_until_it_is_due_and_requests_no_rerun(table: Table) {
    let key = Key::new(table);
    is_not_due(key.by_clock("a", 0).await);
    assert!(items_of(&key.1, "MINT#").await.is_empty());
    let mint = key.lease("a", 0).await;
    key.release(&mint, at(60), 1).await;
    is_not_due(key.by_clock("b", 59).await);
    let mint = ours(key.by_clock("b", 60).await);
    key.release(&mint, never(), 61).await;
    is_not_due(key.by_clock("c", 9999).await);

    let held = key.lease("c", 9999).await;
    is_taken(key.by_clock("d", 9999 + LEASE).await);
    key.release(&held, never(), 9999 + LEASE).await;
    assert_eq!(key.inspect().await, (None, None));
}

async fn a_lease_holds_to_its_end_and_is_taken_over_behind_it(table: Table) {
    let key = Key::new(table);
    for (trigger, start) in [(Trigger::Change, 0), (Trigger::Clock, 1000)] {
        key.lease("a", start).await;
        let end = after(start + LEASE);
        is_taken(key.ask("b", trigger, end).await);
        let behind = end + SignedDuration::from_millis(1);
        let mint = ours(key.ask("c", trigger, behind).await);
        assert_eq!(key.due_at().await, Some(start + 2 * LEASE));
        key.release(&mint, never(), start + LEASE + 1).await;
    }
}

async fn of_two_who_race_for_a_lease_one_gets_it(table: Table) {
    let key = Key::new(table);
    for round in 0..20 {
        let now = round * 100;
        let mint = match tokio::join!(key.by_change("a", now), key.by_change("b", now)) {
            (Leased::Ours(mint), Leased::Taken) | (Leased::Taken, Leased::Ours(mint)) => mint,
            both => panic!("{both:?}"),
        };
        key.release(&mint, never(), now).await;
        assert_eq!(key.due_at().await, Some(now), "the other one left word");
    }
}

async fn an_old_token_writes_nothing_any_more(table: Table) {
    let key = Key::new(table);
    let old = key.lease("old", 0).await;
    assert!(key.intend(&old, "first").await);
    let new = key.lease("new", 26).await;
    let before = items_of(&key.1, "MINT#").await;

    assert!(!key.intend(&old, "second").await);
    assert!(!key.renew(&old, 26).await);
    key.release(&old, at(9999), 27).await;
    assert_eq!(items_of(&key.1, "MINT#").await, before);

    assert!(key.intend(&new, "third").await);
    key.release(&new, never(), 28).await;
    let released = items_of(&key.1, "MINT#").await;
    // Given back is given back.
    assert!(!key.intend(&new, "fourth").await);
    assert!(!key.renew(&new, 28).await);
    key.release(&new, at(9999), 29).await;
    assert_eq!(items_of(&key.1, "MINT#").await, released);
}

async fn a_rerun_requested_of_an_old_holder_does_not_bother_the_new_one(table: Table) {
    let key = Key::new(table);
    key.lease("a", 0).await;
    is_taken(key.by_change("b", 1).await);
    let new = key.lease("c", 26).await;
    key.release(&new, never(), 27).await;
    // It looked after the word was left.
    assert_eq!(key.inspect().await, (None, None));
}

async fn a_lease_that_is_renewed_or_asked_for_again_holds_longer_unless_it_ran_out(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    key.lease("a", 10).await;
    assert_eq!(key.due_at().await, Some(10 + LEASE));
    assert!(key.renew(&mint, 20).await);
    assert_eq!(key.due_at().await, Some(20 + LEASE));
    is_taken(key.by_change("b", 26).await);
    let end = 20 + LEASE;
    assert!(key.renew(&mint, end).await, "its end is still its own");
    assert!(!key.renew(&mint, end + LEASE + 1).await);
    assert_eq!(key.due_at().await, Some(end + LEASE));
}

async fn an_intent_is_found_by_the_next_holder_until_it_is_closed(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    assert!(key.intend(&mint, "first").await);
    assert_eq!(key.inspect().await.1, open("first"));

    let after_a_crash = key.lease("b", 26).await;
    assert_eq!(after_a_crash.intent, Some(intent("first")));
    let left_open = NextRun {
        intent: Some(intent("second")),
        ..at(60)
    };
    key.release(&after_a_crash, left_open, 27).await;
    assert_eq!(key.inspect().await, (Some(60), open("second")));

    let next = key.lease("c", 60).await;
    assert_eq!(next.intent, Some(intent("second")));
    let open_and_due_only_by_a_change = NextRun {
        intent: next.intent.clone(),
        ..never()
    };
    key.release(&next, open_and_due_only_by_a_change, 61).await;
    assert_eq!(key.inspect().await, (None, open("second")));

    let last = key.lease("d", 62).await;
    key.release(&last, at(90), 63).await;
    assert_eq!(key.inspect().await, (Some(90), None), "closed");
}

async fn intent_and_tries_survive_a_rerun_requested_meanwhile(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    assert!(key.intend(&mint, "first").await);
    is_taken(key.by_change("b", 1).await);
    let next = NextRun {
        intent: Some(intent("first")),
        tries: 4,
        ..at(3600)
    };
    key.release(&mint, next, 2).await;
    // Due at once, and nothing is lost.
    assert_eq!(key.inspect().await, (Some(2), open("first")));
    let again = key.lease("c", 2).await;
    assert_eq!(again.tries, 4);
    key.release(&again, never(), 3).await;
    assert_eq!(key.lease("d", 3).await.tries, 0);
}

async fn a_wait_a_verdict_and_the_last_answer_are_kept_until_the_next_run_says_otherwise(
    table: Table,
) {
    let key = Key::new(table);
    let state = KeyState::without_key(KeyStatus::Waiting, KeyReason::HubUnavailable);
    let said = Assertion {
        key: Some(state.clone()),
        ..Assertion::default()
    };
    let fact = fact_of("oneCH", said, 1, "a look");
    let verdict = Some(LastWrite {
        value: state,
        at: fact.received_at,
        fact: fact.id,
    });
    let answer = |at| LastAnswer {
        at: after(at),
        text: "a new key: no answer".to_owned(),
    };
    let look = |due_at: Option<i64>| NextRun {
        due_at: due_at.map(after),
        not_before: due_at.map(after),
        verdict: verdict.clone(),
        last_answer: due_at.map(answer),
        ..never()
    };
    let mint = key.lease("a", 0).await;
    key.release(&mint, look(Some(7200)), 1).await;
    let again = key.lease("b", 2).await;
    assert_eq!(again.not_before, Some(after(7200)));
    assert_eq!(again.verdict, verdict);
    assert_eq!(again.last_answer, Some(answer(7200)));
    key.release(&again, look(None), 3).await;
    let last = key.lease("c", 4).await;
    assert_eq!((last.not_before, last.verdict), (None, verdict));
    assert_eq!(last.last_answer, None);
}

async fn two_channels_have_leases_of_their_own(table: Table) {
    let key = Key::new(table);
    key.lease("a", 0).await;
    let two = channel("twoCH");
    let other = key.0.lease(&two, "b", Trigger::Change, after(0));
    ours(other.ok().await);
}
