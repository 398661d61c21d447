//! KEY: one holder at a time, and only the holder writes.

use jiff::{SignedDuration, Timestamp};
use onboarding::channel::LastWrite;
use onboarding::fact::{Assertion, KeyReason, KeyState, KeyStatus};
use onboarding::intent::Intent;
use onboarding::queue::Due;
use store::table::Table;
use store::{
    ClientSeen, LastAnswer, Leased, Mint, MintState, Mints, NextRun, Queue, StoredKey, Subject,
    Write,
};
use tests::id;

use super::{Succeeds, after, channel, fact_of, items_of};

contract! {
    a_free_lease_is_taken,
    a_lease_that_is_held_is_taken_until_its_end,
    a_lease_holds_to_its_end_and_is_taken_over_behind_it,
    a_lease_that_is_given_back_is_free_at_once,
    of_two_who_race_for_a_lease_one_gets_it,
    an_old_token_writes_nothing_any_more,
    a_lease_that_is_renewed_or_asked_for_again_holds_longer_unless_it_ran_out,
    an_intent_is_found_by_the_next_holder_until_it_is_closed,
    a_wait_a_verdict_and_the_last_answer_are_kept_until_the_next_run_says_otherwise,
    who_only_reads_sees_the_state_and_takes_no_lease,
    whose_channel_it_was_seen_to_be_is_noted_without_the_lease_and_stays,
    a_lease_and_the_due_time_leave_each_other_alone,
    a_key_is_stored_with_its_verdict_by_the_holder_alone_and_nothing_of_the_one_before_stays,
    two_channels_have_leases_of_their_own,
}

/// How long a lease holds, s.
const LEASE: i64 = 50;

/// The key of one channel; times are seconds.
struct Key(Mints, Table);

impl Key {
    fn new(table: Table) -> Self {
        Self(Mints::new(table.clone()), table)
    }

    async fn ask_at(&self, token: &str, now: Timestamp) -> Leased {
        self.0.lease(&channel("oneCH"), token, now).ok().await
    }

    async fn ask(&self, token: &str, now: i64) -> Leased {
        self.ask_at(token, after(now)).await
    }

    async fn lease(&self, token: &str, now: i64) -> Mint {
        ours(self.ask(token, now).await)
    }

    async fn intend(&self, mint: &Mint, attempt: &str) -> bool {
        self.0.intend(mint, Some(&intent(attempt))).ok().await == Write::Done
    }

    async fn renew(&self, mint: &Mint, now: i64) -> bool {
        self.0.renew(mint, after(now)).ok().await == Write::Done
    }

    /// Whether the lease was still this one's to give back.
    async fn release(&self, mint: &Mint, next: NextRun) -> bool {
        self.0.release(mint, &next).ok().await == Write::Done
    }

    async fn read(&self) -> Mint {
        self.0.read(&channel("oneCH")).ok().await
    }

    async fn inspect(&self) -> MintState {
        self.0.inspect(&channel("oneCH")).ok().await
    }

    /// The attempt of the open intent.
    async fn attempt(&self) -> Option<String> {
        self.inspect().await.intent.map(|intent| intent.attempt)
    }
}

