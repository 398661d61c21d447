//! `fold`, which may be cut at any moment, too; and a bus that does not take events, which holds up nothing.

use store::table::Item;
use tests::aws::calls::{Fault, Harm, Service};
use tests::{Bundle, pk, until, until_so};

use super::provision::{KILLED_AFTER, KILLED_BEFORE, QUICK, REFUSED};
use super::provision::{calls_go_wrong, channel, has_the_live_key, onboard, tag};

/// I4, I7
#[tokio::test]
async fn killed_before_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_BEFORE.of_fold(), (1..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn killed_before_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_BEFORE.of_fold(), (2..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn killed_after_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER.of_fold(), (1..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn killed_after_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER.of_fold(), (2..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn refused_at_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED.of_fold(), (1..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn refused_at_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED.of_fold(), (2..).step_by(2)).await;
}

/// I1
#[tokio::test]
async fn a_bus_that_refuses_holds_up_nothing_and_gets_every_event_later() {
    the_bus_is_away(&[Harm::Fail, Harm::Throttle]).await;
}

/// I1
#[tokio::test]
async fn a_bus_that_is_silent_holds_up_nothing_and_gets_every_event_later() {
    the_bus_is_away(&[Harm::Silence]).await;
}

async fn the_bus_is_away(harms: &[Harm]) {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    for harm in harms {
        let id = format!("{harm:?}");
        calls.hurt(Fault::of("fold", *harm).at(Service::EventBridge));
        onboard(&bundle, "acme", &id).await;
        has_the_live_key(&bundle, "acme", &id).await;
        let number = channel(&id);
        assert!(!is_published(&bundle, &number), "{id}");
        until(|| async {
            has_waiting(&bundle, &number)
                .await
                .then_some(())
                .ok_or(id.clone())
        })
        .await;

        calls.heal();
        until_so(&id, || is_published(&bundle, &number)).await;
        until(|| async {
            let left = waiting(&bundle, "OUTBOX#").await;
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        })
        .await;
    }
    assert!(waiting(&bundle, "DEAD#").await.is_empty());
}

/// I1
#[tokio::test]
async fn an_event_that_the_bus_does_not_take_for_a_day_is_given_up_and_kept() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    calls.hurt(Fault::of("fold", Harm::Fail).at(Service::EventBridge));
    bundle.event("channel_running", &channel("old")).await;
    bundle.event("channel_running", &channel("young")).await;
    let tags = [tag("old"), tag("young")];
    for tag in &tags {
        until(|| async {
            has_waiting(&bundle, tag)
                .await
                .then_some(())
                .ok_or(tag.clone())
        })
        .await;
    }
    for item in bundle.items().await {
        if pk(&item).starts_with("OUTBOX#") && text_of(&item).contains(&tags[0]) {
            bundle.put_back_a_day(&item, "put_at").await;
        }
    }
    let given_up = until(|| async {
        let dead = waiting(&bundle, "DEAD#").await;
        (!dead.is_empty()).then_some(dead).ok_or("none".to_owned())
    })
    .await;
    assert_eq!(given_up.len(), 1);
    assert!(given_up[0].contains(&tags[0]), "{given_up:?}");
    calls.heal();
    until_so("the young one", || is_published(&bundle, &tags[1])).await;
    assert!(!is_published(&bundle, &tags[0]));
}

/// Whether the bus has taken an event about a number.
fn is_published(bundle: &Bundle, about: &str) -> bool {
    let events = bundle.aws().calls.events();
    events.iter().any(|event| event.to_string().contains(about))
}

async fn has_waiting(bundle: &Bundle, about: &str) -> bool {
    let waiting = waiting(bundle, "OUTBOX#").await;
    waiting.iter().any(|event| event.contains(about))
}

/// The details of the events in items of one kind.
async fn waiting(bundle: &Bundle, kind: &str) -> Vec<String> {
    let items = bundle.items().await;
    let of_kind = items.iter().filter(|item| pk(item).starts_with(kind));
    of_kind.map(text_of).collect()
}

fn text_of(item: &Item) -> String {
    item["detail"].as_s().expect("a detail").clone()
}
