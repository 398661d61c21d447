//! WORK: a partner has one worker at a time, and its state outlives it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onboarding::queue::{Circuit, Heard, Lane, Place, Rate, Work};
use store::table::Table;
use store::{Works, Write};
use tests::id;

use super::{Succeeds, after, items_of, other_partner, partner};

contract! {
    a_partner_that_never_had_a_worker_has_the_state_of_a_new_one,
    while_one_holds_the_lease_no_other_gets_it,
    a_lease_holds_to_its_end_and_is_taken_over_behind_it,
    of_two_who_race_for_the_lease_one_gets_it,
    saving_or_asking_again_extends_the_lease,
    who_has_lost_the_lease_saves_nothing,
    a_lease_that_was_given_back_is_free_at_once_and_saves_nothing_more,
    the_state_outlives_its_worker,
    partners_have_workers_of_their_own,
}

/// How long a lease holds, s.
const LEASE: i64 = 20;

/// The worker of one partner; times are seconds.
struct Post(Works, Table);

impl Post {
    fn new(table: Table) -> Self {
        Self(Works::new(table.clone()), table)
    }

    async fn ask_at(&self, token: &str, now: Timestamp) -> Option<Work> {
        self.0.lease(&partner(), token, now).ok().await
    }

    async fn ask(&self, token: &str, now: i64) -> Option<Work> {
        self.ask_at(token, after(now)).await
    }

    async fn lease(&self, token: &str, now: i64) -> Work {
        self.ask(token, now).await.expect("the lease")
    }

    async fn save(&self, token: &str, work: &Work, now: i64) -> bool {
        let saved = self.0.save(&partner(), token, work, after(now)).ok().await;
        saved == Write::Done
    }

    async fn release(&self, token: &str, work: &Work) -> bool {
        let released = self.0.release(&partner(), token, work).ok().await;
        released.saved == Write::Done
    }

    /// The state, and until when the lease is held.
    async fn inspect(&self) -> (Work, Option<i64>) {
        let state = self.0.inspect(&partner()).ok().await;
        let until = state.leased_until;
        let until = until.map(|until| until.as_second() - after(0).as_second());
        (state.work, until)
    }
}

/// A worker that has come to `place`.
fn at_place(place: u64) -> Work {
    let mut work = Work::default();
    work.place = Place::new(place);
    work
}

async fn a_partner_that_never_had_a_worker_has_the_state_of_a_new_one(table: Table) {
    let post = Post::new(table);
    assert_eq!(post.inspect().await, (Work::default(), None));
    // Asking leaves nothing behind.
    assert!(items_of(&post.1, "").await.is_empty());
    assert_eq!(post.lease("a", 0).await, Work::default());
    assert_eq!(post.inspect().await, (Work::default(), Some(LEASE)));
}

async fn while_one_holds_the_lease_no_other_gets_it(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    let before = post.inspect().await;
    assert_eq!(post.ask("b", 1).await, None);
    assert!(!post.save("b", &at_place(9), 1).await);
    assert!(!post.release("b", &at_place(9)).await);
    assert_eq!(post.inspect().await, before);
    // Its holder is told that it was asked for.
    let released = post.0.release(&partner(), "a", &at_place(3)).ok().await;
    assert_eq!(released.asked_at, Some(after(1)));
}

async fn a_lease_holds_to_its_end_and_is_taken_over_behind_it(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    assert!(post.save("a", &at_place(3), 0).await);
    assert_eq!(post.ask("b", LEASE).await, None);
    let behind = after(LEASE) + SignedDuration::from_millis(1);
    assert_eq!(post.ask_at("b", behind).await, Some(at_place(3)));
    assert_eq!(post.ask("a", LEASE + 1).await, None);
}

async fn of_two_who_race_for_the_lease_one_gets_it(table: Table) {
    let post = Post::new(table);
    for round in 0..20 {
        let now = round * 100;
        let (a, b) = tokio::join!(post.ask("a", now), post.ask("b", now));
        assert_eq!(a.is_some(), b.is_none(), "{a:?} {b:?}");
    }
}