fn ours(leased: Leased) -> Mint {
    match leased {
        Leased::Ours(mint) => *mint,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_taken_until(leased: Leased, end: i64) {
    match leased {
        Leased::Taken(until) => assert_eq!(until, after(end)),
        other => panic!("{other:?}"),
    }
}

fn nothing() -> NextRun {
    NextRun::default()
}

fn with_intent(attempt: &str) -> NextRun {
    NextRun {
        intent: Some(intent(attempt)),
        ..nothing()
    }
}

fn intent(attempt: &str) -> Intent {
    let baseline = Some(vec!["0".to_owned()]);
    Intent::next(None, attempt, baseline, vec!["1".to_owned()], after(7))
}

fn open(attempt: &str) -> Option<String> {
    Some(attempt.to_owned())
}

fn answer(at: i64) -> LastAnswer {
    LastAnswer {
        at: after(at),
        text: "a new key: no answer".to_owned(),
    }
}

async fn a_free_lease_is_taken(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    assert_eq!((mint.intent, mint.not_before), (None, None));
    assert_eq!((mint.verdict, mint.last_answer), (None, None));
    assert_eq!(mint.client_seen, None);
}

async fn a_lease_that_is_held_is_taken_until_its_end(table: Table) {
    let key = Key::new(table);
    let held = key.lease("a", 0).await;
    is_taken_until(key.ask("b", 1).await, LEASE);
    assert!(key.renew(&held, 10).await);
    is_taken_until(key.ask("b", 11).await, 10 + LEASE);
}

async fn a_lease_holds_to_its_end_and_is_taken_over_behind_it(table: Table) {
    let key = Key::new(table);
    key.lease("a", 0).await;
    is_taken_until(key.ask("b", LEASE).await, LEASE);
    let behind = after(LEASE) + SignedDuration::from_millis(1);
    ours(key.ask_at("c", behind).await);
    assert!(matches!(key.ask("a", LEASE + 1).await, Leased::Taken(_)));
}

async fn a_lease_that_is_given_back_is_free_at_once(table: Table) {
    let key = Key::new(table);
    for (round, next) in [nothing(), with_intent("first")].into_iter().enumerate() {
        let mint = key.lease("a", 0).await;
        assert!(key.release(&mint, next).await, "{round}");
        let other = key.lease("b", 0).await;
        assert!(key.release(&other, nothing()).await, "{round}");
    }
}

async fn of_two_who_race_for_a_lease_one_gets_it(table: Table) {
    let key = Key::new(table);
    for round in 0..20 {
        let now = round * 100;
        let mint = match tokio::join!(key.ask("a", now), key.ask("b", now)) {
            (Leased::Ours(mint), Leased::Taken(until))
            | (Leased::Taken(until), Leased::Ours(mint)) => {
                assert_eq!(until, after(now + LEASE));
                mint
            }
            both => panic!("{both:?}"),
        };
        assert!(key.release(&mint, nothing()).await);
    }
}

async fn an_old_token_writes_nothing_any_more(table: Table) {
    let key = Key::new(table);
    let old = key.lease("old", 0).await;
    assert!(key.intend(&old, "first").await);
    let new = key.lease("new", LEASE + 1).await;
    let before = items_of(&key.1, "KEY#").await;

    assert!(!key.intend(&old, "second").await);
    assert!(!key.renew(&old, LEASE + 1).await);
    assert!(!key.release(&old, with_intent("second")).await);
    assert!(!key.release(&old, nothing()).await);
    assert_eq!(items_of(&key.1, "KEY#").await, before);

    assert!(key.intend(&new, "third").await);
    assert!(key.release(&new, nothing()).await);
    let released = items_of(&key.1, "KEY#").await;
    // Given back is given back; who only read the state has never had it.
    for outsider in [new, key.read().await] {
        assert!(!key.intend(&outsider, "fourth").await);
        assert!(!key.renew(&outsider, LEASE + 2).await);
        assert!(!key.release(&outsider, with_intent("fourth")).await);
    }
    assert_eq!(items_of(&key.1, "KEY#").await, released);
}

async fn a_lease_that_is_renewed_or_asked_for_again_holds_longer_unless_it_ran_out(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    key.lease("a", 10).await;
    is_taken_until(key.ask("b", 10).await, 10 + LEASE);
    assert!(key.renew(&mint, 20).await);
    let end = 20 + LEASE;
    is_taken_until(key.ask("b", end).await, end);
    assert!(key.renew(&mint, end).await, "its end is still its own");
    assert!(!key.renew(&mint, end + LEASE + 1).await);
    key.lease("b", end + LEASE + 1).await;
}

async fn an_intent_is_found_by_the_next_holder_until_it_is_closed(table: Table) {
    let key = Key::new(table);
    let mint = key.lease("a", 0).await;
    assert!(key.intend(&mint, "first").await);
    assert_eq!(key.attempt().await, open("first"));

    let after_a_crash = key.lease("b", LEASE + 1).await;
    assert_eq!(after_a_crash.intent, Some(intent("first")));
    assert!(key.release(&after_a_crash, with_intent("second")).await);
    assert_eq!(key.attempt().await, open("second"));

    let next = key.lease("c", 60).await;
    assert_eq!(next.intent, Some(intent("second")));
    assert!(key.intend(&next, "third").await);
    assert!(key.release(&next, nothing()).await);
    assert_eq!(key.attempt().await, None, "closed");
    assert_eq!(key.lease("d", 61).await.intent, None);
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
    let run = |at: Option<i64>| NextRun {
        not_before: at.map(after),
        verdict: verdict.clone(),
        last_answer: at.map(answer),
        ..nothing()
    };
    let mint = key.lease("a", 0).await;
    assert!(key.release(&mint, run(Some(7200))).await);
    let again = key.lease("b", 2).await;
    assert_eq!(again.not_before, Some(after(7200)));
    assert_eq!(again.verdict, verdict);
    assert_eq!(again.last_answer, Some(answer(7200)));
    assert_eq!(key.inspect().await.last_answer, Some(answer(7200)));
    assert!(key.release(&again, run(None)).await);
    let last = key.lease("c", 4).await;
    assert_eq!((&last.not_before, &last.verdict), (&None, &verdict));
    assert_eq!(last.last_answer, None);
    assert!(key.release(&last, nothing()).await);
    assert_eq!(key.read().await.verdict, None);
}

async fn who_only_reads_sees_the_state_and_takes_no_lease(table: Table) {
    let key = Key::new(table);
    assert_eq!(key.read().await.intent, None);
    assert_eq!(key.attempt().await, None);
    // Asking leaves nothing behind.
    assert!(items_of(&key.1, "").await.is_empty());
    let mint = key.lease("a", 0).await;
    assert!(key.intend(&mint, "first").await);
    assert_eq!(key.read().await.intent, Some(intent("first")));
    assert!(key.renew(&mint, 1).await);
}

async fn whose_channel_it_was_seen_to_be_is_noted_without_the_lease_and_stays(table: Table) {
    let key = Key::new(table);
    let seen = |client: &str, at| ClientSeen {
        created_at: None,
        client: id(client),
        at: after(at),
    };
    let note = async |seen: &ClientSeen| key.0.note_seen(&channel("oneCH"), seen).ok().await;
    note(&seen("aCL", 0)).await;
    let mint = key.lease("a", 1).await;
    assert_eq!(mint.client_seen, Some(seen("aCL", 0)));
    note(&seen("bCL", 2)).await;
    assert!(key.intend(&mint, "first").await, "the lease is as it was");
    assert!(key.release(&mint, nothing()).await);
    assert_eq!(key.read().await.client_seen, Some(seen("bCL", 2)));
}

async fn a_key_is_stored_with_its_verdict_by_the_holder_alone_and_nothing_of_the_one_before_stays(
    table: Table,
) {
    let key = Key::new(table);
    let stored = |id: Option<&str>, at| StoredKey {
        sealed: vec![0, 1, 255],
        key_id: id.map(str::to_owned),
        address: id.map(|_| "https://a.example".to_owned()),
        stored_at: after(at),
    };
    let verdict = |id: Option<&str>, at| {
        let value = KeyState::stored(id.map(str::to_owned));
        let assertion = Assertion {
            key: Some(value.clone()),
            ..Assertion::default()
        };
        let fact = fact_of("oneCH", assertion, at, "").id;
        let at = after(at);
        LastWrite { value, at, fact }
    };
    let keep = async |mint: &Mint, id: Option<&str>, at| {
        let (stored, verdict) = (stored(id, at), verdict(id, at));
        key.0.keep(mint, &stored, &verdict, None).ok().await == Write::Done
    };
    let first = key.lease("a", 0).await;
    assert_eq!(first.stored, None);
    assert!(key.intend(&first, "first").await);
    assert!(keep(&first, Some("1"), 1).await);
    let seen = key.read().await;
    assert_eq!(seen.stored, Some(stored(Some("1"), 1)));
    assert_eq!(
        (seen.verdict, seen.intent),
        (Some(verdict(Some("1"), 1)), None)
    );
    let missing = NextRun {
        missing_since: Some(after(2)),
        ..nothing()
    };
    assert!(key.release(&first, missing).await);
    let seen = key.read().await;
    assert_eq!(seen.missing_since, Some(after(2)));
    assert_eq!(
        seen.stored,
        Some(stored(Some("1"), 1)),
        "a release leaves it alone"
    );

    let second = key.lease("b", 3).await;
    assert!(!keep(&first, Some("2"), 4).await, "the lease is another's");
    assert!(keep(&second, None, 5).await);
    let seen = key.read().await;
    assert_eq!(seen.stored, Some(stored(None, 5)));
    assert_eq!(seen.missing_since, None, "that was the other key");

    let reseal = async |old: &StoredKey| {
        let resealed = key.0.reseal(&channel("oneCH"), old, &[7]).ok().await;
        resealed == Write::Done
    };
    let before = stored(None, 5);
    assert!(reseal(&before).await);
    assert!(!reseal(&before).await, "another text is there");
    assert_eq!(key.read().await.stored.map(|key| key.sealed), Some(vec![7]));
}

async fn a_lease_and_the_due_time_leave_each_other_alone(table: Table) {
    let key = Key::new(table);
    let (queue, subject) = (
        Queue::new(key.1.clone()),
        Subject::Channel(channel("oneCH")),
    );
    let due = |at: i64| Due::At {
        at: after(at),
        kept: None,
    };
    let make_due = async |at| {
        queue.make_due(&subject, due(at), None, after(0)).ok().await;
    };
    make_due(100).await;
    let before = queue.entry(&subject).ok().await;
    let mint = key.lease("a", 0).await;
    assert!(key.intend(&mint, "first").await);
    assert!(key.renew(&mint, 1).await);
    assert!(key.release(&mint, with_intent("first")).await);
    assert_eq!(queue.entry(&subject).ok().await, before);

    let mint = key.lease("b", 2).await;
    make_due(90).await;
    assert_eq!(key.attempt().await, open("first"));
    assert!(key.renew(&mint, 3).await, "the lease is as it was");
    assert!(key.release(&mint, nothing()).await);
    assert_eq!(key.inspect().await.due, Some(due(90)));
}

async fn two_channels_have_leases_of_their_own(table: Table) {
    let key = Key::new(table);
    key.lease("a", 0).await;
    ours(key.0.lease(&channel("twoCH"), "b", after(0)).ok().await);
}
