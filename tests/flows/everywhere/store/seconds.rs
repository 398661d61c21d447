//! IoTimestamps: each is given once, none lies above the clock.

use std::collections::BTreeSet;

use store::IoTimestamps;
use store::Taken::{self, NoTurnFor, NoneFor, Second};
use store::table::Table;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{NOW, other_partner, partner, tenant};

contract! {
    the_first_second_lies_a_window_back_and_each_further_one_is_the_next,
    up_to_the_clock_every_second_is_given_and_none_above_it,
    when_none_is_free_the_wait_until_the_next_is_told,
    a_clock_that_was_set_back_gives_no_second_twice,
    after_a_pause_the_seconds_start_a_window_back_again,
    without_a_window_only_the_second_of_the_clock_is_given,
    two_partners_have_seconds_of_their_own,
    two_who_race_for_the_first_second_get_different_ones,
    many_who_race_get_each_second_once,
    two_memories_of_one_partner_get_different_seconds,
    once_half_of_them_is_gone_a_tenant_gets_one_second_in_ten_and_others_theirs,
}

const WINDOW: i64 = 300;

/// A second for a tenant that asks for the first time.
async fn take(seconds: &IoTimestamps, now: i64, window: i64) -> Taken {
    let tenant = tenant(&Uuid::new_v4().to_string());
    let taken = seconds.take(&partner(), &tenant, now, window).await;
    taken.expect("the table")
}

/// Asks one after the other, each at its time, and gets what stands beside it; times are seconds from [`NOW`] on.
async fn gives(table: Table, window: i64, takes: &[(i64, Taken)]) {
    let seconds = IoTimestamps::new(table);
    for (index, (now, wanted)) in takes.iter().enumerate() {
        let taken = match take(&seconds, NOW + now, window).await {
            Second(second) => Second(second - NOW),
            none => none,
        };
        assert_eq!(taken, *wanted, "{index}");
    }
}

async fn the_first_second_lies_a_window_back_and_each_further_one_is_the_next(table: Table) {
    let takes = [-300, -299, -298, -297, -296].map(|second| (0, Second(second)));
    gives(table, 300, &takes).await;
}

async fn up_to_the_clock_every_second_is_given_and_none_above_it(table: Table) {
    let all = [-4, -3, -2, -1, 0].map(|second| (0, Second(second)));
    // A refusal uses nothing up.
    let then = [(0, NoneFor(1)), (0, NoneFor(1)), (1, Second(1))];
    gives(table, 4, &[all.as_slice(), &then].concat()).await;
}

async fn when_none_is_free_the_wait_until_the_next_is_told(table: Table) {
    // The last by a clock that is nine seconds behind.
    let takes = [(0, Second(0)), (0, NoneFor(1)), (-9, NoneFor(10))];
    gives(table, 0, &takes).await;
}

async fn a_clock_that_was_set_back_gives_no_second_twice(table: Table) {
    let before = [(0, Second(-2)), (-1, Second(-1))];
    let none = [(-1, NoneFor(1)), (-100, NoneFor(100))];
    gives(table, 2, &[before, none].concat()).await;
}

async fn after_a_pause_the_seconds_start_a_window_back_again(table: Table) {
    let later = [(86_400, Second(86_100)), (86_400, Second(86_101))];
    gives(
        table,
        300,
        &[&[(0, Second(-300))], later.as_slice()].concat(),
    )
    .await;
}

async fn without_a_window_only_the_second_of_the_clock_is_given(table: Table) {
    let takes = [0, 1, 7].map(|now| [(now, Second(now)), (now, NoneFor(1))]);
    gives(table, 0, &takes.concat()).await;
}

async fn two_partners_have_seconds_of_their_own(table: Table) {
    let seconds = IoTimestamps::new(table);
    assert_eq!(take(&seconds, NOW, 0).await, Second(NOW));
    let (partner, acme) = (other_partner(), tenant("acme"));
    let other = seconds.take(&partner, &acme, NOW, 0).await;
    assert_eq!(other.expect("the table"), Second(NOW));
}

async fn two_who_race_for_the_first_second_get_different_ones(table: Table) {
    let seconds = IoTimestamps::new(table);
    for round in 0..20 {
        // Far enough apart that both must jump.
        let now = NOW + round * 10_000;
        let (a, b) = tokio::join!(take(&seconds, now, WINDOW), take(&seconds, now, WINDOW));
        let given = BTreeSet::from([second(a), second(b)]);
        assert_eq!(given, BTreeSet::from([now - WINDOW, now - WINDOW + 1]));
    }
}

async fn many_who_race_get_each_second_once(table: Table) {
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let seconds = IoTimestamps::new(table.clone());
        all.spawn(async move { take(&seconds, NOW, 29).await });
    }
    let taken = all.join_all().await;
    let given = taken.iter().filter(|taken| **taken != NoneFor(1));
    let given: Vec<i64> = given.map(|taken| second(*taken)).collect();
    let different: BTreeSet<i64> = given.iter().copied().collect();
    assert_eq!((given.len(), different), (30, (NOW - 29..=NOW).collect()));
}

/// Each process remembers what it has seen itself, and the other one takes seconds as well.
async fn two_memories_of_one_partner_get_different_seconds(table: Table) {
    let (one, other) = (
        IoTimestamps::new(table.clone()),
        IoTimestamps::new(table.clone()),
    );
    let later = NOW + 10_000;
    let takes = [
        (&one, NOW, NOW - WINDOW),
        (&other, NOW, NOW - WINDOW + 1),
        (&one, NOW, NOW - WINDOW + 2),
        (&other, later, later - WINDOW),
        (&one, later, later - WINDOW + 1),
        (&other, later, later - WINDOW + 2),
        (&IoTimestamps::new(table), later, later - WINDOW + 3),
    ];
    for (process, now, second) in takes {
        assert_eq!(take(process, now, WINDOW).await, Second(second));
    }
}

async fn once_half_of_them_is_gone_a_tenant_gets_one_second_in_ten_and_others_theirs(table: Table) {
    let seconds = IoTimestamps::new(table.clone());
    let of = async |name: &str, now: i64| {
        let taken = seconds.take(&partner(), &tenant(name), NOW + now, 8).await;
        match taken.expect("the table") {
            Second(second) => Second(second - NOW),
            none => none,
        }
    };
    for second in [-8, -7, -6, -5, -4] {
        assert_eq!(of("flood", 0).await, Second(second));
    }
    // Three seconds and the present one are free.
    assert_eq!(of("flood", 0).await, Second(-3));
    assert_eq!(of("flood", 0).await, NoTurnFor(10));
    assert_eq!(of("acme", 0).await, Second(-2));
    assert_eq!(of("acme#b", 1).await, Second(-1));
    assert_eq!(of("flood", 2).await, NoTurnFor(8));
    assert_eq!(of("globex", 2).await, Second(0));
    // Half of them is free again.
    assert_eq!(of("flood", 5).await, Second(1));
    assert_eq!(of("flood", 9).await, Second(2));
}

fn second(taken: Taken) -> i64 {
    match taken {
        Second(second) => second,
        none => panic!("{none:?}"),
    }
}