async fn saving_or_asking_again_extends_the_lease(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    assert!(post.save("a", &at_place(1), 10).await);
    assert_eq!(post.inspect().await.1, Some(10 + LEASE));
    let end = 10 + LEASE;
    assert!(
        post.save("a", &at_place(2), end).await,
        "its end is its own"
    );
    assert_eq!(post.lease("a", end + 1).await, at_place(2));
    assert_eq!(post.ask("b", end + LEASE).await, None);
    assert_eq!(post.inspect().await.1, Some(end + 1 + LEASE));
}

async fn who_has_lost_the_lease_saves_nothing(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    assert!(post.save("a", &at_place(1), 0).await);
    // It ran out: another may have it at any time.
    assert!(!post.save("a", &at_place(2), LEASE + 1).await);
    assert_eq!(post.lease("b", LEASE + 1).await, at_place(1));
    let before = items_of(&post.1, "WORK#").await;
    assert!(!post.save("a", &at_place(2), LEASE + 2).await);
    assert!(!post.release("a", &at_place(2)).await);
    assert_eq!(items_of(&post.1, "WORK#").await, before);
    assert!(post.save("b", &at_place(3), LEASE + 3).await);
}

async fn a_lease_that_was_given_back_is_free_at_once_and_saves_nothing_more(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    assert!(post.release("a", &at_place(4)).await);
    assert_eq!(post.inspect().await, (at_place(4), None));
    assert!(!post.save("a", &at_place(9), 1).await);
    assert!(!post.release("a", &at_place(9)).await);
    assert_eq!(post.lease("b", 1).await, at_place(4));
}

async fn the_state_outlives_its_worker(table: Table) {
    let post = Post::new(table);
    let stopped = |heard: &[(Heard, &str)]| {
        let mut circuit = Circuit::default();
        for (heard, subject) in heard {
            circuit.hear(*heard, subject, after(0));
        }
        circuit
    };
    let silence = [(Heard::Nothing, "aCL"), (Heard::Nothing, "bCH")];
    let circuits = [
        Circuit::default(),
        stopped(&[(Heard::RateLimited(Some(Duration::from_secs(7))), "aCL")]),
        stopped(&[(Heard::BadCredentials, "aCL")]),
        // Not stopped yet, and stopped.
        stopped(&silence),
        stopped(&[silence, silence].concat()),
    ];
    let rates = ["off", "5/30s", "100/3600s"];
    let mut now = 0;
    for circuit in circuits {
        for rate in rates {
            let rate: Rate = id(rate);
            let mut work = at_place(u64::from(u32::MAX) * 1000);
            work.circuit = circuit.clone();
            for call in 0..120 {
                let lane = if call == 60 {
                    Lane::Background
                } else {
                    Lane::Line
                };
                work.count(rate, lane, after(call));
            }
            let (saver, next) = (format!("{now} saves"), format!("{now} is next"));
            post.lease(&saver, now).await;
            assert!(post.save(&saver, &work, now).await);
            assert_eq!(post.inspect().await.0, work);
            // The next takes over from a worker that died, and from one that ended.
            now += LEASE + 1;
            assert_eq!(post.lease(&next, now).await, work);
            let mut later = work.clone();
            later.place = later.place.after(1);
            assert!(post.release(&next, &later).await);
            assert_eq!(post.lease(&saver, now).await, later);
            assert!(post.release(&saver, &later).await);
        }
    }
}

async fn partners_have_workers_of_their_own(table: Table) {
    let post = Post::new(table);
    post.lease("a", 0).await;
    assert!(post.save("a", &at_place(5), 0).await);
    let theirs = post.0.lease(&other_partner(), "b", after(0)).ok().await;
    assert_eq!(theirs, Some(Work::default()));
}
