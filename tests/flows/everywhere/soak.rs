//! What takes longer than the gate may: `make soak`.

use std::time::Duration;

use tests::moved_time::{Speed, in_moved_time};

use super::claims::all_claims_on_one_client_are_settled;
use super::messaging_webhook::messaging_webhooks_are_set_while_the_line_waits;
use super::queue::{
    Flood, a_silent_hub_is_left_alone_and_the_others_notice_nothing,
    a_slow_hub_keeps_no_other_waiting, claimed_at_once, is_left_alone,
};
use super::restart::crashes;
use super::sign::flood;

/// I3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_across_a_kill_never_get_the_same_second() {
    flood(10_000).await;
}

/// I11, I12: both within a minute.
#[test]
fn sixty_numbers_beside_three_thousand_claims_of_another_tenant() {
    let flood = Flood {
        rate: ("50/3s", 50),
        on_nothing: 3000,
        on_its_own: 300,
        others: (10, 6),
        pause: Duration::from_secs(1),
    };
    let name = "everywhere::soak::sixty_numbers_beside_three_thousand_claims_of_another_tenant";
    in_moved_time(name, Speed::Slow, || flood.keeps_nobody_waiting());
}

/// I5
#[tokio::test]
async fn two_hundred_clients_that_two_tenants_claim_at_once() {
    claimed_at_once(200).await;
}

/// I6
#[tokio::test]
async fn five_thousand_numbers_that_nobody_claims() {
    is_left_alone(5000).await;
}

/// I7, I12
#[tokio::test]
async fn twenty_crashes_at_any_moment() {
    crashes(20).await;
}

/// I13
#[tokio::test]
async fn a_hundred_and_fifty_claims_on_one_client() {
    all_claims_on_one_client_are_settled(150).await;
}

/// I10
#[tokio::test]
async fn one_hub_of_three_does_not_answer() {
    a_silent_hub_is_left_alone_and_the_others_notice_nothing().await;
}

/// I10
#[tokio::test]
async fn one_hub_of_three_answers_after_five_seconds() {
    a_slow_hub_keeps_no_other_waiting().await;
}

/// I11
#[test]
fn the_messaging_webhooks_of_six_numbers_beside_the_queue() {
    let name = "everywhere::soak::the_messaging_webhooks_of_six_numbers_beside_the_queue";
    in_moved_time(
        name,
        Speed::Slow,
        messaging_webhooks_are_set_while_the_line_waits,
    );
}
