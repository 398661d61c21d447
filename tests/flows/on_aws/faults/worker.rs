//! The worker of a partner, which may be cut at any moment, too: at the calls that are about no number.

use runtime::clock;
use tests::aws::calls::{Fault, Harm};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Bundle, PARTNER, pk, until_so};

use super::provision::{KILLED_AFTER, REFUSED, calls_go_wrong};

/// I6, I7, I12
#[tokio::test]
async fn killed_after_the_first_call_of_the_worker_and_every_fourth_it_ends_with_the_live_key_stored()
 {
    calls_go_wrong(KILLED_AFTER.of_the_worker(), (1..).step_by(4)).await;
}

/// I6, I7, I12
#[tokio::test]
async fn refused_at_the_second_call_of_the_worker_and_every_fourth_it_ends_with_the_live_key_stored()
 {
    calls_go_wrong(REFUSED.of_the_worker(), (2..).step_by(4)).await;
}

/// I7, I13
#[tokio::test]
async fn refused_at_queries_of_the_queue_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED.of_the_queue(), (1..).step_by(8)).await;
}

/// I12: a write that takes long lies before the time of the call that follows, not between the two.
#[tokio::test]
async fn a_slow_intent_makes_the_post_later_and_its_time_too() {
    let api = SimulatedPartnerApi::with_rate("9/30s").await;
    api.adds(tests::partner_api::new_channel(NUMBER)).await;
    let bundle = api.bundle(&[("PARTNER_API_RATE", "9/30s")]).await;
    let calls = &bundle.aws().calls;
    let slow = Fault::of("provision", Harm::Hold).asking("UpdateItem");
    let slow = calls.hurt(slow.about("SET intent").only_the(1));
    claim(&bundle, PARTNER, NUMBER).await;
    until_so("the intent", || calls.hits(slow) == 1).await;
    assert_eq!(api.posts(NUMBER).await, 0, "the intent comes first");
    let healed = clock::now().as_millisecond();
    calls.heal();
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    let sent = times_of_calls(&bundle).await;
    assert_eq!(sent.len(), 3, "a look, a list of keys and a POST: {sent:?}");
    assert!(sent[2] >= healed, "{sent:?} {healed}");
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// When the calls of [`PARTNER`] were sent (ms), as its worker has written it down.
async fn times_of_calls(bundle: &Bundle) -> Vec<i64> {
    let items = bundle.items().await;
    let work = format!("WORK#{PARTNER}");
    let work = items.iter().find(|item| pk(item) == work);
    let state = work.expect("a worker")["worker_state"].as_m();
    let sent = state.expect("a map")["sent"].as_l().expect("a list");
    let time = |time: &aws_sdk_dynamodb::types::AttributeValue| {
        let number = time.as_n().expect("a number");
        number.parse().expect("a time")
    };
    sent.iter().map(time).collect()
}

mod soak {
    use super::super::provision::{KILLED_AFTER, KILLED_BEFORE, REFUSED, calls_go_wrong};

    /// I6, I7, I12
    #[tokio::test]
    async fn killed_before_the_first_call_of_the_worker_and_every_other_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(KILLED_BEFORE.of_the_worker(), (1..).step_by(2)).await;
    }

    /// I6, I7, I12
    #[tokio::test]
    async fn killed_before_the_second_call_of_the_worker_and_every_other_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(KILLED_BEFORE.of_the_worker(), (2..).step_by(2)).await;
    }

    /// I7, I13
    #[tokio::test]
    async fn killed_before_queries_of_the_queue_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_BEFORE.of_the_queue(), (1..).step_by(4)).await;
    }

    /// I6, I7, I12
    #[tokio::test]
    async fn killed_after_the_second_call_of_the_worker_and_every_other_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(KILLED_AFTER.of_the_worker(), (2..).step_by(2)).await;
    }

    /// I6, I7, I12
    #[tokio::test]
    async fn refused_at_the_first_call_of_the_worker_and_every_other_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(REFUSED.of_the_worker(), (1..).step_by(2)).await;
    }

    /// I7, I13
    #[tokio::test]
    async fn killed_after_queries_of_the_queue_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_AFTER.of_the_queue(), (3..).step_by(4)).await;
    }

    /// I6, I7, I12
    #[tokio::test]
    async fn killed_after_the_third_call_of_the_worker_and_every_fourth_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(KILLED_AFTER.of_the_worker(), (3..).step_by(4)).await;
    }

    /// I6, I7, I12
    #[tokio::test]
    async fn refused_at_the_fourth_call_of_the_worker_and_every_fourth_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(REFUSED.of_the_worker(), (4..).step_by(4)).await;
    }

    /// I7, I13
    #[tokio::test]
    async fn refused_at_the_other_queries_of_the_queue_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED.of_the_queue(), (5..).step_by(8)).await;
    }
}
