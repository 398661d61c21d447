//! IoTimestamps: each is given once, none lies above the clock.

use std::collections::BTreeSet;

use store::table::Table;
use store::{IoTimestamps, Taken};
use tokio::task::JoinSet;

use super::{NOW, other_partner, partner};

contract! {
    the_first_second_lies_a_window_back,
    each_further_second_is_the_next_one,
    up_to_the_clock_every_second_is_given_and_none_above_it,
    when_none_is_free_the_wait_until_the_next_is_told,
    a_clock_that_was_set_back_gives_no_second_twice,
    after_a_pause_the_seconds_start_a_window_back_again,
    without_a_window_only_the_second_of_the_clock_is_given,
    two_partners_have_seconds_of_their_own,
    two_who_race_for_the_first_second_get_different_ones,
    many_who_race_get_each_second_once,
    two_memories_of_one_partner_get_different_seconds,
}

const WINDOW: i64 = 300;

async fn take(seconds: &IoTimestamps, now: i64, window: i64) -> Taken {
    seconds
        .take(&partner(), now, window)
        .await
        .expect("the table")
}

async fn the_first_second_lies_a_window_back(table: Table) {
    assert_eq!(
        take(&IoTimestamps::new(table), NOW, WINDOW).await,
        Taken::Second(NOW - WINDOW)
    );
}

async fn each_further_second_is_the_next_one(table: Table) {
    let seconds = IoTimestamps::new(table);
    for step in 0..5 {
        assert_eq!(
            take(&seconds, NOW, WINDOW).await,
            Taken::Second(NOW - WINDOW + step)
        );
    }
}

async fn up_to_the_clock_every_second_is_given_and_none_above_it(table: Table) {
    let seconds = IoTimestamps::new(table);
    for second in NOW - 4..=NOW {
        assert_eq!(take(&seconds, NOW, 4).await, Taken::Second(second));
    }
    assert_eq!(take(&seconds, NOW, 4).await, Taken::NoneFor(1));
    assert_eq!(
        take(&seconds, NOW, 4).await,
        Taken::NoneFor(1),
        "a refusal uses nothing up"
    );
    assert_eq!(take(&seconds, NOW + 1, 4).await, Taken::Second(NOW + 1));
}

async fn when_none_is_free_the_wait_until_the_next_is_told(table: Table) {
    let seconds = IoTimestamps::new(table);
    assert_eq!(take(&seconds, NOW, 0).await, Taken::Second(NOW));
    assert_eq!(take(&seconds, NOW, 0).await, Taken::NoneFor(1));
    assert_eq!(
        take(&seconds, NOW - 9, 0).await,
        Taken::NoneFor(10),
        "by a clock that is nine seconds behind"
    );
}

async fn a_clock_that_was_set_back_gives_no_second_twice(table: Table) {
    let seconds = IoTimestamps::new(table);
    assert_eq!(take(&seconds, NOW, 2).await, Taken::Second(NOW - 2));
    assert_eq!(take(&seconds, NOW - 1, 2).await, Taken::Second(NOW - 1));
    assert_eq!(take(&seconds, NOW - 1, 2).await, Taken::NoneFor(1));
    assert_eq!(take(&seconds, NOW - 100, 2).await, Taken::NoneFor(100));
}

async fn after_a_pause_the_seconds_start_a_window_back_again(table: Table) {
    let seconds = IoTimestamps::new(table);
    assert_eq!(
        take(&seconds, NOW, WINDOW).await,
        Taken::Second(NOW - WINDOW)
    );
    let later = NOW + 86_400;
    assert_eq!(
        take(&seconds, later, WINDOW).await,
        Taken::Second(later - WINDOW)
    );
    assert_eq!(
        take(&seconds, later, WINDOW).await,
        Taken::Second(later - WINDOW + 1)
    );
}

async fn without_a_window_only_the_second_of_the_clock_is_given(table: Table) {
    let seconds = IoTimestamps::new(table);
    for second in [NOW, NOW + 1, NOW + 7] {
        assert_eq!(take(&seconds, second, 0).await, Taken::Second(second));
        assert_eq!(take(&seconds, second, 0).await, Taken::NoneFor(1));
    }
}

async fn two_partners_have_seconds_of_their_own(table: Table) {
    let seconds = IoTimestamps::new(table);
    assert_eq!(take(&seconds, NOW, 0).await, Taken::Second(NOW));
    assert_eq!(
        seconds
            .take(&other_partner(), NOW, 0)
            .await
            .expect("the table"),
        Taken::Second(NOW)
    );
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
    let given: Vec<i64> = taken
        .iter()
        .filter(|taken| **taken != Taken::NoneFor(1))
        .map(|taken| second(*taken))
        .collect();
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
        assert_eq!(take(process, now, WINDOW).await, Taken::Second(second));
    }
}

fn second(taken: Taken) -> i64 {
    match taken {
        Taken::Second(second) => second,
        Taken::NoneFor(wait) => panic!("none for {wait} s"),
    }
}
